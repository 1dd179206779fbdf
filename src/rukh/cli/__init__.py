"""The command line, ``rukh COMMAND``, with one module per command. It may import everything.

The module of a command, ``rukh.cli.<name>``, is imported only if the command is used, so that
``rukh --help`` is fast and an error in one command does not affect the others.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rukh.cli.logs import add_logging_options, errors_as_lines, set_up_logging

COMMANDS = {
    "extract": "Extract relations from posts.",
    "evaluate": "Measure a model on labelled data.",
    "train": "Train a model from a YAML configuration.",
    "describe": "Draft the descriptions of a schema with a language model.",
    "label": "Label posts with a language model.",
    "caption": "Caption images with a language model.",
    "explain": "Say why each triple is predicted.",
    "graph": "Build a knowledge graph from triples, ask it, and export it.",
    "schema": "Show, check and import schemas.",
    "data": "Check and convert data files.",
    "audit": "Find inputs that reveal the labels.",
    "weights": "List, install and fetch pretrained weights.",
}
"""The help text of each command. The command's module has a function with the command's name or,
for a group of commands, a typer app named ``app``."""

INTERRUPTED, TERMINATED = 130, 143


class LazyGroup(TyperGroup):
    """A command group that imports a command only when it is used."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Find the command and import it."""
        name, placeholder, rest = super().resolve_command(ctx, args)
        return name, placeholder and load(str(name)), rest


def load(name: str) -> Any:
    """Import a command and return the command object for typer, with the shared options added."""
    module = import_module(f"rukh.cli.{name}")
    if hasattr(module, "app"):
        module.app.rich_markup_mode = None
        return add_logging_options(typer.main.get_group(module.app))
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(getattr(module, name))
    return add_logging_options(typer.main.get_command(single))


def _version(show: bool) -> None:
    if show:
        from rukh import __version__

        typer.echo(f"rukh {__version__}")
        raise typer.Exit


# Without rich's frames, help and errors can be piped and appear in half the time.
app = typer.Typer(cls=LazyGroup, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def rukh(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Relation extraction from text and images, by retrieval."""


for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(lambda: None)


def main() -> None:
    """Run the command line.

    Exit codes: 0 success, 1 failure, 2 bad input, 130 interrupted, 143 terminated.
    """
    # Suppress progress bars and warnings of libraries, which would mix with those of rukh.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", module="PIL")
    # Turn the signal into an exception, like Ctrl-C, so that temporary files are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    set_up_logging()
    with errors_as_lines():
        try:
            # app(...) would install its own traceback handler.
            typer.main.get_command(app)(prog_name="rukh")
        except SystemExit as stop:
            _flush_output()
            if stop.code in (INTERRUPTED, TERMINATED):
                advice = "Run the same command again: with --out, it continues where it stopped"
                print(f"Interrupted. {advice}, unless it reads a pipe.", file=sys.stderr)
            raise
        except OSError:
            with suppress(OSError):
                _flush_output()
            raise


def _flush_output() -> None:
    """Flush standard output. It is not an error if the reader (``| head``) has closed the pipe.

    What cannot be written is dropped, so that Python does not try again when it exits.

    Raises:
        OSError: Standard output cannot be written, because the disk is full, for example.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise
