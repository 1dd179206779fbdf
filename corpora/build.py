"""`python -m corpora.build --out DIR`: the corpus as posts and schemas that rukh reads.

For each field, ``DIR/FIELD.jsonl`` has its posts, and ``DIR/FIELD.yaml`` the relations that were
decided for their pairs: the general ones and those of the field.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corpora.inline import POSTS, field_schema, fields, read_lines
from rukh.cli.logs import errors_as_lines
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.records import Post
from rukh.utils.files import atomic_open

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder for the posts and schemas of all fields.")],
    source: Annotated[Path, typer.Option(help="Folder of the posts in the inline form.")] = POSTS,
) -> None:
    """Convert the corpus from the inline form to JSON lines, with a schema for each field."""
    paths, total = fields(source), 0
    for path in paths:
        schema = field_schema(path)
        posts: list[Post] = []
        for result in read_lines(path, schema):
            if isinstance(result, InputError):
                raise result
            posts.append(result)
        total += write(posts, out / f"{path.stem}.jsonl")
        with atomic_open(out / f"{path.stem}.yaml") as stream:
            stream.write(schema.to_yaml())
    typer.echo(f"{total:,} posts of {len(paths)} fields written to {out}")


if __name__ == "__main__":
    with errors_as_lines():
        app()
