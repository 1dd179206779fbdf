"""`python -m research.probe.make`: make the probe's posts, to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from research.command import command_line, main
from research.probe.posts import write_probe
from rukh.errors import InputError


def make(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Of layouts, names and images.")] = 13,
) -> None:
    """Make the visual probe: posts that only their images decide.

    Writes train.jsonl, val.jsonl, test.jsonl and images/. The images are composed from cut-outs
    that `make probe-assets` fetches; it takes some minutes.
    """
    expected = {"train.jsonl", "val.jsonl", "test.jsonl", "images"}
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= expected):
        raise InputError("contains other files", where=str(out), fix="name a new folder")
    counts = write_probe(out, seed)
    sizes = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    typer.echo(f"{sizes} posts written to {out}")


app = command_line(make)
if __name__ == "__main__":
    main(app)
