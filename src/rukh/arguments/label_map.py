"""The mapping from other taggers' labels to rukh's entity types."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

from rukh.records import Post, TextEntity
from rukh.schema.schema import RelationSchema

LABELS: dict[str, tuple[str, ...]] = {
    "PER": ("PER", "PERSON"),
    "LOC": ("LOC", "LOCATION", "GPE", "FAC"),
    "ORG": ("ORG", "ORGANIZATION", "ORGANISATION"),
    "EVENT": ("EVENT",),
    "WORK": ("WORK", "WORK_OF_ART"),
    "PRODUCT": ("PRODUCT",),
    "MISC": ("MISC", "OTHER", "NORP", "LANGUAGE", "LAW"),
    "TIME": ("TIME", "DATE"),
    "NUM": ("NUM", "NUMBER", "PERCENT", "MONEY", "QUANTITY", "ORDINAL", "CARDINAL"),
}
"""The labels that are mapped to each type."""
TYPE_WORDS = {
    "PER": "person",
    "LOC": "location",
    "ORG": "organization",
    "EVENT": "event",
    "WORK": "creative work",
    "PRODUCT": "product",
    "TIME": "date",
    "NUM": "number",
    "MISC": "miscellaneous",
}
"""Words for each type, for models that detect entities by words."""
WORDS: dict[str, str] = {
    "PER": "person people human man woman child boy girl athlete player coach politician president "
    "minister scientist researcher artist musician singer actor actress author writer journalist "
    "director founder employee manager ceo executive leader doctor patient lawyer judge student "
    "teacher user customer client character name",
    "ORG": "organization organisation company corporation firm business startup employer bank club "
    "team band party university school college institution agency ministry hospital newspaper "
    "publisher brand manufacturer supplier vendor union association group department",
    "LOC": "location place city town village country state nation region province district area "
    "address street building venue facility river mountain lake island sea planet continent "
    "airport",
    "EVENT": "event conference match game tournament festival concert war battle election meeting "
    "ceremony exhibition accident disaster incident",
    "WORK": "work book novel film movie song album painting show series article paper poem play "
    "magazine podcast",
    "PRODUCT": "product device software app application tool drug medicine vehicle car ship weapon "
    "model service food drink programming",
    "TIME": "time date year day month period duration",
    "NUM": "number quantity amount money price percentage percent age count score",
    "MISC": "miscellaneous award prize law language nationality religion disease species animal "
    "plant title role position topic concept method",
}
"""Words for the entities of each type, by which a schema's own types are mapped."""
TYPE_OF_WORD = {word: type_ for type_, words in WORDS.items() for word in words.split()}
"""The type of each of these words."""
_TYPE_OF_LABEL = {label: type_ for type_, labels in LABELS.items() for label in labels}


def type_words(schema: RelationSchema) -> dict[str, str]:
    """Return the types of a schema and words for each; :data:`TYPE_WORDS` if it has no types.

    Example:
        >>> type_words(RelationSchema.load("mnre"))["PER"]
        'person'
    """
    names = sorted(schema.argument_types) or TYPE_WORDS
    plain = {name: TYPE_WORDS.get(name, name.replace("_", " ").lower()) for name in names}
    return plain | schema.types


def normalize_label(label: str) -> str:
    """Map a label to its type, ignoring case. Labels that are not in :data:`LABELS` are kept.

    Example:
        >>> [normalize_label(label) for label in ("GPE", "person", "CARDINAL", "Drug")]
        ['LOC', 'PER', 'NUM', 'Drug']
    """
    return _TYPE_OF_LABEL.get(label.upper(), label)


def type_of_words(phrase: str) -> str | None:
    """Return the type that the last word of a phrase, or of a name such as FootballClub, means.

    Example:
        >>> [type_of_words(phrase) for phrase in ("record company", "FootballClub", "zorb")]
        ['ORG', 'ORG', None]
    """
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", phrase)
    for last in (part.lower() for part in parts[-1:]):
        for word in (last, last.removesuffix("s"), re.sub("ies$", "y", last)):
            if word in TYPE_OF_WORD:
                return TYPE_OF_WORD[word]
    return None


def fit_type(type_: str, known_types: Collection[str]) -> str | None:
    """Return the type that a schema with these types has for an entity of the given type.

    An event, work or product is MISC for a schema that has MISC, but not the narrower type. None:
    a time or number, which is no argument for a schema without its type.

    Example:
        >>> [fit_type(name, {"PER", "MISC", "EVENT"}) for name in ("EVENT", "WORK", "TIME", "Drug")]
        ['EVENT', 'MISC', None, 'Drug']
    """
    if type_ in known_types:
        return type_
    if type_ in ("EVENT", "WORK", "PRODUCT") and "MISC" in known_types:
        return "MISC"
    return None if type_ in ("TIME", "NUM") else type_


def fit_types(entities: Iterable[TextEntity], known_types: Collection[str]) -> list[TextEntity]:
    """Apply :func:`fit_type` to detected entities, and leave out those that are no arguments."""
    fitting = []
    for entity in entities:
        type_ = entity.type and fit_type(entity.type, known_types)
        if type_ is not None:
            fitting.append(entity.model_copy(update={"type": type_}))
    return fitting


def normalize_types(post: Post, known_types: Collection[str] = ()) -> Post:
    """Normalize the entity types of a post, except for types in ``known_types``.

    Example:
        >>> post = Post(id="1", text="Rome", entities=[
        ...     {"id": "r", "start": 0, "end": 4, "type": "GPE"}])
        >>> [normalize_types(post, known).entities[0].type for known in ((), {"GPE"})]
        ['LOC', 'GPE']
    """

    def normal(type_: str) -> str:
        label = type_ if type_ in known_types else normalize_label(type_)
        return fit_type(label, known_types) or label

    entities = tuple(
        entity if entity.type is None else entity.model_copy(update={"type": normal(entity.type)})
        for entity in post.entities
    )
    return post if entities == post.entities else post.model_copy(update={"entities": entities})


def count_given_types(posts: Iterable[Post]) -> Counter[str]:
    """Count the entity types that the posts give, excluding types that a tagger assigned."""
    return Counter(
        entity.type
        for post in posts
        for entity in post.entities
        if entity.type is not None and entity.type_confidence is None
    )
