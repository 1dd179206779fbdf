"""The mapping from other taggers' labels to rukh's entity types."""

from __future__ import annotations

from collections.abc import Collection

from rukh.records import Post

LABELS: dict[str, tuple[str, ...]] = {
    "PER": ("PER", "PERSON"),
    "LOC": ("LOC", "LOCATION", "GPE", "FAC"),
    "ORG": ("ORG", "ORGANIZATION", "ORGANISATION"),
    "MISC": ("MISC", "OTHER", "EVENT", "PRODUCT", "WORK_OF_ART", "NORP", "LANGUAGE", "LAW"),
    "TIME": ("TIME", "DATE"),
    "NUM": ("NUM", "NUMBER", "PERCENT", "MONEY", "QUANTITY", "ORDINAL", "CARDINAL"),
}
"""The labels that are mapped to each type."""
_TYPE_OF_LABEL = {label: type_ for type_, labels in LABELS.items() for label in labels}


def normalize_label(label: str) -> str:
    """Map a label to its type, ignoring case. Labels that are not in :data:`LABELS` are kept.

    Example:
        >>> [normalize_label(label) for label in ("GPE", "person", "CARDINAL", "Drug")]
        ['LOC', 'PER', 'NUM', 'Drug']
    """
    return _TYPE_OF_LABEL.get(label.upper(), label)


def argument_type(label: str) -> str | None:
    """The type of a detected entity, or None for times and numbers, which cannot be arguments."""
    type_ = normalize_label(label)
    return None if type_ in ("TIME", "NUM") else type_


def normalize_types(post: Post, known_types: Collection[str] = ()) -> Post:
    """Normalize the entity types of a post, except for types in ``known_types``.

    Example:
        >>> post = Post(id="1", text="Rome", entities=[
        ...     {"id": "r", "start": 0, "end": 4, "type": "GPE"}])
        >>> [normalize_types(post, known).entities[0].type for known in ((), {"GPE"})]
        ['LOC', 'GPE']
    """
    entities = tuple(
        entity
        if entity.type is None or entity.type in known_types
        else entity.model_copy(update={"type": normalize_label(entity.type)})
        for entity in post.entities
    )
    return post if entities == post.entities else post.model_copy(update={"entities": entities})
