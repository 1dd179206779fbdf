"""The mapping of a schema's own entity types, such as ``athlete``, to those that taggers detect."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch

from rukh.arguments.label_map import LABELS, TYPE_OF_WORD, normalize_label, type_of_words
from rukh.errors import MAX_LISTED
from rukh.modeling.text_encoder import TextEncoder
from rukh.schema.schema import RelationSchema

logger = logging.getLogger(__name__)

MIN_SIMILARITY = 0.5
"""Minimum cosine of a type's word and a word of :data:`label_map.WORDS` that mean the same type."""


def detected_type(name: str, words: str, nearest: Callable[[str], str | None]) -> str | None:
    """Return the type that taggers give to the entities of a schema's own type, or None.

    Args:
        name: The type, such as ``company``.
        words: The type in plain words.
        nearest: Function that maps words to a word of :data:`label_map.WORDS` with the same
            meaning, or None.

    Example:
        >>> detected_type("FootballClub", "FootballClub", lambda words: None)
        'ORG'
        >>> detected_type("Athletes", "people who do sport", lambda words: None)
        'PER'
    """
    if (label := normalize_label(name)) in LABELS:
        return label
    for phrase in (words, name):
        if known := type_of_words(phrase):
            return known
    word = nearest(words)
    return None if word is None else TYPE_OF_WORD[word]


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

    A type without a known word is compared with the words of :data:`label_map.WORDS`; types that
    are not similar to any of them are named in a warning.

    Args:
        text_encoder: Name or path of the text encoder for this comparison. It is only loaded if
            there is such a type.
    """
    words = list(TYPE_OF_WORD)

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
