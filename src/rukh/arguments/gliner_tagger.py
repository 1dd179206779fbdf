"""Taggers from GLiNER: ``gliner:FOLDER``, or ``gliner:NAME`` in the hub's cache.

They need the extra ``rukh[gliner]``. A GLiNER model detects entities of any types that it is asked
for by words, so that it can be asked for the types of a schema, such as ``company`` or ``athlete``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rukh.arguments.label_map import TYPE_WORDS
from rukh.arguments.tagger import TypedSpan, assign_missing_types, to_entities, type_of_overlap
from rukh.errors import MissingDependency, WeightsError
from rukh.hub import find_weights
from rukh.records import Post, TextEntity

if TYPE_CHECKING:
    import torch

THRESHOLD = 0.5
"""Minimum score of an entity."""
BATCH_SIZE = 16
"""Number of texts that the model reads together."""


class GlinerTagger:
    """A tagger made of a GLiNER model.

    Args:
        model: A ``gliner.GLiNER`` model.
        types: The types to detect, and the words to ask for each.
    """

    def __init__(self, model: Any, types: Mapping[str, str] = TYPE_WORDS) -> None:
        self.model = model
        self.types = dict(types)
        self._type_of_words = {words: name for name, words in reversed(self.types.items())}

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """Find a model's folder by its path or its name in the hub's cache. Raises WeightsError."""
        config = "gliner_config.json"
        folder = Path(source)
        if not os.path.isfile(folder / config):
            folder = find_weights(source, kind="tagger")
        if not (folder / config).is_file():
            raise WeightsError(f"{folder} is not a GLiNER model: it has no {config}")
        if not any(folder.glob("*.safetensors")):
            raise WeightsError(
                f"{folder} has no weights in safetensors; convert a model that you trust with "
                "GLiNER.from_pretrained(...).save_pretrained(FOLDER, safe_serialization=True)"
            )
        return folder

    @classmethod
    def from_pretrained(cls, source: str | Path) -> GlinerTagger:
        """Load a model from a folder or from the hub's cache.

        Raises:
            MissingDependency: gliner is not installed.
            WeightsError: The model is not found or incomplete, or has no safetensors.
        """
        folder = cls.locate(source)
        try:
            from gliner import GLiNER
        except ImportError:
            raise MissingDependency("gliner", "gliner") from None
        from safetensors import SafetensorError

        try:
            model = GLiNER.from_pretrained(str(folder), local_files_only=True, strict=True)
        except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise WeightsError(f"gliner cannot load {folder}: {reason}") from None
        return cls(model.eval())

    def to(self, device: torch.device) -> GlinerTagger:
        """Move the model to a device, in place."""
        self.model.to(device)
        return self

    def with_types(self, types: Mapping[str, str]) -> GlinerTagger:
        """Return a tagger of the same model that detects other types; see ``types``."""
        return GlinerTagger(self.model, types)

    def _spans(self, texts: Sequence[str]) -> list[list[TypedSpan]]:
        """Find the entities of each text. A long text is read in parts."""
        parts = [(i, *part) for i, text in enumerate(texts) for part in self._parts(text)]
        spans: list[list[TypedSpan]] = [[] for _ in texts]
        for first in range(0, len(parts), BATCH_SIZE):
            batch = parts[first : first + BATCH_SIZE]
            found = self.model.inference(
                [texts[i][start:end] for i, start, end in batch],
                list(self._type_of_words),
                threshold=THRESHOLD,
                batch_size=BATCH_SIZE,
            )
            for (i, start, _), entities in zip(batch, found, strict=True):
                spans[i] += [
                    (start + e["start"], start + e["end"], self._type_of_words[e["label"]])
                    for e in entities
                ]
        return spans

    def _parts(self, text: str) -> list[tuple[int, int]]:
        """Split a text into parts of as many words as the model reads, as ``(start, end)``."""
        words = list(self.model.data_processor.words_splitter(text))
        size = self.model.config.max_len
        return [
            (words[i][1], words[min(i + size, len(words)) - 1][2])
            for i in range(0, len(words), size)
        ]

    def detect_entities(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Detect the entities of each text."""
        return [
            to_entities(text, spans) for text, spans in zip(texts, self._spans(texts), strict=True)
        ]

    def assign_types(self, posts: Sequence[Post]) -> list[Post]:
        """Assign the type of the most overlapping detected entity, or MISC, to untyped entities."""
        return assign_missing_types(posts, self._spans, type_of_overlap)
