"""Taggers from spaCy, ``spacy:NAME`` or ``spacy:FOLDER``. They need the extra ``rukh[spacy]``.
An installed spaCy pipeline is a Python package whose code runs when it is loaded. Load only
pipelines that you trust.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rukh.arguments.label_map import normalize_label
from rukh.arguments.tagger import TypedSpan, assign_missing_types, to_entities, type_of_overlap
from rukh.errors import MissingDependency, WeightsError
from rukh.records import Post, TextEntity


class SpacyTagger:
    """A tagger that maps a spaCy pipeline's entities with :mod:`rukh.arguments.label_map`."""

    def __init__(self, pipeline: Any) -> None:
        """Use a ``spacy.language.Language`` that sets ``doc.ents``."""
        self.pipeline = pipeline

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """Find the folder of a pipeline. Raises the errors of :meth:`from_pretrained`."""
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

    def _spans(self, texts: Sequence[str]) -> list[list[TypedSpan]]:
        """Find the entities of each text that can be arguments, as ``(start, end, type)``."""
        return [
            [
                (entity.start_char, entity.end_char, normalize_label(entity.label_))
                for entity in doc.ents
            ]
            for doc in self.pipeline.pipe(texts)
        ]

    def detect_entities(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Detect the entities of each text."""
        return [
            to_entities(text, spans) for text, spans in zip(texts, self._spans(texts), strict=True)
        ]

    def assign_types(self, posts: Sequence[Post]) -> list[Post]:
        """Assign the type of spaCy's most overlapping entity, or MISC, to untyped entities."""
        return assign_missing_types(posts, self._spans, type_of_overlap)
