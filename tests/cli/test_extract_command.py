"""``rukh extract``: what goes where, and what resumes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rukh import cli
from rukh.data.readers import write
from rukh.modeling.model import RelationModel
from rukh.records import Post, Triple
from rukh.utils.resumable_output import ResumableOutput


@pytest.fixture
def run(
    tiny_model: Callable[..., RelationModel],
    posts: list[Post],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., int]:
    """Runs the command over the shared posts and one without arguments; gives the exit code."""
    tiny_model(vision=True).save(tmp_path / "model", "")
    gone = posts[1].model_copy(update={"id": "gone", "image": tmp_path / "gone.png"})
    write([*posts, gone, Post(id="bare", text="no arguments")], tmp_path / "posts.jsonl")

    def run_here(*arguments: object, source: str = "posts.jsonl") -> int:
        command = ["rukh", "extract", tmp_path / source, "--model", tmp_path / "model", *arguments]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    return run_here


def test_lines_to_standard_output_or_a_file(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--threshold", 0) == 0
    said = capsys.readouterr()
    triples = [Triple.model_validate_json(line) for line in said.out.splitlines()]
    assert triples and "ranking" not in said.out
    assert f"7 posts, {len(triples)} relations told" in said.err
    assert "warning: 1 posts have no arguments" in said.err
    assert "warning: pictures that are missing: 1" in said.err and "gone.png" in said.err
    assert run("--threshold", 0, "--out", tmp_path / "out.jsonl") == 0
    assert (tmp_path / "out.jsonl").read_text() == said.out
    assert capsys.readouterr().out == ""


def test_what_may_surprise_is_said(
    run: Callable[..., int],
    tiny_model: Callable[..., RelationModel],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    twice = [Post(id="same", text="Ann", image=tmp_path / "1.jpg")] * 2
    write(twice, tmp_path / "twice.jsonl")
    captions = tmp_path / "blip2.txt"
    for caption_words, source, named, said in (
        (0, None, "1.jpg", "reads no captions"),
        (9, "llavanext", "2.jpg", "blip2.txt is of a picture of these posts"),
        (9, "llavanext", "1.jpg", "was trained with captions by llavanext; if those of blip2.txt"),
        (9, "blip2", "1.jpg", None),
    ):
        model = tiny_model(caption_words=caption_words)
        model.config = model.config.model_copy(update={"captions": source})
        model.save(tmp_path / "model", "")
        captions.write_text(f"{{'img_id': '{named}', 'text': 'a dog'}}\n")
        assert run("--captions", captions, "--images", tmp_path, source="twice.jsonl") == 0
        told = capsys.readouterr().err
        assert "there is no folder" not in told
        assert "warning: 1 of 2 posts repeat the id of another" in told
        assert said in told if said else "llavanext" not in told and "caption" not in told


def test_types_of_another_vocabulary_are_told(
    run: Callable[..., int], posts: list[Post], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entities = [e.model_copy(update={"type": "Wizard"}) for e in posts[0].entities]
    for changed in (2, 3):
        mixed = (*entities[:changed], *posts[0].entities[changed:])
        write([posts[0].model_copy(update={"entities": mixed})], tmp_path / "odd.jsonl")
        schema = tmp_path / "typed.yaml"
        schema.write_text(
            "name: typed\nnota: none\nrelations:\n"
            "  - {name: r, head: [PER], tail: [LOC], descriptions: [one lives in the other]}\n"
        )
        for types, told in (("soft", True), ("off", False)):
            odd = ("--schema", schema, "--types", types, "--threshold", 0)
            assert run(*odd, source="odd.jsonl") == 0
            said = capsys.readouterr()
            assert ("none of schema 'typed' ('Wizard'); it knows LOC, PER." in said.err) == told
            # No relation may stand between Wizards; without types any pair may.
            assert bool(said.out) == (types == "off")
    assert run(source="posts.jsonl") == 0
    assert "most types" not in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_told(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--images", tmp_path / "gone") == 0
    assert f"warning: there is no folder {tmp_path / 'gone'}" in capsys.readouterr().err


def test_rankings_and_the_table(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--threshold", 0, "--top-k", 2) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(len(line["ranking"]) == 2 for line in lines)
    assert run("--threshold", 0, "--table") == 0
    table = capsys.readouterr().out
    assert "words Ann Lee works at Acme of Rome." in table
    assert table.count("because: ") == len(lines) and "picture trusted 0." in table


def test_a_part_of_other_options_is_begun_anew(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = ResumableOutput(tmp_path / "out", {"other": "run"})
    journal.commit(["junk"], 5)
    journal.close()
    assert run("--threshold", 0, "--out", tmp_path / "out") == 0
    assert "junk" not in (tmp_path / "out").read_text()
    capsys.readouterr()


def test_empty_and_bad_input(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert run("--out", tmp_path / "out", source="empty.jsonl") == 0
    assert (tmp_path / "out").read_bytes() == b""
    (tmp_path / "bad.jsonl").write_text('{"id": "1", "text": "x"}\n{"id": 2}\n')
    assert run("--out", tmp_path / "bad", source="bad.jsonl") == 2
    assert "bad.jsonl:2" in capsys.readouterr().err
    assert not (tmp_path / "bad").exists() and not list(tmp_path.glob(".bad*"))
    assert run("--out", tmp_path / "posts.jsonl") == 2
    assert "it is the input" in capsys.readouterr().err
    assert (tmp_path / "posts.jsonl").read_text().count("\n") == 7
    assert run("--out", tmp_path) == 2
    assert "is a folder" in capsys.readouterr().err
