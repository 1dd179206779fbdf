"""What the studies' command lines share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from rukh.cli.logs import errors_as_lines, set_up_logging
from rukh.errors import InputError
from rukh.utils.files import write_json

Finished: TypeAlias = Annotated[
    bool, typer.Option("--finished", help="Train nothing; show the finished results.")
]
Work: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder of unfinished runs; by default runs/<the file's name>.")
]


def command_line(function: Callable[..., None]) -> typer.Typer:
    """A command line with one command."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(function)
    return app


def main(app: typer.Typer) -> None:
    """Run a command line; exits with 0 done, 2 bad input, 1 failure, as `rukh` does."""
    set_up_logging()
    with errors_as_lines():
        app()


def work_folder(given: Path | None, file: Path) -> Path:
    """Where unfinished runs are kept."""
    return (given or Path("runs") / file.stem).absolute()


def collect(
    results: Iterable[Mapping[str, Any]], line: Callable[[Mapping[str, Any]], str], folder: Path
) -> list[Mapping[str, Any]]:
    """All results; a line about each goes to standard error as it is finished.

    Raises:
        InputError: There is none.
    """
    finished = []
    for result in results:
        finished.append(result)
        typer.echo(line(result), err=True)
    if not finished:
        raise InputError("nothing is finished yet", where=str(folder))
    return finished


def show(table: str, data: Any, json: Path | None) -> None:
    """Print a table, and write the data as JSON where asked for; `-` is standard output."""
    if str(json) != "-":
        typer.echo(table, nl=False)
    if json is not None:
        write_json(data, json)
