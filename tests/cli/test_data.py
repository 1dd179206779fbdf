"""``rukh data``: check, convert, spec."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rukh.data.jsonl import json_schema
from rukh.data.readers import read

GOOD = repr(
    {
        "token": ["Ann", "in", "Rome"],
        "h": {"name": "Ann", "pos": [0, 1]},
        "t": {"name": "Rome", "pos": [2, 3]},
        "img_id": "a.jpg",
        "relation": "lives",
    }
)
PAST = GOOD.replace("[2, 3]", "[2, 4]")


@pytest.fixture
def data(rukh: Callable[..., Any]) -> Callable[..., Any]:
    """Runs ``rukh data``."""
    return lambda *arguments: rukh("data", *arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.txt"
    path.write_text("\n".join([GOOD, PAST, GOOD, "{"]))
    return path


def test_check_reports_every_bad_record(data: Callable[..., Any], file: Path) -> None:
    report = file.with_name("report.json")
    done = data("check", file, "--format", "mnre", "--json", report)
    assert done.code == 2
    first, second, count = done.out.splitlines()
    assert first.startswith(f"{file}:2: t.pos: ") and second.startswith(f"{file}:4: ")
    assert count == f"{file}: 2 good, 2 bad"
    done = data("check", file, "--format", "mnre", "--json", "-")
    assert done.code == 2 and "2 good, 2 bad" in done.err
    assert json.loads(done.out) == (result := json.loads(report.read_text()))
    assert (result["good"], result["bad"]) == (2, 2)
    assert [(p["line"], p["field"]) for p in result["problems"]] == [(2, "t.pos"), (4, None)]
    file.write_text(GOOD)
    assert data("check", file, "--format", "mnre") == (0, f"{file}: 1 good, 0 bad\n", "")


def test_convert_there_and_back(data: Callable[..., Any], file: Path, tmp_path: Path) -> None:
    file.write_text(GOOD + "\n")
    captions = tmp_path / "captions.txt"
    captions.write_text("{'img_id': 'a.jpg', 'text': 'Ann.'}\n")
    ours, back = tmp_path / "ours.jsonl", tmp_path / "back.txt"
    command = ["convert", file, "--format", "mnre", "--out", ours, "--captions", captions]
    done = data(*command, "--images", tmp_path / "images")
    assert done == (0, f"1 posts written to {ours}\n", "")
    (post,) = read(ours)
    assert (post.caption, post.image) == ("Ann.", tmp_path / "images" / "a.jpg")
    assert data("convert", ours, "--out", back, "--to", "mnre").code == 0
    assert back.read_text() == file.read_text()


def test_convert_between_standard_input_and_output(
    data: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    done = data("convert", "-", "--format", "mnre", "--out", "-", "--to", "mnre")
    assert done == (0, GOOD + "\n", "1 posts written to -\n")


def test_convert_warns_of_boxes_in_another_file(data: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "ent_train_dict.json").write_text('{"a.jpg": {"[OBJ0]": [0.5, 0.5, 0.5, 0.5]}}')
    train, out = tmp_path / "train.txt", tmp_path / "out.txt"
    train.write_text(GOOD.replace("'Rome', 'pos': [2, 3]", "'[OBJ0]'"))
    done = data("convert", train, "--format", "more", "--to", "more", "--out", out)
    assert done.code == 0 and done.err.startswith("warning: ") and "ent_out_dict.json" in done.err
    (tmp_path / "ent_train_dict.json").rename(tmp_path / "ent_out_dict.json")
    assert data("check", out, "--format", "more").code == 0


def test_convert_refuses_its_input_as_output_and_bad_records(
    data: Callable[..., Any], file: Path, tmp_path: Path
) -> None:
    before = file.read_bytes()
    link = tmp_path / "link.txt"
    link.symlink_to(file)
    for out in (file, link):
        assert data("convert", file, "--format", "mnre", "--out", out).code == 2
    done = data("convert", file, "--format", "mnre", "--out", tmp_path / "out.jsonl")
    assert done.code == 2 and "train.txt:2: t.pos" in done.err
    assert file.read_bytes() == before
    assert not (tmp_path / "out.jsonl").exists()


def test_a_killed_conversion_leaves_the_old_file(data: Callable[..., Any], tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text((GOOD + "\n") * 100_000)
    out.write_text("old")
    command = [sys.executable, "-c", "from rukh.cli.data import app; app()", "convert"]
    process = subprocess.Popen([*command, source, "--format", "mnre", "--out", out])
    try:
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in tmp_path.glob(".out.jsonl.*.part")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert out.read_text() == "old"
    source.write_text(GOOD + "\n")
    assert data("convert", source, "--format", "mnre", "--out", out).code == 0
    assert len(list(read(out))) == 1


def test_spec_prints_the_json_schema(data: Callable[..., Any]) -> None:
    assert json.loads(data("spec").out) == json_schema()


def test_repeated_ids_and_misspelt_fields_are_reported(
    data: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text('{"id": "1", "text": "a"}\n' * 2)
    done = data("check", path)
    assert done.code == 0 and "warning" in done.err
    path.write_text('{"id": "1", "txt": "a"}\n')
    done = data("check", path, "--json", "-")
    assert done.code == 2 and json.loads(done.out)["problems"][0]["field"] == "txt"
