"""The mapping of a schema's own entity types, such as ``athlete``, to those that taggers detect."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import cache

import torch

from rukh.arguments.label_map import LABELS, normalize_label
from rukh.errors import MAX_LISTED
from rukh.modeling.text_encoder import TextEncoder
from rukh.schema.schema import RelationSchema

logger = logging.getLogger(__name__)

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
_TYPE_OF_WORD = {word: type_ for type_, words in WORDS.items() for word in words.split()}
MIN_SIMILARITY = 0.5
"""Minimum cosine of a type's word and a word of :data:`WORDS` that mean the same type."""


def detected_type(name: str, words: str, nearest: Callable[[str], str | None]) -> str | None:
    """Return the type that taggers give to the entities of a schema's own type, or None.

    Args:
        name: The type, such as ``company``.
        words: The type in plain words.
        nearest: Function that maps words to a word of :data:`WORDS` with the same meaning, or None.

    Example:
        >>> detected_type("FootballClub", "FootballClub", lambda words: None)
        'ORG'
        >>> detected_type("Athletes", "people who do sport", lambda words: None)
        'PER'
    """
    if (label := normalize_label(name)) in LABELS:
        return label
    for phrase in (words, name):
        parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", phrase)
        for last in (part.lower() for part in parts[-1:]):
            for word in (last, last.removesuffix("s"), re.sub("ies$", "y", last)):
                if word in _TYPE_OF_WORD:
                    return _TYPE_OF_WORD[word]
    word = nearest(words)
    return None if word is None else _TYPE_OF_WORD[word]


def add_detected_types(
    schema: RelationSchema, nearest: Callable[[str], str | None]
) -> tuple[RelationSchema, dict[str, str | None]]:
    """Let the relations of a schema accept detected entities in place of the schema's own types.

    Args:
        nearest: See :func:`detected_type`.

    Returns:
        The schema, in which each type of the taggers is added to the own types that it stands for,
        and this mapping: the own types, each with the type of the taggers, or None.
    """
    own = sorted(schema.argument_types - LABELS.keys())
    mapping = {name: detected_type(name, schema.types.get(name, name), nearest) for name in own}
    if not any(mapping.values()):
        return schema, mapping

    def widened(types: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*types, *filter(None, map(mapping.get, types))]))

    relations = [
        relation.model_copy(update={"head": widened(relation.head), "tail": widened(relation.tail)})
        for relation in schema.relations
    ]
    return schema.model_copy(update={"relations": tuple(relations)}), mapping


def accept_detected_types(schema: RelationSchema, text_encoder: str) -> RelationSchema:
    """Let the relations of a schema accept the entity types that taggers detect, and log how.

    A type without a known word is compared with the words of :data:`WORDS`; types that are not
    similar to any of them are named in a warning.

    Args:
        text_encoder: Name or path of the text encoder for this comparison. It is only loaded if
            there is such a type.
    """
    words = list(_TYPE_OF_WORD)

    @cache
    def embed() -> TextEncoder:
        return TextEncoder.load(text_encoder).eval()

    def nearest(phrase: str) -> str | None:
        with torch.inference_mode():
            vectors = embed().embed_sentences([phrase, *words])
        cosines = vectors[1:] @ vectors[0]
        best = int(cosines.argmax())
        return words[best] if cosines[best] >= MIN_SIMILARITY else None

    widened, mapping = add_detected_types(schema, nearest)
    if known := {name: type_ for name, type_ in mapping.items() if type_}:
        listed = ", ".join(f"{name} is {type_}" for name, type_ in known.items())
        logger.info("types of schema %r, for detected entities: %s", schema.name, listed)
    if unknown := [repr(name) for name, type_ in mapping.items() if type_ is None]:
        logger.warning(
            "no detected entity is of the types %s of schema %r; give these entities in the posts, "
            "or use types of the tagger (%s)",
            ", ".join(unknown[:MAX_LISTED]),
            schema.name,
            ", ".join(LABELS),
        )
    return widened
