"""The commands and the Python of README.md, docs/ and the notes of the studies work."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from rukh import cli
from rukh.config import load_config
from rukh.errors import WeightsError
from rukh.hub import model_folder
from rukh.training.relation_task import RelationTrainingConfig
from rukh.training.tagger_task import TaggerConfig

CHECKOUT = Path(__file__).parents[1]
PAGES = [
    CHECKOUT / "README.md",
    *sorted(CHECKOUT.glob("docs/**/*.md")),
    *sorted(CHECKOUT.glob("research/*/README.md")),
]
BLOCK = re.compile(
    r"^(?:<!-- (not run|slow): [^\n]+ -->\n)?```(bash|python)\n(.*?)^```\n(?:\n```\n(.*?)^```)?",
    re.M | re.S,
)


SHORTER = {"configs/own.yaml": ["training.epochs=1"]}
"""Changes to a configuration in the test of all pages; the slow test trains it as it is."""
TOLERANCE = 10.0
"""How far a figure may be from the shown one, as training differs between processors:
three relations of 33, in points of per cent."""


class Block(NamedTuple):
    """A block of code.

    ``mark`` is None, ``not run`` (never), or ``slow`` (only by ``make test-slow``); ``output`` is
    the block without a language that follows it, if any.
    """

    page: str
    number: int
    mark: str | None
    language: str
    body: str
    output: str | None


BLOCKS = [
    Block(page.relative_to(CHECKOUT).as_posix(), number, *match.groups())
    for page in PAGES
    for number, match in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")), 1)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a reader, with what the pages name and an empty ``out/``."""
    for model in ("mnre", "open"):
        try:
            model_folder(model)
        except WeightsError as error:
            pytest.skip(f"not shipped: {error}")
    for name in ("examples", "configs"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rukh(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run ``rukh`` in this process, which saves seconds of imports per command."""
    monkeypatch.setattr(sys, "argv", ["rukh", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code, arguments


@pytest.mark.parametrize("page", list(dict.fromkeys(b.page for b in BLOCKS if not b.mark)))
def test_the_blocks_of_a_page_run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in BLOCKS:
        if block.page == page and not block.mark:
            run_block(block, monkeypatch, SHORTER)
            for name in re.findall(r"\bout/[\w.]+", block.body):
                assert (folder / name).stat().st_size > 0, name


@pytest.mark.slow
def test_the_tutorial_gives_the_shown_figures(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = 0
    for block in BLOCKS:
        if block.page == "docs/tutorials/own-data.md" and block.mark != "not run":
            capsys.readouterr()
            run_block(block, monkeypatch)
            printed = [split_numbers(line) for line in capsys.readouterr().out.splitlines()]
            for line in (block.output or "").splitlines():
                words, numbers = split_numbers(line)
                same = [found for text, found in printed if text == words]
                assert same, (line, printed)
                assert same[0] == pytest.approx(numbers, abs=TOLERANCE), line
                shown += 1
    assert shown > 5


def split_numbers(line: str) -> tuple[list[str], list[float]]:
    """The words of a line, with each number replaced by 0, and the numbers."""
    number = r"\d+(?:\.\d+)?"
    return re.sub(number, "0", line).split(), [*map(float, re.findall(number, line))]


def run_block(
    block: Block, monkeypatch: pytest.MonkeyPatch, changes: Mapping[str, list[str]] | None = None
) -> None:
    """Run a block; ``changes`` are added to commands that name the file of a configuration."""
    if block.language == "bash":
        for part in re.split(r"^(rukh .*\n)", block.body, flags=re.M):
            if part.startswith("rukh "):
                arguments = shlex.split(part, comments=True)[1:]
                for name, changed in (changes or {}).items():
                    arguments += changed if name in arguments else []
                rukh(arguments, monkeypatch)
            elif part.strip():
                subprocess.run(["bash", "-euo", "pipefail", "-c", part], check=True)
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.body, block.page, "exec"), {})
    if block.output is not None and "@@" not in block.output:
        shown, actual = (re.split(r"(\d\.\d+)", o) for o in (block.output, printed.getvalue()))
        assert shown[::2] == actual[::2]
        assert [*map(float, shown[1::2])] == pytest.approx([*map(float, actual[1::2])], abs=0.02)


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.mark], ids=lambda b: f"{b.page}-{b.number}"
)
def test_the_options_of_a_command_are_valid(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are parsed and configurations loaded, but nothing is run."""
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("RUKH_DATA", "somewhere")
    for line in re.findall(r"^(?:rukh|python -m research\.).*", block.body, re.M):
        program, *arguments = shlex.split(line, comments=True)
        if program == "python":
            command = study_command(arguments.pop(1))
            arguments.pop(0)
        else:
            command = cli.load(arguments[0])
            if hasattr(command, "commands"):
                command = command.commands[arguments.pop(1)]
            name = arguments.pop(0)
        options = command.make_context(line, arguments).params
        if program == "rukh" and name == "train" and options["config"] is not None:
            task = TaggerConfig if "tagger" in options["config"].stem else RelationTrainingConfig
            load_config(options["config"], task, options["overrides"] or [])


def study_command(module: str) -> Any:
    """The command of a module or package that ``python -m`` runs."""
    module += ".__main__" * ((CHECKOUT / module.replace(".", "/")).is_dir())
    return typer.main.get_command(import_module(module).app)


def test_every_command_and_study_is_shown() -> None:
    text = "".join(block.body for block in BLOCKS)
    for command in cli.COMMANDS:
        assert f"rukh {command} " in text, command
    for file in CHECKOUT.glob("research/*/__main__.py"):
        assert f"python -m research.{file.parent.name} " in text, file.parent.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_no_placeholder_is_left(page: Path) -> None:
    assert not re.findall(r"@@\w+@@", page.read_text(encoding="utf-8"))
