"""The command line: ``rukh COMMAND``.

A command's module, ``rukh.cli.<name>``, is imported only when that command is used, so that
``rukh --help`` is quick and a fault in one command spares the others.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rukh.errors import RukhError

COMMANDS = {
    "extract": "Extract relations from posts.",
    "evaluate": "Measure a model on labelled data.",
    "train": "Train a model from a YAML configuration.",
    "audit": "Find inputs that give labels away.",
    "describe": "Draft a schema's descriptions with a language model.",
    "schema": "Import, check and draw schemas of relations.",
    "data": "Check, convert and describe data files.",
    "weights": "List, install and fetch pretrained weights.",
}
"""Every command and its one line of help. Its module holds a function of the command's name or,
for a group of commands, a typer app called ``app``."""

INTERRUPTED, TERMINATED = 130, 143


class LazyGroup(TyperGroup):
    """A group whose commands are placeholders until one is used."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that was asked for, imported now."""
        name, placeholder, rest = super().resolve_command(ctx, args)
        return name, placeholder and load(str(name)), rest


def load(name: str) -> Any:
    """Import a command and turn it into what typer runs."""
    module = import_module(f"rukh.cli.{name}")
    if hasattr(module, "app"):
        module.app.rich_markup_mode = None
        return typer.main.get_group(module.app)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(getattr(module, name))
    return typer.main.get_command(single)


def _version(asked: bool) -> None:
    if asked:
        from rukh import __version__

        typer.echo(f"rukh {__version__}")
        raise typer.Exit


# Plain help and errors: without rich's frames they can be piped, and come in half the time.
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
    """Run the command line. Exits with 0 done, 2 bad input, 1 failure, 130 or 143 stopped."""
    # Libraries' own bars and warnings would stand between the user and ours.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", module="PIL")
    # As by Ctrl-C, what is half-written is cleared away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        # Not app(...), which would put a handler of its own before Python's traceback.
        typer.main.get_command(app)(prog_name="rukh")
    except RukhError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        _close()
        if stop.code == INTERRUPTED:
            print(
                "interrupted: nothing is half-written; the same command goes on where it can",
                file=sys.stderr,
            )
        raise


def _close() -> None:
    """Flush the output here, where a reader that has gone away (``| head``) is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
