"""Reviewing: each answer is in the file before the next is asked for, and nothing else changes."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from rukh.errors import InputError, MissingDependency
from rukh.review import Draft, decide, drafts, printable, review
from rukh.schema import RelationSchema

pytest.importorskip("ruamel.yaml")
TODAY = date(2026, 11, 25)
FILE = """\
# A header that says why.
name: s
nota: none   # beside a key
types: {PER: person, "LOC": location}
relations:
  - name: none

  - name: lives_in
    head: [PER]
    tail: [LOC]
    descriptions:
      - The head lives in the tail, which is written over
        two lines.
      - text: The head dwells in the tail.   # from the model
        status: draft
        author: some-model
        date: '2026-01-02'
      - {text: "Home, sweet home.", status: draft, author: some-model}

  # A comment between relations.
  - name: near
    symmetric: true
    descriptions:
      - text: 'They are near: very.'
        status: draft
"""
COMMENTS = ["# A header", "# beside a key", "# from the model", "# A comment between"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "s.yaml"
    made.write_text(FILE)
    return made


def told(path: Path) -> list[tuple[str, str | None, str | None, date | None]]:
    return [
        (str(text), text.status, text.author, text.date)
        for relation in RelationSchema.load(path).relations
        for text in relation.descriptions
    ]


def run(path: Path, answers: str) -> subprocess.CompletedProcess[str]:
    code = "from rukh.cli import main; main()"
    command = [sys.executable, "-c", code, "schema", "review", str(path), "--author", "Ann"]
    return subprocess.run(command, input=answers, capture_output=True, text=True)


def test_drafts_are_found_in_order(path: Path) -> None:
    found = drafts(RelationSchema.load(path))
    assert [(d.relation.name, d.place) for d in found] == [
        ("lives_in", 1), ("lives_in", 2), ("near", 0)
    ]  # fmt: skip


def test_a_review_from_a_pipe(path: Path) -> None:
    done = run(path, "huh\na\nedit\nWhere  one's heart is: [home] \ns\n")
    assert done.returncode == 0, done.stderr
    assert "1 accepted, 1 edited, 0 dropped, 1 skipped; 1 drafts left" in done.stdout
    today = date.today()
    assert told(path) == [
        ("The head lives in the tail, which is written over two lines.", None, None, None),
        ("The head dwells in the tail.", "verified", "some-model", today),
        ("Where one's heart is: [home]", "verified", "Ann", today),
        ("They are near: very.", "draft", None, None),
    ]
    text = path.read_text()
    assert all(comment in text for comment in COMMENTS)
    # What was skipped is asked for the next time.
    assert "0 drafts left" in run(path, "accept\n").stdout
    assert run(path, "").stdout.startswith("0 accepted")


def test_every_answer_is_saved_at_once(path: Path) -> None:
    states = []

    def ask(prompt: str, start: str) -> str:
        states.append([status for _, status, *_ in told(path)])
        return "a"

    counts = review(path, ask, lambda line: None, author="Ann", today=TODAY)
    assert counts == {"left": 0, "accept": 3}
    draft, good = "draft", "verified"
    assert states == [
        [None, draft, draft, draft],
        [None, good, draft, draft],
        [None, good, good, draft],
    ]


@pytest.mark.parametrize("answers", ["", "q\n", "a\nq\n", "a\ne\n", "nonsense\n"])
def test_quitting_keeps_what_was_answered(path: Path, answers: str) -> None:
    assert run(path, answers).returncode == 0
    assert len(drafts(RelationSchema.load(path))) == (2 if answers.startswith("a") else 3)
    if not answers.startswith("a"):
        assert path.read_text() == FILE


def test_dropping(path: Path) -> None:
    done = run(path, "d\nd\nd\nq\n")
    assert done.returncode == 0
    assert "'near' has no other description; edit this one instead" in done.stdout
    assert [text for text, *_ in told(path)] == [
        "The head lives in the tail, which is written over two lines.",
        "They are near: very.",
    ]
    assert "# A comment between" in path.read_text()


def test_an_empty_edit_changes_nothing_and_asks_again(path: Path) -> None:
    done = run(path, "e\n  \nq\n")
    assert done.returncode == 0 and "1 to 2000 characters, not 0" in done.stdout
    assert path.read_text() == FILE


@pytest.mark.parametrize(
    "text", ["yes", "null", "1.5", "a: b # c", "- x", '"quoted\\"', "é 🎉 \u2028x"]
)
def test_whatever_is_typed_comes_back(path: Path, text: str) -> None:
    draft = drafts(RelationSchema.load(path))[0]
    decide(path, draft, "edit", TODAY, text=text, author="no")
    assert told(path)[1] == (" ".join(text.split()), "verified", "no", TODAY)


def test_another_change_in_between_is_not_overwritten(path: Path) -> None:
    draft = drafts(RelationSchema.load(path))[0]
    path.write_text(FILE.replace("dwells", "stays"))
    with pytest.raises(InputError, match=r"s\.yaml: the draft is no longer there"):
        decide(path, draft, "accept", TODAY)
    assert "stays" in path.read_text() and drafts(RelationSchema.load(path))[0].place == 1


def test_a_file_of_aliases_is_refused_and_left(path: Path) -> None:
    shared = FILE.replace("text: 'They", "&one\n        text: 'They") + (
        "  - name: by\n    descriptions:\n      - *one\n"
    )
    shared = shared.replace("- &one\n", "- &one\n")
    path.write_text(shared)
    draft = next(d for d in drafts(RelationSchema.load(path)) if d.relation.name == "near")
    with pytest.raises(InputError, match="cannot be edited in place"):
        decide(path, draft, "accept", TODAY)
    assert path.read_text() == shared


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    decide(link, drafts(RelationSchema.load(path))[0], "accept", TODAY)
    assert link.is_symlink() and told(path)[1][1] == "verified"


def test_what_a_machine_wrote_cannot_steer_a_terminal(path: Path) -> None:
    path.write_text(FILE.replace('"Home, sweet home."', '"Home \\e[31m red"'))
    done = run(path, "s\ns\ns\n")
    assert "\x1b" not in done.stdout and "\\x1b[31m red" in done.stdout
    assert printable("naïve 🎉") == "naïve 🎉"


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    done = run(tmp_path / "gone.yaml", "")
    assert done.returncode == 2 and "gone.yaml" in done.stderr


def test_without_ruamel_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    draft: Draft = drafts(RelationSchema.load(path))[0]
    with pytest.raises(MissingDependency, match=r"rukh\[describe\]"):
        decide(path, draft, "accept", TODAY)
