"""``rukh data``: check, convert, spec."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rukh.cli.data import app
from rukh.data.jsonl import json_schema
from rukh.data.readers import read
from rukh.errors import InputError

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


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.txt"
    path.write_text("\n".join([GOOD, PAST, GOOD, "{"]))
    return path


def test_check_prints_every_problem(file: Path) -> None:
    code, out, _ = run("check", file, "--format", "mnre")
    assert code == 2
    first, second, count = out.splitlines()
    assert first.startswith(f"{file}:2: t.pos: [2, 4) is no span of 3 tokens; ")
    assert second.startswith(f"{file}:4: not a Python literal: ")
    assert count == f"{file}: 2 good, 2 bad"


def test_check_of_a_good_file(file: Path) -> None:
    file.write_text(GOOD)
    assert run("check", file, "--format", "mnre") == (0, f"{file}: 1 good, 0 bad\n", "")


def test_check_writes_json(file: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code, _, _ = run("check", file, "--format", "mnre", "--json", report)
    code_again, out, err = run("check", file, "--format", "mnre", "--json", "-")
    assert code == code_again == 2
    assert json.loads(out) == (found := json.loads(report.read_text()))
    assert (found["good"], found["bad"]) == (2, 2)
    assert [(p["line"], p["field"]) for p in found["problems"]] == [(2, "t.pos"), (4, None)]
    assert "2 good, 2 bad" in err


def test_convert_there_and_back(file: Path, tmp_path: Path) -> None:
    file.write_text(GOOD + "\n")
    captions = tmp_path / "captions.txt"
    captions.write_text("{'img_id': 'a.jpg', 'text': 'Ann.'}\n")
    ours, back = tmp_path / "ours.jsonl", tmp_path / "back.txt"
    command = ["convert", file, "--format", "mnre", "--out", ours, "--captions", captions]
    code, out, _ = run(*command, "--images", tmp_path / "pictures")
    assert (code, out) == (0, f"1 posts written to {ours}\n")
    (post,) = read(ours)
    assert (post.caption, post.image) == ("Ann.", tmp_path / "pictures" / "a.jpg")
    assert run("convert", ours, "--out", back, "--to", "mnre")[0] == 0
    assert back.read_text() == file.read_text()


def test_convert_tells_of_boxes_that_stand_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "ent_train_dict.json").write_text('{"a.jpg": {"[OBJ0]": [0.5, 0.5, 0.5, 0.5]}}')
    train, out = tmp_path / "train.txt", tmp_path / "out.txt"
    train.write_text(GOOD.replace("'Rome', 'pos': [2, 3]", "'[OBJ0]'"))
    code, told, warned = run("convert", train, "--format", "more", "--to", "more", "--out", out)
    assert code == 0 and "1 posts written" in told
    assert "the boxes of 1 objects are not in" in warned and "ent_out_dict.json" in warned
    (tmp_path / "ent_train_dict.json").rename(tmp_path / "ent_out_dict.json")
    assert run("check", out, "--format", "more")[0] == 0


def test_convert_refuses_its_own_input_and_bad_lines(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    link = tmp_path / "link.txt"
    link.symlink_to(file)
    for out in (file, link):
        with pytest.raises(InputError, match="it is the input"):
            run("convert", file, "--format", "mnre", "--out", out)
    with pytest.raises(InputError, match=r"train\.txt:2: t\.pos"):
        run("convert", file, "--format", "mnre", "--out", tmp_path / "out.jsonl")
    assert file.read_bytes() == before
    assert not (tmp_path / "out.jsonl").exists()


def test_spec_prints_the_json_schema() -> None:
    code, out, _ = run("spec")
    assert code == 0
    assert json.loads(out) == json_schema()


def test_power_cut_during_convert(tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text((GOOD + "\n") * 100_000)
    out.write_text("old")
    command = [sys.executable, "-c", "from rukh.cli.data import app; app()", "convert"]
    process = subprocess.Popen([*command, source, "--format", "mnre", "--out", out])
    try:
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in tmp_path.glob(".out.jsonl.*.part")):
            assert process.poll() is None and time.monotonic() < deadline, "never began to write"
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert out.read_text() == "old"
    source.write_text(GOOD + "\n")
    assert run("convert", source, "--format", "mnre", "--out", out)[0] == 0
    assert len(list(read(out))) == 1


def test_features_are_encoded_once(
    tmp_path: Path, tiny_vision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    names = ("a.png", "b.png", "same.png", "gone.png", "bad.png", "empty.png")
    for name in names[:3]:
        Image.new("RGB", (20, 10), "red" if name != "b.png" else "blue").save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"junk")
    (tmp_path / "empty.png").write_bytes(b"")
    lines = [json.dumps({"id": str(i), "text": "x", "image": n}) for i, n in enumerate(names * 2)]
    (tmp_path / "posts.jsonl").write_text("\n".join([*lines, '{"id": "z", "text": "y"}']))
    arguments = ("features", "--data", tmp_path / "posts.jsonl", "--vision", tiny_vision)
    code, out, err = run(*arguments, "--batch-size", 2)
    assert code == 0
    assert "6 pictures: 2 encoded now, 1 not there, 2 broken" in out
    assert "bad.png: not a picture" in err and "empty.png: picture is empty" in err
    code, out, _ = run(*arguments, "--json", "-")
    told = json.loads(out)
    assert (told["computed"], told["missing"], len(told["broken"])) == (0, 1, 2)
    assert len(list(Path(told["folder"]).rglob("*.safetensors"))) == 2
