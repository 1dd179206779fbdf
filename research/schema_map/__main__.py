"""`python -m research.schema_map SCHEMA --out MAP.png`: draw a map of a schema's relations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from research.command import command_line, main
from research.schema_map.study import FORMATS, save, schema_map
from rukh.cli import options
from rukh.cli.schema import load_embedder
from rukh.errors import InputError
from rukh.schema.schema import RelationSchema
from rukh.utils.files import check_outputs


def draw(
    schema: Annotated[str, typer.Argument(help="A YAML file, or a shipped schema's name.")],
    out: Annotated[Path, typer.Option(help="A .png, .svg or .json file to write.")],
    encoder: options.Encoder = None,
) -> None:
    """Draw the relations in the encoder's space, and list the most similar ones of each."""
    if out.suffix.lower() not in FORMATS:
        endings = ", ".join(FORMATS)
        raise InputError(f"{out.name!r} does not end in {endings}", where=str(out), field="--out")
    check_outputs([out])
    data = schema_map(RelationSchema.load(schema), load_embedder(encoder)[0])
    save(data, out)
    for relation in data["relations"]:
        nearest = ", ".join(f"{n['name']} {n['cosine']:.2f}" for n in relation["nearest"])
        typer.echo(f"{relation['name']}: {nearest}")
    typer.echo(f"map written to {out}")


app = command_line(draw)
if __name__ == "__main__":
    main(app)
