"""What a journal has committed survives, and nothing else does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rukh.errors import InputError
from rukh.modeling.model import RelationModel
from rukh.utils.files import sha256
from rukh.utils.resumable_output import ResumableOutput

RUKH = [sys.executable, "-c", "from rukh.cli import main; main()"]


def test_resumes_behind_the_last_commit(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    first = ResumableOutput(out, {"a": 1})
    first.commit(["one", "zwei ü"], 5)
    first._stream.write(b"half a li")
    first.close()
    assert not out.exists()
    second = ResumableOutput(out, {"a": 1})
    assert second.done == 5
    second.commit([], 9)
    second.commit(["three"], 10)
    second.finish()
    assert out.read_text(encoding="utf-8") == "one\nzwei ü\nthree\n"
    assert list(out.parent.iterdir()) == [out]


def test_another_identity_or_a_torn_note_starts_anew(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for identity, cut in (({"a": 2}, None), ({"a": 1}, 2)):
        journal = ResumableOutput(out, {"a": 1})
        journal.commit(["one"], 1)
        journal.close()
        if cut is not None:
            journal.part.write_bytes(journal.part.read_bytes()[:cut])
        again = ResumableOutput(out, identity)
        assert again.done == 0 and again.part.stat().st_size == 0
        again.close()
        again.part.unlink()


def test_a_finished_file_stays_until_the_next_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("old")
    journal = ResumableOutput(out, {})
    journal.commit(["new"], 1)
    assert out.read_text() == "old"
    journal.finish()
    assert out.read_text() == "new\n"
    journal = ResumableOutput(out, {})
    assert journal.done == 0
    journal.finish()
    assert out.read_text() == ""


def test_a_kill_between_the_last_rename_and_the_note_is_no_harm(tmp_path: Path) -> None:
    journal = ResumableOutput(tmp_path / "out", {})
    journal.commit(["one"], 1)
    note = journal.note.read_text()
    journal.finish()
    journal.note.write_text(note)
    assert ResumableOutput(tmp_path / "out", {}).done == 0


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    journal = ResumableOutput(tmp_path / "out", {})
    journal.commit(["one"], 1)
    with pytest.raises(InputError, match="another run is writing"):
        ResumableOutput(tmp_path / "out", {})
    journal.close()
    assert ResumableOutput(tmp_path / "out", {}).done == 1


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        ResumableOutput(tmp_path, {})
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        ResumableOutput(tmp_path / "file" / "out", {})


def test_extraction_that_was_killed_gives_the_same_bytes(
    tiny_model: Callable[..., RelationModel], tmp_path: Path
) -> None:
    """``kill -9`` in the middle, another run at the same time, then the same command again."""
    tiny_model().save(tmp_path / "model", "")
    with open(tmp_path / "posts.jsonl", "w", encoding="utf-8") as stream:
        for i in range(1500):
            names = ["Ann", "Bob", "Cleo", "Dan"]
            text = f"{names[i % 4]} of post {i} works at Acme" + " in Rome" * (i % 5)
            entities = [
                {"id": "a", "start": 0, "end": len(names[i % 4]), "type": "PER"},
                {"id": "o", "start": text.index("Acme"), "end": text.index("Acme") + 4},
            ]
            stream.write(json.dumps({"id": str(i), "text": text, "entities": entities}) + "\n")

    def command(out: str) -> list[str]:
        return [*RUKH, "extract", str(tmp_path / "posts.jsonl"), "--threshold", "0",
                "--model", str(tmp_path / "model"), "--out", str(tmp_path / out)]  # fmt: skip

    env = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command("whole"), env=env, check=True, capture_output=True)
    note = tmp_path / ".torn.part.json"
    kills = 0
    for mark in (1, 3):
        running = subprocess.Popen(command("torn"), env=env, stderr=subprocess.DEVNULL)
        while running.poll() is None:
            if note.exists() and json.loads(note.read_text())["done"] >= 256 * mark:
                if not kills:
                    with pytest.raises(InputError, match="another run is writing"):
                        ResumableOutput(tmp_path / "torn", {})
                running.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        running.wait()
        assert not (tmp_path / "torn").exists()
    assert kills == 2
    done = subprocess.run(command("torn"), env=env, check=True, capture_output=True, text=True)
    assert "1500 posts" in done.stderr
    assert sha256(tmp_path / "torn") == sha256(tmp_path / "whole")
    assert (tmp_path / "whole").stat().st_size > 10_000
    assert not list(tmp_path.glob(".torn*"))
