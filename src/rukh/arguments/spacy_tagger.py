"""A spaCy pipeline as tagger: ``spacy:NAME`` or ``spacy:FOLDER``, by the extra ``rukh[spacy]``.

spaCy reads its pipelines by its own means, and one that is a package is code that runs: load only
those whose makers you trust.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rukh.arguments.label_map import argument_type, fill_types, to_entities
from rukh.errors import MissingDependency, WeightsError
from rukh.records import Post, TextEntity


class SpacyTagger:
    """The entities of a spaCy pipeline, their labels mapped by :mod:`rukh.arguments.label_map`.

    Args:
        pipeline: A loaded ``spacy.language.Language`` that sets ``doc.ents``.

    Example:
        >>> import pytest
        >>> pipeline = pytest.importorskip("spacy").blank("en")
        >>> pipeline.add_pipe("entity_ruler").add_patterns([{"label": "GPE", "pattern": "Rome"}])
        >>> [(e.start, e.end, e.type) for e in SpacyTagger(pipeline).find(["Ann in Rome"])[0]]
        [(7, 11, 'LOC')]
    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """The folder of a pipeline: a path, or an installed package's own.

        Raises:
            MissingDependency: spaCy is not installed.
            WeightsError: There is neither such a folder nor such a package.
        """
        try:
            from spacy import util
        except ImportError:
            raise MissingDependency("spacy", "spacy") from None
        if os.path.isdir(source):
            return Path(source)
        if source and util.is_package(str(source)):
            return Path(util.get_package_path(str(source)))
        raise WeightsError(
            f"no spaCy pipeline {str(source)!r}: neither a folder nor an installed package; give "
            "spacy:NAME or spacy:FOLDER, and install a pipeline by: python -m spacy download NAME"
        )

    @classmethod
    def from_pretrained(cls, source: str | Path) -> SpacyTagger:
        """Load an installed pipeline by name, or a folder; raises as :meth:`locate` does."""
        cls.locate(source)
        import spacy

        try:
            return cls(spacy.load(source))
        except (OSError, ValueError, ImportError) as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"spaCy cannot load {str(source)!r}: {reason}") from None

    def _entities(self, texts: Sequence[str]) -> list[list[tuple[int, int, str]]]:
        """``(start, end, label)`` of each text's entities, in spaCy's own labels."""
        return [
            [(entity.start_char, entity.end_char, entity.label_) for entity in doc.ents]
            for doc in self.pipeline.pipe(texts)
        ]

    def find(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Entities of each text; dates and numbers are left out."""
        return [
            to_entities(
                text, [(a, b, name) for a, b, label in spans if (name := argument_type(label))]
            )
            for text, spans in zip(texts, self._entities(texts), strict=True)
        ]

    def type_posts(self, posts: Sequence[Post]) -> list[Post]:
        """Types for entities that have none: of the found entity that shares most characters with
        the span, or MISC where there is none.
        """
        open_ = [i for i, post in enumerate(posts) if any(e.type is None for e in post.entities)]
        out = list(posts)
        answers = self._entities([posts[i].text for i in open_])
        for i, spans in zip(open_, answers, strict=True):
            typed = [(a, b, name) for a, b, label in spans if (name := argument_type(label))]

            def nearest(
                entity: TextEntity, typed: list[tuple[int, int, str]] = typed
            ) -> tuple[str, float]:
                shared = [
                    (min(end, entity.end) - max(start, entity.start), name)
                    for start, end, name in typed
                ]
                most, name = max(shared, key=lambda one: one[0], default=(0, ""))
                return (name, 1.0) if most > 0 else ("MISC", 0.0)  # it says not how sure it is

            out[i] = fill_types(posts[i], nearest)
        return out
