"""Other taggers' entity types in rukh's words, and how a post's entities come by theirs."""

from __future__ import annotations

from collections.abc import Callable, Collection

from rukh.records import Post, TextEntity

TABLE: dict[str, tuple[str, ...]] = {
    "PER": ("PER", "PERSON"),
    "LOC": ("LOC", "LOCATION", "GPE", "FAC"),
    "ORG": ("ORG", "ORGANIZATION", "ORGANISATION"),
    "MISC": ("MISC", "OTHER", "EVENT", "PRODUCT", "WORK_OF_ART", "NORP", "LANGUAGE", "LAW"),
    "TIME": ("TIME", "DATE"),
    "NUM": ("NUM", "NUMBER", "PERCENT", "MONEY", "QUANTITY", "ORDINAL", "CARDINAL"),
}
"""The labels that become each type."""
DROPPED = ("TIME", "NUM")
"""Types of what a tagger finds that are no arguments; where the data gives them, they stay."""
_COARSE = {label: name for name, labels in TABLE.items() for label in labels}


def normalize_label(label: str) -> str:
    """The type that a tagger's label becomes, whatever its case.

    Labels that :data:`TABLE` does not know stay as they are.

    Example:
        >>> [coarse(label) for label in ("GPE", "person", "CARDINAL", "Drug")]
        ['LOC', 'PER', 'NUM', 'Drug']
    """
    return _COARSE.get(label.upper(), label)


def argument_type(label: str) -> str | None:
    """The type of what a tagger finds; None where it is dropped.

    Example:
        >>> [found_type(label) for label in ("GPE", "CARDINAL")]
        ['LOC', None]
    """
    name = normalize_label(label)
    return None if name in DROPPED else name


def normalize_types(post: Post, known: Collection[str] = ()) -> Post:
    """The post, with the types that it gives its entities put into rukh's words.

    Args:
        post: Its types may be those of any tagger: ``PERSON``, ``GPE``, ``DATE`` ...
        known: Types that stay as they are, because the schema speaks of them.

    Example:
        >>> post = Post(id="1", text="Rome", entities=[
        ...     {"id": "r", "start": 0, "end": 4, "type": "GPE"}])
        >>> in_words(post).entities[0].type, in_words(post, {"GPE"}).entities[0].type
        ('LOC', 'GPE')
    """
    spelt = [
        e.type if e.type is None or e.type in known else normalize_label(e.type)
        for e in post.entities
    ]
    if spelt == [entity.type for entity in post.entities]:
        return post
    entities = tuple(
        entity if entity.type == name else entity.model_copy(update={"type": name})
        for entity, name in zip(post.entities, spelt, strict=True)
    )
    return post.model_copy(update={"entities": entities})


def fill_types(post: Post, type_of: Callable[[TextEntity], tuple[str, float]]) -> Post:
    """The post, with a type for each entity that has none, and how sure it is; types that are given
    stay.
    """
    if all(entity.type is not None for entity in post.entities):
        return post

    def typed(entity: TextEntity) -> TextEntity:
        if entity.type is not None:
            return entity
        name, sure = type_of(entity)
        return entity.model_copy(update={"type": name, "type_confidence": min(1.0, sure)})

    entities = tuple(typed(entity) for entity in post.entities)
    return post.model_copy(update={"entities": entities})


def to_entities(text: str, spans: list[tuple[int, int, str]]) -> list[TextEntity]:
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
        entity = TextEntity(
            id=f"e{len(found)}", start=start, end=end, type=name, type_confidence=1.0
        )
        found.append(entity)
    return found
