"""A Hugging Face token classifier as tagger: ``hf:FOLDER``, or ``hf:NAME`` from the hub's cache."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rukh.arguments import sliding_window as windows
from rukh.arguments.label_map import argument_type, fill_types, to_entities
from rukh.errors import WeightsError
from rukh.hub import find_weights
from rukh.modeling.text_encoder import TextEncoder, TokenizedText
from rukh.records import Post, TextEntity


class Label(NamedTuple):
    """A label of a token classifier.

    Attributes:
        begins, ends: Whether an entity surely starts or stops at its word.
        name: What it names, as the model spells it; empty outside of entities.
        type: What that becomes by :mod:`rukh.arguments.label_map`; None for what is no argument.
    """

    begins: bool
    ends: bool
    name: str
    type: str | None

    @classmethod
    def parse(cls, text: str) -> Label:
        """Take a label apart, in any of the schemes IO, BIO, BILOU and BIOES.

        Example:
            >>> Label.parse("B-person")
            Label(begins=True, ends=False, name='person', type='PER')
        """
        if text.upper() == "O":
            return cls(False, False, "", None)
        match = re.fullmatch(r"(?:([BILUES])-)?(.+)", text, re.I | re.S)
        place, name = ((match[1] or "I").upper(), match[2]) if match else ("I", text)
        return cls(place in "BUS", place in "LEUS", name, argument_type(name) if name else None)


class HfTagger:
    """A pretrained token classifier, one decision a word.

    Args:
        model: A ``transformers`` model for token classification, BERT-like.
        tokenizer: Its tokenizer, one that knows character offsets.
        name: What it was loaded by.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model = model.eval()
        self.encoder = TextEncoder(model.base_model, tokenizer, name)
        config = model.config
        self.labels = [Label.parse(str(config.id2label[i])) for i in range(config.num_labels)]
        self.types = list(dict.fromkeys(label.type for label in self.labels if label.type))

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """The folder of a model: a path, or where the hub's cache keeps it. Raises WeightsError."""
        return find_weights(source, kind="tagger")

    @classmethod
    def from_pretrained(cls, source: str | Path) -> HfTagger:
        """Load a folder, or a model that lies in the hub's cache; nothing is downloaded.

        Raises:
            WeightsError: It is not there, has no safetensors, or is no token classifier.
        """
        import transformers
        from safetensors import SafetensorError

        folder = str(cls.locate(source))
        try:
            model, loaded = transformers.AutoModelForTokenClassification.from_pretrained(
                folder,
                local_files_only=True,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"cannot load a token classifier from {folder}: {reason}") from None
        # transformers would make up the weights that are not there.
        if lacking := sorted(loaded["missing_keys"]):
            raise WeightsError(f"{folder} holds no token classifier: it lacks {lacking[0]!r}")
        if not (
            tokenizer.is_fast
            and tokenizer.cls_token_id is not None
            and hasattr(model.config, "max_position_embeddings")
        ):
            raise WeightsError(f"{folder} is not BERT-like, or its tokenizer knows no offsets")
        return cls(model, tokenizer, str(source))

    def label_probabilities(self, texts: Sequence[str]) -> list[tuple[TokenizedText, Tensor]]:
        """Pieces of each text with their label probabilities, ``(pieces, labels)``."""

        def classify(ids: Tensor, mask: Tensor) -> Tensor:
            logits: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).logits
            return logits

        return windows.label_probabilities(texts, self.encoder, classify, len(self.labels))

    def find(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Entities of each text by the best label of each word's first piece."""
        found = []
        for text, (pieces, probabilities) in zip(
            texts, self.label_probabilities(texts), strict=True
        ):
            spans: list[tuple[int, int, str]] = []
            before = Label.parse("O")
            for word in windows.words_of(text, pieces):
                start, end = pieces.offsets[word[0]][0], pieces.offsets[word[-1]][1]
                label = self.labels[int(probabilities[word[0]].argmax())]
                goes_on = label.name == before.name and not (label.begins or before.ends)
                before = label
                if label.type is None:
                    continue
                if goes_on:
                    spans[-1] = (spans[-1][0], end, label.type)
                else:
                    spans.append((start, end, label.type))
            found.append(to_entities(text, spans))
        return found

    def type_posts(self, posts: Sequence[Post]) -> list[Post]:
        """Types for entities that have none: the type with the most label mass over the span, or
        MISC where the model says nothing of it.
        """
        open_ = [i for i, post in enumerate(posts) if any(e.type is None for e in post.entities)]
        out = list(posts)
        same = torch.tensor(
            [[float(label.type == name) for name in self.types] for label in self.labels]
        )
        answers = self.label_probabilities([posts[i].text for i in open_])
        for i, (pieces, probabilities) in zip(open_, answers, strict=True):
            mass = probabilities @ same

            def heaviest(
                entity: TextEntity, pieces: TokenizedText = pieces, mass: Tensor = mass
            ) -> tuple[str, float]:
                touched = windows.inside(pieces, entity)
                if not touched or not self.types:
                    return "MISC", 0.0
                over = mass[touched].sum(0)
                best = int(over.argmax())
                return self.types[best], float(over[best] / over.sum().clamp_min(1e-9))

            out[i] = fill_types(posts[i], heaviest)
        return out
