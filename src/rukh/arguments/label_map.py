"""The mapping of other taggers' labels to rukh's entity types."""

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
NO_ARGUMENTS = ("TIME", "NUM")
"""Types of detected entities that are dropped. Given entities of these types are kept."""
_TYPE_OF_LABEL = {label: type_ for type_, labels in LABELS.items() for label in labels}


def normalize_label(label: str) -> str:
    """The type of a tagger's label, which may be in upper or lower case.

    Labels that are not in :data:`LABELS` stay as they are.

    Example:
        >>> [normalize_label(label) for label in ("GPE", "person", "CARDINAL", "Drug")]
        ['LOC', 'PER', 'NUM', 'Drug']
    """
    return _TYPE_OF_LABEL.get(label.upper(), label)


def argument_type(label: str) -> str | None:
    """The type of a detected entity by its label; None if such entities are dropped.

    Example:
        >>> [argument_type(label) for label in ("GPE", "CARDINAL")]
        ['LOC', None]
    """
    type_ = normalize_label(label)
    return None if type_ in NO_ARGUMENTS else type_


def normalize_types(post: Post, known_types: Collection[str] = ()) -> Post:
    """The post with its entities' types normalized by :func:`normalize_label`.

    Args:
        post: The types may be those of any tagger: ``PERSON``, ``GPE``, ``DATE``, ...
        known_types: Types that stay as they are, because the schema uses them.

    Example:
        >>> post = Post(id="1", text="Rome", entities=[
        ...     {"id": "r", "start": 0, "end": 4, "type": "GPE"}])
        >>> normalize_types(post).entities[0].type
        'LOC'
        >>> normalize_types(post, {"GPE"}).entities[0].type
        'GPE'
    """
    entities = tuple(
        entity
        if entity.type is None or entity.type in known_types
        else entity.model_copy(update={"type": normalize_label(entity.type)})
        for entity in post.entities
    )
    return post if entities == post.entities else post.model_copy(update={"entities": entities})
