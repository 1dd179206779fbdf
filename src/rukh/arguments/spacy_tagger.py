"""spaCy pipelines as taggers: ``spacy:NAME`` or ``spacy:FOLDER``; needs the extra ``rukh[spacy]``.

An installed spaCy pipeline is a Python package whose code runs when it is loaded. Load only
pipelines that you trust.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rukh.arguments.label_map import argument_type
from rukh.arguments.tagger import assign_missing_types, to_entities
from rukh.errors import MissingDependency, WeightsError
from rukh.records import Post, TextEntity

Span = tuple[int, int, str]


class SpacyTagger:
    """The named entities of a spaCy pipeline, with types by :mod:`rukh.arguments.label_map`."""

    def __init__(self, pipeline: Any) -> None:
        """Use a ``spacy.language.Language`` that sets ``doc.ents``."""
        self.pipeline = pipeline

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """The folder of a pipeline; raises as :meth:`from_pretrained`."""
        try:
            from spacy import util
        except ImportError:
            raise MissingDependency("spacy", "spacy") from None
        if os.path.isdir(source):
            return Path(source)
        if source and util.is_package(str(source)):
            return Path(util.get_package_path(str(source)))
        raise WeightsError(
            f"no spaCy pipeline {str(source)!r}: neither a folder nor an installed package; to "
            "install a pipeline, run: python -m spacy download NAME"
        )

    @classmethod
    def from_pretrained(cls, source: str | Path) -> SpacyTagger:
        """Load a pipeline by its path or the name of an installed package.

        Raises:
            MissingDependency: spaCy is not installed.
            WeightsError: There is no such folder or package, or spaCy cannot load it.
        """
        cls.locate(source)
        import spacy

        try:
            return cls(spacy.load(source))
        except (OSError, ValueError, ImportError) as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"spaCy cannot load {str(source)!r}: {reason}") from None

    def _spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """``(start, end, type)`` of the entities of each text that can be arguments."""
        return [
            [
                (entity.start_char, entity.end_char, type_)
                for entity in doc.ents
                if (type_ := argument_type(entity.label_)) is not None
            ]
            for doc in self.pipeline.pipe(texts)
        ]

    def detect_entities(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Find the entities of each text, except dates and numbers."""
        return [
            to_entities(text, spans) for text, spans in zip(texts, self._spans(texts), strict=True)
        ]

    def assign_types(self, posts: Sequence[Post]) -> list[Post]:
        """Assign missing types: that of the entity with most overlap, or MISC without any."""
        return assign_missing_types(posts, self._spans, _type_of_overlap)


def _type_of_overlap(entity: TextEntity, spans: Sequence[Span]) -> tuple[str, float]:
    """The type of the span that shares most characters with an entity, and a confidence."""

    def overlap(span: Span) -> int:
        return min(span[1], entity.end) - max(span[0], entity.start)

    best = max(spans, key=overlap, default=(0, 0, ""))
    # spaCy does not say how confident it is.
    return (best[2], 1.0) if overlap(best) > 0 else ("MISC", 0.0)
