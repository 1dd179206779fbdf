"""`python -m corpora.build --out DIR`: the corpus as posts and schemas that rukh reads.

For each field, ``FIELD.jsonl`` has its posts, and ``FIELD.yaml`` the relations that were decided
for their pairs: the general ones and those of the field. ``DIR/train`` is to train on, and
``DIR/held_out``, a random tenth of each field, to calibrate and to compare; with ``--whole``, all
posts are in ``DIR``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corpora.inline import POSTS, field_schema, fields, read_all
from rukh.cli.logs import errors_as_lines
from rukh.data.readers import write
from rukh.data.splits import split_dev
from rukh.utils.files import atomic_open

HELD_OUT = 0.1
"""Fraction of each field's posts that no model is trained on."""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder for the posts and schemas of all fields.")],
    source: Annotated[Path, typer.Option(help="Folder of the posts in the inline form.")] = POSTS,
    whole: Annotated[bool, typer.Option("--whole", help="Hold no posts out.")] = False,
) -> None:
    """Convert the corpus from the inline form to JSON lines, with a schema for each field."""
    paths = fields(source)
    total = {out: 0} if whole else {out / "train": 0, out / "held_out": 0}
    for path in paths:
        schema = field_schema(path)
        posts = read_all(path, schema)
        split = [list(range(len(posts)))] if whole else split_dev(posts, HELD_OUT)
        for folder, indices in zip(total, split, strict=True):
            file = folder / f"{path.stem}.jsonl"
            total[folder] += write([posts[i] for i in indices], file)
            with atomic_open(file.with_suffix(".yaml")) as stream:
                stream.write(schema.to_yaml())
    parts = ", ".join(f"{count:,} in {folder}" for folder, count in total.items())
    typer.echo(f"posts of {len(paths)} fields: {parts}")


if __name__ == "__main__":
    with errors_as_lines():
        app()
