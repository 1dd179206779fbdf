"""The shipped tagger: a text encoder with a linear layer over BIO labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rukh.arguments.sliding_window import LETTER_CASES, Label, TokenClassifier
from rukh.errors import InputError, WeightsError
from rukh.hub import model_folder
from rukh.modeling.adapters import load_trained_state, read_state
from rukh.modeling.text_encoder import TextEncoder
from rukh.utils.files import read_json


class TokenTagger(nn.Module, TokenClassifier):
    """A tagger with the labels ``O``, ``B-<type>``, ``I-<type>``, ..., in the order of the types.

    Example:
        >>> tagger = TokenTagger.from_pretrained("tagger")
        >>> (entities,) = tagger.detect_entities(["Ann Lee moved to Rome"])
        >>> [(entity.start, entity.end, entity.type) for entity in entities]
        [(0, 7, 'PER'), (17, 21, 'LOC')]
    """

    def __init__(self, encoder: TextEncoder, types: Sequence[str]) -> None:
        super().__init__()
        self.encoder, self.types = encoder, tuple(types)
        self.labels = ("O", *(f"{prefix}-{type_}" for type_ in types for prefix in "BI"))
        self.parsed_labels = [
            Label(label.startswith("B"), False, label[2:], label[2:] or None)
            for label in self.labels
        ]
        self.cases = nn.Embedding(LETTER_CASES, encoder.dim)
        nn.init.zeros_(self.cases.weight)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(encoder.dim, len(self.labels))
        # An I label must follow a B or I label of the same type.
        self._transitions = torch.tensor(
            [
                [-1e9 if b.startswith("I") and a[2:] != b[2:] else 0.0 for b in self.labels]
                for a in self.labels
            ]
        )

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """Find a tagger by path, shipped name or name in the hub's cache. Raises WeightsError."""
        return model_folder(source, local_files_only=True)

    @classmethod
    def from_pretrained(cls, source: str | Path) -> TokenTagger:
        """Load a tagger that :meth:`locate` finds. Raises WeightsError."""
        folder, config = cls._read_config(source)
        tagger = cls(TextEncoder.load(config["text_encoder"]), config["types"])
        tagger._load(folder)
        return tagger.eval()

    def copy_weights(self, source: str | Path) -> None:
        """Copy the trained weights of a tagger with the same options, to train it further.

        Raises:
            WeightsError: There is no such tagger, or its weights do not fit.
            InputError: It has other types or another text encoder.
        """
        folder, config = self._read_config(source)
        own = {"text_encoder": self.encoder.name, "types": list(self.types)}
        for name, value in own.items():
            if config[name] != value:
                problem = f"{str(source)!r} has {name} {config[name]}, not {value}"
                raise InputError(problem, field="start_from", fix="use the same options")
        self._load(folder)

    @classmethod
    def _read_config(cls, source: str | Path) -> tuple[Path, dict[str, Any]]:
        folder = cls.locate(source)
        config = read_json(folder / "config.json")
        if not isinstance(config, dict) or config.get("task") != "tagger":
            raise WeightsError(f"{folder} does not contain a tagger")
        if missing := {"text_encoder", "types"} - config.keys():
            raise WeightsError(f"{folder / 'config.json'} is damaged: {min(missing)!r} is missing")
        return folder, config

    def _load(self, folder: Path) -> None:
        state = read_state(folder / "model.safetensors")
        load_trained_state(self, state)
        if missing := {"head.weight", "head.bias"} - state.keys():
            raise WeightsError(f"{folder} is damaged: the weights of {min(missing)!r} are missing")

    def forward(self, ids: Tensor, mask: Tensor, cases: Tensor) -> Tensor:
        """See :meth:`rukh.arguments.sliding_window.TokenClassifier.forward`."""
        states = self.encoder(self.encoder.embed_tokens(ids) + self.cases(cases), mask)
        logits: Tensor = self.head(self.dropout(states))
        return logits

    def best_labels(self, probabilities: Tensor) -> list[int]:
        """Choose the most probable valid BIO sequence of the words by the Viterbi algorithm."""
        if not len(probabilities):
            return []
        scores = probabilities.clamp_min(1e-9).log()
        best = scores[0] + self._transitions[0]  # the first word follows an O label
        pointers = []
        for score in scores[1:]:
            total, previous = (best[:, None] + self._transitions).max(0)
            best = total + score
            pointers.append(previous)
        path = [int(best.argmax())]
        for previous in reversed(pointers):
            path.append(int(previous[path[-1]]))
        return path[::-1]
