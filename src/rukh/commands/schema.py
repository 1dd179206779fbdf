"""``rukh schema``: relation schemas from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make relation schemas.")


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help='JSON, {"P17": ["country", "description"]}.')
    ],
    out: Annotated[Path, typer.Option(help="The YAML file to write, whole or not at all.")],
) -> None:
    """Make a closed schema of a catalogue of relations, such as FewRel's pid2name.json."""
    from rukh.schema_import import import_schema, write_schema

    schema = import_schema(file, out.stem)
    write_schema(schema, out)
    bare = sum(relation.descriptions[-1] in relation.name for relation in schema.relations)
    typer.echo(f"{len(schema.names):,} relations written to {out}, {bare:,} of them by name alone")
