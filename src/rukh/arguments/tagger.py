"""The interface of taggers, a function that loads them by name, and their shared functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar, runtime_checkable

from rukh.modeling.device import choose_device, move
from rukh.records import Post, TextEntity
from rukh.registry import resolve_source

if TYPE_CHECKING:
    import torch

Analysis = TypeVar("Analysis")
TypedSpan: TypeAlias = tuple[int, int, str]
"""Start and end of an entity in characters, end-exclusive, and its type."""


class Tagger(Protocol):
    """Interface of taggers, which detect entities in texts and assign types to given entities.

    A registered class also has a class method ``from_pretrained(source)`` and, optionally,
    ``locate(source)``, which returns the model's folder for :func:`rukh.registry.fingerprint`, and
    a method ``to(device)``, which moves the model to a ``torch.device``.
    """

    def detect_entities(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Detect each text's entities, in order, without overlaps, with ids ``e0``, ``e1``, ..."""

    def assign_types(self, posts: Sequence[Post]) -> list[Post]:
        """Return the posts with a type for every entity. Given types are kept."""


@runtime_checkable
class OpenTagger(Tagger, Protocol):
    """Interface of taggers that detect entities of any types, which words name."""

    def with_types(self, types: Mapping[str, str]) -> Tagger:
        """Return a tagger that detects these types; each is given with words for it."""


def load_tagger(source: str | Path, *, device: str | torch.device = "auto") -> Tagger:
    """Load a tagger by its shipped name, from a trained tagger's folder, or from ``KIND:NAME``.

    The kind is ``gliner``, ``hf``, ``spacy``, or one that a third party registered.

    Args:
        source: The tagger.
        device: Name of a device, as in :func:`rukh.modeling.device.choose_device`. spaCy ignores
            it.

    Raises:
        InputError: The kind is unknown, or there is no such device.
        WeightsError: The model is not found.
        MissingDependency: The tagger needs a package that is not installed.

    Example:
        >>> type(load_tagger("tagger")).__name__
        'TokenTagger'
    """
    device = choose_device(device)
    implementation, name = resolve_source("taggers", source)
    tagger: Tagger = implementation.from_pretrained(name)
    return move(tagger, device)


def assign_missing_types(
    posts: Sequence[Post],
    analyze: Callable[[list[str]], Iterable[Analysis]],
    type_of: Callable[[TextEntity, Analysis], tuple[str, float]],
) -> list[Post]:
    """Assign a type to each entity that has none.

    Args:
        posts: The posts. Those without untyped entities are returned unchanged.
        analyze: Function that returns a model's prediction for each text.
        type_of: Function that returns the type of an entity and its confidence, given the
            prediction for the text.
    """
    typed = list(posts)
    untyped = [i for i, post in enumerate(posts) if any(e.type is None for e in post.entities)]
    for i, analysis in zip(untyped, analyze([posts[i].text for i in untyped]), strict=True):
        entities = []
        for entity in posts[i].entities:
            if entity.type is None:
                type_, confidence = type_of(entity, analysis)
                update = {"type": type_, "type_confidence": min(1.0, confidence)}
                entity = entity.model_copy(update=update)
            entities.append(entity)
        typed[i] = posts[i].model_copy(update={"entities": tuple(entities)})
    return typed


def to_entities(text: str, spans: Iterable[TypedSpan]) -> list[TextEntity]:
    """Build entities ``e0``, ``e1``, ... from disjoint spans ``(start, end, type)``, sorted.

    White space at the edges of a span is removed. Spans that consist of white space are dropped.

    Example:
        >>> [(e.id, e.start, e.end) for e in to_entities("Ann in Rome ", [(7, 12, "LOC")])]
        [('e0', 7, 11)]
    """
    entities: list[TextEntity] = []
    for start, end, type_ in sorted(spans):
        if stripped := text[start:end].strip():
            start = text.index(stripped, start)
            end, id_ = start + len(stripped), f"e{len(entities)}"
            entity = TextEntity(id=id_, start=start, end=end, type=type_, type_confidence=1.0)
            entities.append(entity)
    return entities


def type_of_overlap(entity: TextEntity, spans: Sequence[TypedSpan]) -> tuple[str, float]:
    """Return the type of the span that shares most characters with an entity, and a confidence.

    It is for taggers without a confidence of types: 1, or 0 if no span overlaps; the type is then
    MISC.
    """

    def overlap(span: TypedSpan) -> int:
        return min(span[1], entity.end) - max(span[0], entity.start)

    best = max(spans, key=overlap, default=(0, 0, ""))
    return (best[2], 1.0) if overlap(best) > 0 else ("MISC", 0.0)
