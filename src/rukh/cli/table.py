"""The table of ``rukh extract --table``, and the width of what people read in a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rukh.records import Mention, Post, Triple


def print_post(post: Post, triples: Iterable[Triple], *, show_entities: bool = False) -> None:
    """Print a post and its triples and, on request, its entities and objects."""
    from rukh.records import to_mention

    width = terminal_width()
    image = f"  [{post.image}]" if isinstance(post.image, Path) else ""
    title = " ".join(f"{post.id}  {post.text}{image}".split())
    typer.echo(textwrap.fill(title, width, subsequent_indent="  "))
    for argument in post.arguments if show_entities else ():
        score = argument.meta.get("score")
        probability = f"   {score:.2f}" if isinstance(score, float) else ""
        name = _name(to_mention(argument, post.text))
        typer.echo(f"    {argument.type or '(no type)'}: {name}{probability}")
    for triple in triples:
        head, tail = _name(triple.head), _name(triple.tail)
        gate = "" if triple.gate is None else f"  image gate {triple.gate:.2f}"
        relation = triple.relation or "(none)"
        typer.echo(f"    {head}  --{relation}-->  {tail}   {triple.score:.2f}{gate}")
        notes = []
        if triple.reason is not None:
            words = ", ".join(repr(word.text) for word in triple.reason)
            notes.append(f"because of {words or 'the arguments and their types'}")
        if triple.description:
            notes.append(f"description: {triple.description}")
        for note in notes:
            indent = " " * 8
            line = textwrap.fill(note, width, initial_indent=indent, subsequent_indent=indent)
            typer.echo(line)
    typer.echo("")


def terminal_width() -> int:
    """Return how many columns a text for people to read may have."""
    return min(shutil.get_terminal_size((100, 24)).columns, 110)


def _name(argument: Mention) -> str:
    """Return the words of an entity, or the label and box of an object."""
    from rukh.records import EntityMention

    if isinstance(argument, EntityMention):
        return argument.surface
    box = ", ".join(f"{edge:.2f}" for edge in argument.box)
    return f"{argument.surface} at {box}"
