"""Logging to standard error, and the options ``--verbose`` and ``--quiet`` of every command."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any

import typer


class StderrHandler(logging.Handler):
    """Writes lines such as ``warning: no folder images`` to standard error, above progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        line = f"{record.levelname.lower()}: {record.getMessage()}"
        if tqdm := getattr(sys.modules.get("tqdm"), "tqdm", None):
            tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)


def set_up_logging(level: int = logging.WARNING) -> None:
    """Log what rukh reports, from this level on, to standard error."""
    logger = logging.getLogger("rukh")
    logger.setLevel(level)
    if not any(isinstance(handler, StderrHandler) for handler in logger.handlers):
        logger.addHandler(StderrHandler())


def print_status(line: str) -> None:
    """Print a line about finished work to standard error, unless ``--quiet`` was given."""
    if logging.getLogger("rukh").isEnabledFor(logging.WARNING):
        typer.echo(line, err=True)


def _verbose(count: int) -> None:
    if count:
        set_up_logging(logging.INFO if count == 1 else logging.DEBUG)


def _quiet(quiet: bool) -> None:
    if quiet:
        set_up_logging(logging.ERROR)


def _options(
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            is_eager=True,
            show_default=False,
            callback=_verbose,
            expose_value=False,
            help="Log what is done; -vv logs details.",
        ),
    ] = 0,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            is_eager=True,
            callback=_quiet,
            expose_value=False,
            help="Show only errors.",
        ),
    ] = False,
) -> None: ...


def add_logging_options(command: Any) -> Any:
    """Add ``--verbose`` and ``--quiet`` to a command, or to every command of a group."""
    commands = getattr(command, "commands", None)
    if commands is None:
        single = typer.Typer(add_completion=False)
        single.command()(_options)
        options = typer.main.get_command(single).params
        command.params.extend(options)
        return command
    for one in commands.values():
        add_logging_options(one)
    return command
