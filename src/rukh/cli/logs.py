"""Output and log messages of commands, and their shared options ``--verbose`` and ``--quiet``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from rukh.errors import RukhError
from rukh.utils.files import write_json


class StderrHandler(logging.Handler):
    """A handler that writes lines such as ``warning: ...`` to stderr, above progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        from tqdm import tqdm

        tqdm.write(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)


def set_up_logging(level: int = logging.WARNING) -> None:
    """Write rukh's log messages of this level or above to standard error."""
    logger = logging.getLogger("rukh")
    logger.setLevel(level)
    if not any(isinstance(handler, StderrHandler) for handler in logger.handlers):
        logger.addHandler(StderrHandler())


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Print an error of rukh or of the system, without a traceback, and exit with its code."""
    try:
        yield
    except RukhError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        # A full disk, for example. What a command can foresee is an InputError.
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)


def print_status(line: str) -> None:
    """Print a status line to standard error, unless ``--quiet`` was given."""
    if logging.getLogger("rukh").isEnabledFor(logging.WARNING):
        typer.echo(line, err=True)


def print_result(text: str, result: Any, json: Path | None) -> None:
    """Print a result as text, and write it to the file ``json`` if given.

    If ``json`` is ``-``, the JSON goes to standard output and the text to standard error.
    """
    typer.echo(text, err=str(json) == "-")
    if json is not None:
        write_json(result, json)


def _verbose(count: int) -> None:
    if count:
        set_up_logging(logging.INFO if count == 1 else logging.DEBUG)


def _quiet(quiet: bool) -> None:
    if quiet:
        set_up_logging(logging.ERROR)


# These options are processed first (eager), because the callbacks of other options may log.
SHARED: Any = {"is_eager": True, "expose_value": False, "show_default": False}


def _options(
    verbose: Annotated[
        int,
        typer.Option(
            "-v", "--verbose", count=True, callback=_verbose, help="Log more (-vv: most).", **SHARED
        ),
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", callback=_quiet, help="Show only errors.", **SHARED)
    ] = False,
) -> None: ...


def add_logging_options(command: Any) -> Any:
    """Add ``--verbose`` and ``--quiet`` to a command, or to every command of a group."""
    single = typer.Typer(add_completion=False)
    single.command()(_options)
    for one in getattr(command, "commands", {"": command}).values():
        one.params += typer.main.get_command(single).params
    return command
