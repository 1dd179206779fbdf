"""`python -m research.seeds MODEL...`: mean and deviation over models that differ in their seed."""

from __future__ import annotations

from typing import Annotated

import typer

from research.command import command_line, main, show
from research.seeds import study
from rukh.cli import options
from rukh.utils.files import check_outputs


def seeds(
    model: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Folders of models trained alike.")
    ],
    json: options.Json = None,
) -> None:
    """Mean and deviation of the val figures of models that differ only in their seed."""
    check_outputs([json])
    rows = study.seeds(model)
    show(study.table(rows), rows, json)


app = command_line(seeds)
if __name__ == "__main__":
    main(app)
