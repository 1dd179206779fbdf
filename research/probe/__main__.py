"""`python -m research.probe`: does a model use the image?"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from research.command import command_line, main
from research.probe import study
from research.probe.cutouts import find_assets
from rukh.cli import options
from rukh.extractor import Extractor
from rukh.utils.files import check_outputs, write_json


def probe(
    model: options.Model = "probe",
    seed: Annotated[int, typer.Option(min=0, help="Of the test set, which is made anew.")] = 0,
    pairs: Annotated[int, typer.Option(min=20, help="Pairs of each track.")] = 1000,
    split: Annotated[
        Literal["val", "test"],
        typer.Option(help="Whose cut-outs and names to use; val is for decisions."),
    ] = "test",
    json: options.Json = None,
) -> None:
    """Test a model on posts that only their images decide: with them, without, and shuffled.

    The images are composed from cut-outs that `make probe-assets` fetches.
    """
    check_outputs([json])
    find_assets()  # fails before the model is loaded
    extractor = Extractor.from_pretrained(model)
    figures = study.run(
        extractor, seed, pairs, lambda name: typer.echo(f"testing {name} ...", err=True), split
    )
    if str(json) != "-":
        typer.echo(study.table(figures), nl=False)
        typer.echo(f"{pairs:,} pairs a track of {split}, seed {seed}, {figures['seconds']} s")
    if json is not None:
        write_json(figures, json)


app = command_line(probe)
if __name__ == "__main__":
    main(app)
