"""What the pages tell the reader to type is typed here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from rukh.cli import COMMANDS, load
from rukh.config import load_config
from rukh.errors import WeightsError
from rukh.hub import model_folder
from rukh.training.relation_task import RelationTrainingConfig
from rukh.training.tagger_task import TaggerConfig

CHECKOUT = Path(__file__).parents[1]
PAGES = [
    CHECKOUT / "README.md",
    CHECKOUT / "docs" / "audit.md",
    CHECKOUT / "docs" / "descriptions.md",
    CHECKOUT / "docs" / "mnre.md",
    CHECKOUT / "docs" / "formats.md",
    CHECKOUT / "docs" / "open.md",
    CHECKOUT / "docs" / "probe.md",
    CHECKOUT / "docs" / "robustness.md",
    CHECKOUT / "docs" / "training.md",
]
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(bash|python)\n(.*?)^```", re.M | re.S)


class Block(NamedTuple):
    page: str
    number: int
    run: bool
    language: str
    body: str


BLOCKS = [
    Block(page.name, number, not match[1], match[2], match[3])
    for page in PAGES
    for number, match in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")), 1)
]


@pytest.fixture
def shipped_model() -> Path:
    """The shipped model's folder; a test that needs it is skipped while there is none."""
    try:
        return model_folder("mnre")
    except WeightsError as error:
        pytest.skip(f"no shipped model: {error}")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a reader has it, where ``rukh`` is a command."""
    shutil.copytree(CHECKOUT / "examples", tmp_path / "examples")
    shutil.copytree(CHECKOUT / "configs", tmp_path / "configs")
    (tmp_path / "out").mkdir()
    command = tmp_path / "bin" / "rukh"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom rukh.cli import main\nmain()\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT / "src"))
    return tmp_path


def test_the_pages_have_blocks_of_both_kinds() -> None:
    assert {(b.language, b.run) for b in BLOCKS} == {
        ("bash", True), ("bash", False), ("python", True)
    }  # fmt: skip
    told = "".join(block.body for block in BLOCKS)
    for command in COMMANDS:
        assert f"rukh {command} " in told, command


RUN = [b for b in BLOCKS if b.run]


@pytest.mark.parametrize("block", RUN, ids=lambda b: f"{b.page}-{b.number}")
def test_a_block_runs(block: Block, reader: Path, request: pytest.FixtureRequest) -> None:
    if re.search(r"rukh (extract|evaluate)|from_pretrained", block.body):
        request.getfixturevalue("shipped_model")
    shell = ["bash", "-euo", "pipefail", "-c"]
    start = shell if block.language == "bash" else [sys.executable, "-c"]
    run = subprocess.run(
        [*start, block.body], cwd=reader, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    for name in re.findall(r"\bout/[\w.]+", block.body):
        assert (reader / name).stat().st_size > 0, name


LEFT = [b for b in BLOCKS if not b.run]


@pytest.mark.parametrize("block", LEFT, ids=lambda b: f"{b.page}-{b.number}")
def test_commands_that_are_not_run_would_be_understood(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options are parsed and configurations loaded; what would be done is not."""
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("RUKH_DATA", "somewhere")
    for line in re.findall(r"^rukh (.*?)(?: +#.*)?$", block.body, re.M):
        name, *arguments = line.split()
        command = load(name)
        if name in {"data", "study", "weights"}:
            command = command.commands[arguments.pop(0)]
        given = command.make_context(name, arguments).params
        if name == "train" and given["config"] is not None:  # else it adapts, without a file
            task = RelationTrainingConfig if "tagger" not in given["config"].stem else TaggerConfig
            load_config(given["config"], task, given["overrides"] or [])


def test_no_figure_is_left_to_fill_in(shipped_model: Path) -> None:
    assert "TODO" not in (CHECKOUT / "README.md").read_text(encoding="utf-8")
