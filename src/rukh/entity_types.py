"""Other taggers' entity types in rukh's four words, and how a post's entities come by theirs."""

from __future__ import annotations

from collections.abc import Callable

from rukh.records import Post, TextEntity

TABLE: dict[str | None, tuple[str, ...]] = {
    "PER": ("PER", "PERSON"),
    "LOC": ("LOC", "LOCATION", "GPE", "FAC"),
    "ORG": ("ORG", "ORGANIZATION", "ORGANISATION"),
    "MISC": ("MISC", "OTHER", "EVENT", "PRODUCT", "WORK_OF_ART", "NORP", "LANGUAGE", "LAW"),
    None: ("DATE", "TIME", "PERCENT", "MONEY", "QUANTITY", "ORDINAL", "CARDINAL"),
}
"""The labels that become each type; those of None are no arguments, and are dropped."""
_COARSE = {label: name for name, labels in TABLE.items() for label in labels}


def coarse(label: str) -> str | None:
    """The type that a tagger's label becomes, whatever its case; None where it is dropped.

    Labels that :data:`TABLE` does not know stay as they are.

    Example:
        >>> [coarse(label) for label in ("GPE", "person", "CARDINAL", "Drug")]
        ['LOC', 'PER', None, 'Drug']
    """
    return _COARSE.get(label.upper(), label)


def with_types(post: Post, type_of: Callable[[TextEntity], str]) -> Post:
    """The post, with a type for each entity that has none; types that are given stay."""
    if all(entity.type is not None for entity in post.entities):
        return post
    entities = tuple(
        entity if entity.type is not None else entity.model_copy(update={"type": type_of(entity)})
        for entity in post.entities
    )
    return post.model_copy(update={"entities": entities})


def as_entities(text: str, spans: list[tuple[int, int, str]]) -> list[TextEntity]:
    """Found spans as entities ``e0``, ``e1`` ..., in order, without white space at their edges.

    Args:
        text: What they were found in.
        spans: ``(start, end, type)``; they do not overlap.
    """
    found: list[TextEntity] = []
    for start, end, name in sorted(spans):
        words = text[start:end]
        if not words.strip():
            continue
        start += len(words) - len(words.lstrip())
        end -= len(words) - len(words.rstrip())
        found.append(TextEntity(id=f"e{len(found)}", start=start, end=end, type=name))
    return found
