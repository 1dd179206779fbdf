"""The shipped tagger: a text encoder with a linear layer over BIO labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from rukh.arguments import sliding_window as windows
from rukh.arguments.label_map import fill_types, to_entities
from rukh.errors import WeightsError
from rukh.hub import model_folder
from rukh.modeling.adapters import load_trained_state, read_state
from rukh.modeling.text_encoder import TextEncoder, TokenizedText
from rukh.records import Post, TextEntity
from rukh.utils.files import read_json


class TokenTagger(nn.Module):
    """A text encoder with a linear layer over BIO labels, one decision a word.

    Args:
        encoder: Reads the text.
        types: Entity types; the labels are ``O, B-<type>, I-<type> ...`` in their order.

    Example:
        >>> tagger = TokenTagger.from_pretrained("tagger")
        >>> [(e.start, e.end, e.type) for e in tagger.find(["Ann Lee moved to Rome"])[0]]
        [(0, 7, 'PER'), (17, 21, 'LOC')]
    """

    allowed: Tensor

    def __init__(self, encoder: TextEncoder, types: Sequence[str]) -> None:
        super().__init__()
        self.encoder, self.types = encoder, tuple(types)
        self.labels = ("O", *(f"{bio}-{name}" for name in types for bio in "BI"))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(encoder.dim, len(self.labels))
        allowed = torch.ones(len(self.labels), len(self.labels), dtype=torch.bool)
        for after, label in enumerate(self.labels):
            if label.startswith("I-"):
                before = [f"B-{label[2:]}", label]
                allowed[:, after] = torch.tensor([name in before for name in self.labels])
        self.register_buffer("allowed", allowed, persistent=False)

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """The folder of a shipped tagger, or the folder itself. Raises WeightsError."""
        return model_folder(source)

    @classmethod
    def from_pretrained(cls, source: str | Path) -> TokenTagger:
        """Load a shipped tagger by name, or a folder. Raises WeightsError."""
        folder = cls.locate(source)
        config = read_json(folder / "config.json")
        if not isinstance(config, dict) or config.get("task") != "tagger":
            raise WeightsError(f"{folder} holds no tagger")
        if lacking := {"text_encoder", "types"} - config.keys():
            raise WeightsError(f"{folder / 'config.json'} lacks {min(lacking)!r}; it is damaged")
        tagger = cls(TextEncoder.load(config["text_encoder"]), config["types"])
        state = read_state(folder / "model.safetensors")
        load_trained_state(tagger, state)
        if lacking := {"head.weight", "head.bias"} - state.keys():
            raise WeightsError(f"{folder} lacks the weights of {min(lacking)!r}; it is damaged")
        return tagger.eval()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Label logits of pieces: ``ids`` and ``mask`` ``(B, T)`` to ``(B, T, labels)``."""
        states = self.encoder(self.encoder.embed(ids), mask)
        logits: Tensor = self.head(self.dropout(states))
        return logits

    def label_probabilities(self, texts: Sequence[str]) -> list[tuple[TokenizedText, Tensor]]:
        """Pieces of each text with their label probabilities, ``(pieces, labels)``."""
        return windows.label_probabilities(texts, self.encoder, self, len(self.labels))

    def pad(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Special tokens and padding around piece ids: ``ids`` and ``mask``, ``(B, T)``."""
        return windows.pad(self.encoder, ids)

    def find(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Entities of each text by the best label path that BIO allows, one label a word."""
        found = []
        for text, (pieces, probabilities) in zip(
            texts, self.label_probabilities(texts), strict=True
        ):
            words = windows.words_of(text, pieces)
            firsts = [pieces_of_word[0] for pieces_of_word in words]
            path = self._best_path(probabilities[firsts].clamp_min(1e-9).log())
            spans: list[tuple[int, int, str]] = []
            for word, label in zip(words, path, strict=True):
                end = pieces.offsets[word[-1]][1]
                if label.startswith("B-"):
                    spans.append((pieces.offsets[word[0]][0], end, label[2:]))
                elif label.startswith("I-"):
                    spans[-1] = (spans[-1][0], end, spans[-1][2])
            found.append(to_entities(text, spans))
        return found

    def _best_path(self, scores: Tensor) -> list[str]:
        """Viterbi over the words' label scores, ``(words, labels)``."""
        if not len(scores):
            return []
        step = torch.zeros_like(self.allowed, dtype=scores.dtype).masked_fill(~self.allowed, -1e9)
        inside = torch.tensor([label.startswith("I-") for label in self.labels])
        best = scores[0].masked_fill(inside, -1e9)
        back = []
        for score in scores[1:]:
            total, previous = (best[:, None] + step).max(0)
            best = total + score
            back.append(previous)
        path = [int(best.argmax())]
        for previous in reversed(back):
            path.append(int(previous[path[-1]]))
        return [self.labels[i] for i in reversed(path)]

    def type_posts(self, posts: Sequence[Post]) -> list[Post]:
        """Types for entities that have none: the type with the most label mass over the span."""
        open_ = [i for i, post in enumerate(posts) if any(e.type is None for e in post.entities)]
        out = list(posts)
        answers = self.label_probabilities([posts[i].text for i in open_])
        for i, (pieces, probabilities) in zip(open_, answers, strict=True):
            mass = probabilities[:, 1:].reshape(-1, len(self.types), 2).sum(2)

            def heaviest(
                entity: TextEntity, pieces: TokenizedText = pieces, mass: Tensor = mass
            ) -> tuple[str, float]:
                over = mass[windows.inside(pieces, entity)].sum(0)
                best = int(over.argmax())
                return self.types[best], float(over[best] / over.sum().clamp_min(1e-9))

            out[i] = fill_types(posts[i], heaviest)
        return out
