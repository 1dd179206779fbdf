"""Posts composed from sentence templates: many relations, a few sentences each.

A model learns what relations mean from how many it sees rather than from how often it sees each.
Templates are the cheapest source: for a relation, sentences with a ``{head}`` and a ``{tail}``, and
words to put there. They are written by a language model or a person; ``corpora/`` has some.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from rukh.records import Name, Pair, Post, Record, Text, TextEntity
from rukh.schema.schema import RelationSchema

NOTA = "none"


def _with_slots(text: str) -> str:
    if text.count("{head}") != 1 or text.count("{tail}") != 1:
        raise ValueError("a template has {head} once and {tail} once")
    return text


class RelationTemplates(Record):
    """A relation with sentences that tell it.

    Attributes:
        id, name, descriptions, symmetric: As in :class:`rukh.schema.schema.Relation`.
        head, tail: The arguments' types.
        heads, tails: Words for the arguments; each fits every template.
        templates: Sentences with ``{head}`` and ``{tail}``, each once.
    """

    id: Name | None = None
    name: Name
    descriptions: tuple[Text, ...] = Field(min_length=1)
    symmetric: bool = False
    head: Name
    tail: Name
    heads: tuple[Name, ...] = Field(min_length=1)
    tails: tuple[Name, ...] = Field(min_length=1)
    templates: tuple[Annotated[str, AfterValidator(_with_slots)], ...] = Field(min_length=1)


class Templates(Record):
    """A file of them; :func:`rukh.config.load_config` reads it.

    Attributes:
        name: Of the schema that they make.
        relations: The relations.
    """

    name: Name
    relations: tuple[RelationTemplates, ...] = Field(min_length=1)

    def as_schema(self) -> RelationSchema:
        """The relations without their templates; its NOTA is ``none``."""
        plain = {"heads", "tails", "templates", "head", "tail"}
        told = [
            {**r.model_dump(exclude=plain), "head": [r.head], "tail": [r.tail]}
            for r in self.relations
        ]
        relations = [{"name": NOTA}, *told]
        return RelationSchema.parse({"name": self.name, "nota": NOTA, "relations": relations})


def compose(
    relations: Sequence[RelationTemplates], fills: int = 2, seed: int = 0
) -> Iterator[Post]:
    """Every template filled ``fills`` times, each time with other words where there are enough; a
    sentence begins with a capital letter.

    Example:
        >>> relation = RelationTemplates(name="built by", descriptions=["who built it"],
        ...     head="MISC", tail="ORG", heads=["Arrow 3"], tails=["Kestrel Works"],
        ...     templates=["In 1961 {tail} built the {head}."])
        >>> (post,) = compose([relation], fills=1)
        >>> post.text, post.surface("h"), post.surface("t")
        ('In 1961 Kestrel Works built the Arrow 3.', 'Arrow 3', 'Kestrel Works')
    """
    generator = random.Random(seed)
    for relation in relations:
        for number, template in enumerate(relation.templates):
            heads = generator.sample(relation.heads, min(fills, len(relation.heads)))
            tails = generator.sample(relation.tails, min(fills, len(relation.tails)))
            for fill in range(fills):
                words = {"head": heads[fill % len(heads)], "tail": tails[fill % len(tails)]}
                yield _post(f"{relation.name}:{number}:{fill}", template, words, relation)


def filled(template: str, words: Mapping[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
    """A template with a word in each of its slots, and where each of these stands.

    Example:
        >>> filled("{head}, near {tail}.", {"head": "Brae", "tail": "Lund"})
        ('Brae, near Lund.', {'head': (0, 4), 'tail': (11, 15)})
    """
    text, spans = "", {}
    for before, slot in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
        text += before
        if slot:
            spans[slot] = (len(text), len(text) + len(words[slot]))
            text += words[slot]
    return text, spans


def _post(name: str, template: str, words: dict[str, str], relation: RelationTemplates) -> Post:
    text, spans = filled(template, words)
    # A letter that becomes two ("ß") would shift what stands behind it.
    first = text[:1].upper() if len(text[:1].upper()) == 1 else text[:1]
    entities = [
        TextEntity(id=slot[0], start=start, end=end, type=getattr(relation, slot))
        for slot, (start, end) in sorted(spans.items())
    ]
    return Post(
        id=name,
        text=first + text[1:],
        entities=tuple(entities),
        pairs=(Pair(head="h", tail="t", relation=relation.name),),
    )
