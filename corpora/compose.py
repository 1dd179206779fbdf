"""`python -m corpora.compose TEMPLATES.yaml --out DIR`: labelled posts from sentence templates.

A template is a sentence with ``{head}`` and ``{tail}``, written by a person or a language model.
Many relations with few sentences teach a model more about relations that it has not seen than few
relations with many sentences.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import AfterValidator, Field

from rukh.cli.logs import errors_as_lines
from rukh.config import load_config
from rukh.data.readers import write
from rukh.records import Name, Pair, Post, Record, Text, TextEntity
from rukh.schema.schema import RelationSchema
from rukh.utils.files import atomic_open

NOTA = "none"
"""The NOTA label of the schema that templates make."""


def _check_slots(text: str) -> str:
    if text.count("{head}") != 1 or text.count("{tail}") != 1:
        raise ValueError("a template needs {head} once and {tail} once")
    return text


class RelationTemplates(Record):
    """A relation with sentences that state it.

    Attributes:
        id, name, descriptions, symmetric: See :class:`rukh.schema.schema.Relation`.
        head, tail: The types of the arguments.
        heads, tails: Words for the arguments; each fits every template.
        templates: Sentences with ``{head}`` once and ``{tail}`` once.
    """

    id: Name | None = None
    name: Name
    descriptions: tuple[Text, ...] = Field(min_length=1)
    symmetric: bool = False
    head: Name
    tail: Name
    heads: tuple[Name, ...] = Field(min_length=1)
    tails: tuple[Name, ...] = Field(min_length=1)
    templates: tuple[Annotated[str, AfterValidator(_check_slots)], ...] = Field(min_length=1)


class Templates(Record):
    """A file of templates: the name of their schema, and its relations."""

    name: Name
    relations: tuple[RelationTemplates, ...] = Field(min_length=1)

    def as_schema(self) -> RelationSchema:
        """Make a schema of the relations, with the NOTA label ``none``."""
        relations = [
            {
                **relation.model_dump(include={"id", "name", "descriptions", "symmetric"}),
                "head": [relation.head],
                "tail": [relation.tail],
            }
            for relation in self.relations
        ]
        return RelationSchema.parse(
            {"name": self.name, "nota": NOTA, "relations": [{"name": NOTA}, *relations]}
        )


def compose(
    relations: Sequence[RelationTemplates], fills: int = 2, seed: int = 0
) -> Iterator[Post]:
    """Yield every template ``fills`` times, with other words each time if there are enough.

    The first letter of a text is made a capital.

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
                text, spans = fill_template(template, words)
                capital = text[:1].upper()
                if len(capital) == 1:  # "ß" becomes "SS", which would shift the offsets
                    text = capital + text[1:]
                yield Post(
                    id=f"{relation.name}:{number}:{fill}",
                    text=text,
                    entities=tuple(
                        TextEntity(id=role[0], start=start, end=end, type=getattr(relation, role))
                        for role, (start, end) in sorted(spans.items())
                    ),
                    pairs=(Pair(head="h", tail="t", relation=relation.name),),
                )


def fill_template(
    template: str, words: Mapping[str, str]
) -> tuple[str, dict[str, tuple[int, int]]]:
    """Fill the slots of a template; returns the text and the span of each slot's word.

    Example:
        >>> fill_template("{head}, near {tail}.", {"head": "Brae", "tail": "Lund"})
        ('Brae, near Lund.', {'head': (0, 4), 'tail': (11, 15)})
    """
    text, spans = "", {}
    for before, slot in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
        text += before
        if slot:
            spans[slot] = (len(text), len(text) + len(words[slot]))
            text += words[slot]
    return text, spans


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    templates: Annotated[Path, typer.Argument(help="Relations with sentence templates, YAML.")],
    out: Annotated[Path, typer.Option(help="Folder for posts.jsonl and schema.yaml.")],
    fills: Annotated[int, typer.Option(min=1, max=100, help="Number of posts per template.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of words.")] = 0,
) -> None:
    """Compose labelled posts from sentence templates, and the schema of their relations."""
    config = load_config(templates, Templates)
    schema = config.as_schema().to_yaml()
    total = write(compose(config.relations, fills, seed), out / "posts.jsonl")
    with atomic_open(out / "schema.yaml") as stream:
        stream.write(schema)
    typer.echo(f"{total:,} posts of {len(config.relations):,} relations written to {out}")


if __name__ == "__main__":
    with errors_as_lines():
        app()
