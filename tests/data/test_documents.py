"""The contract of formats whose file is one JSON document, and the walk through it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rukh.data.documents import Walk
from rukh.data.readers import Source, check, read, scan, write
from rukh.errors import InputError
from rukh.records import Post
from rukh.registry import resolve

ODD = ["Noor", "👩‍🚀", "flew", "to", "القاهرة", "cafe\u0301", "line\u2028end", "'q\"", "\\u", ""]


def instance(**changes: Any) -> dict[str, Any]:
    record = {
        "tokens": ["Ann", "met", "Bob", "Roy"],
        "h": ["Ann", "Q1", [[0]]],
        "t": ["bob roy", "Q2", [[2, 3]]],
    }
    return record | changes


def mention(sentence: int, start: int, end: int, kind: str | None = "PER") -> dict[str, Any]:
    return {"name": "x", "sent_id": sentence, "pos": [start, end], "type": kind}


def document(**changes: Any) -> dict[str, Any]:
    record = {
        "title": "Ann",
        "sents": [["Ann", "met", "Bob", "."], ["She", "left", "."]],
        "vertexSet": [[mention(0, 0, 1)], [mention(0, 2, 3)]],
        "labels": [{"r": "P26", "h": 0, "t": 1, "evidence": [0]}],
    }
    return record | changes


class Case(NamedTuple):
    """A format with good records, and records that it refuses with the field to blame."""

    format: str
    good: dict[str, Any]
    odd: dict[str, Any]
    bad: list[tuple[Any, str]]

    def dump(self, records: list[Any], end: str = "\n") -> str:
        """A document of these records, a record a line from the second line on."""
        rows = f",{end}".join(json.dumps(record) for record in records)
        opening, closing = ('{"P26": [', "]}") if self.format == "fewrel" else ("[", "]")
        return f"{opening}{end}{rows}{end}{closing}{end}"

    def path(self, number: int) -> str:
        return f"P26[{number}]" if self.format == "fewrel" else f"[{number}]"


CASES = [
    Case(
        "fewrel",
        instance(),
        instance(
            tokens=ODD,
            h=["noor", "Q1", [[0, 1], [3]]],
            t=["القاهرة", None, [[4]]],
            extra={"kept": [1, 2.5, None]},
        ),
        [
            ([1], ""),
            (instance(tokens="Ann met Bob"), "tokens"),
            (instance(tokens=["Ann", 3]), "tokens[1]"),
            (instance(h="Ann"), "h"),
            (instance(h=["Ann", [[0]]]), "h"),
            (instance(h=[3, "Q1", [[0]]]), "h[0]"),
            (instance(h=["Ann", 1, [[0]]]), "h[1]"),
            (instance(t=["Bob", "Q2", []]), "t[2]"),
            (instance(t=["Bob", "Q2", [[]]]), "t[2][0]"),
            (instance(t=["Bob", "Q2", [[True]]]), "t[2][0]"),
            (instance(t=["Bob", "Q2", [[4]]]), "t[2][0]"),
            (instance(t=["Bob", "Q2", [[-1]]]), "t[2][0]"),
            (instance(tokens=["Ann", "met", " ", "\n"]), "t[2][0]"),
            (instance(tokens=["Ann", "met", "\ud83d", "Roy"]), "tokens[2]"),
            (instance(tokens=["x" * 100_001, "met", "Bob", "Roy"]), "text"),
        ],
    ),
    Case(
        "redocred",
        document(),
        document(
            title="👩‍🚀",
            sents=[ODD],
            vertexSet=[[mention(0, 4, 5, None)], [mention(0, 0, 2)]],
        ),
        [
            ("Ann", ""),
            (document(title=3), "title"),
            (document(sents="Ann met Bob"), "sents"),
            (document(sents=[["Ann", 3]]), "sents[0][1]"),
            (document(vertexSet={}), "vertexSet"),
            (document(vertexSet=[{}]), "vertexSet[0]"),
            (document(vertexSet=[["Ann"]]), "vertexSet[0][0]"),
            (document(vertexSet=[[mention(2, 0, 1)]]), "vertexSet[0][0].sent_id"),
            (document(vertexSet=[[mention(0, 0, 5)]]), "vertexSet[0][0].pos"),
            (document(vertexSet=[[mention(0, 1, 1)]]), "vertexSet[0][0].pos"),
            (document(vertexSet=[[mention(0, True, 2)]]), "vertexSet[0][0].pos"),
            (document(vertexSet=[[mention(0, 0, 1) | {"type": 3}]]), "vertexSet[0][0].type"),
            (document(labels={}), "labels"),
            (document(labels=["P26"]), "labels[0]"),
            (document(labels=[{"r": "P26", "h": 0, "t": 2}]), "labels[0].t"),
            (document(labels=[{"r": "P26", "h": "0", "t": 1}]), "labels[0].h"),
            (document(labels=[{"r": 26, "h": 0, "t": 1}]), "labels[0].r"),
            (document(labels=[{"r": "P26", "h": 0, "t": 1, "evidence": 0}]), "labels[0].evidence"),
        ],
    ),
]


@pytest.fixture(params=CASES, ids=lambda case: case.format)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_records_are_read_in_their_order_with_their_lines(case: Case, tmp_path: Path) -> None:
    path = put(tmp_path / "in.json", case.dump([case.good, case.odd, case.good]))
    found = list(scan(path, case.format))
    assert [line for line, _ in found] == [2, 3, 4]
    posts = [post for _, post in found if isinstance(post, Post)]
    assert len({post.id for post in posts}) == 3
    assert [post.text for post in posts][1] == " ".join(ODD)
    assert list(read(path, case.format, limit=2)) == posts[:2]


def test_line_ends_and_byte_order_marks_change_nothing(case: Case, tmp_path: Path) -> None:
    path, records = tmp_path / "in.json", [case.good, case.odd]
    want = list(read(put(path, case.dump(records)), case.format))
    for text in (case.dump(records, "\r\n"), case.dump(records, ""), "\ufeff" + case.dump(records)):
        path.write_bytes(text.encode("utf-8"))
        assert list(read(path, case.format)) == want


def test_every_bad_record_is_reported_and_spares_the_others(case: Case, tmp_path: Path) -> None:
    records = [record for bad, _ in case.bad for record in (case.good, bad)]
    path = put(tmp_path / "in.json", case.dump([*records, case.good]))
    problems = list(check(path, case.format))
    places = [case.path(2 * n + 1) for n in range(len(case.bad))]
    want = [f"{p}.{field}".rstrip(".") for p, (_, field) in zip(places, case.bad, strict=True)]
    assert [problem.field for problem in problems] == want
    assert [problem.line for problem in problems] == [2 * n + 3 for n in range(len(case.bad))]
    good = sum(isinstance(result, Post) for _, result in scan(path, case.format))
    assert good == len(case.bad) + 1


def test_strict_json_within_a_record(case: Case, tmp_path: Path) -> None:
    good = json.dumps(case.good)
    for wrong, why in [
        (good[:-1] + ', "x": NaN}', "NaN is not a finite number"),
        (good[:-1] + ', "x": 1e999}', "1e999 is not a finite number"),
        (good[:-1] + ', "x": 1, "x": 2}', "the key 'x' stands twice"),
    ]:
        text = case.dump([case.good, case.good]).replace(good, wrong, 1)
        first, second = [result for _, result in scan(put(tmp_path / "in", text), case.format)]
        assert isinstance(first, InputError) and first.problem == why
        assert first.field == case.path(0) and isinstance(second, Post)


def test_broken_syntax_ends_the_reading_where_it_stands(case: Case, tmp_path: Path) -> None:
    whole = case.dump([case.good, case.good])
    for text, line in [
        (whole.replace("}\n", "\n", 1) if case.format == "redocred" else whole[:-4], None),
        (whole.replace(",\n", "\n", 1), 3),
        (whole + "x", 5),
        ("nothing", 1),
        ("[" * 100_000, None),
    ]:
        results = list(scan(put(tmp_path / "in.json", text), case.format))
        number, error = results[-1]
        assert isinstance(error, InputError) and "JSON" in error.problem, text[:50]
        assert line is None or number == line
        assert all(isinstance(result, Post) for _, result in results[:-1])


def test_an_empty_file_holds_nothing(case: Case, tmp_path: Path) -> None:
    assert not list(scan(put(tmp_path / "in.json", " \n"), case.format))
    assert not list(scan(put(tmp_path / "in.json", case.dump([])), case.format))


def test_files_are_bounded_and_text(case: Case, tmp_path: Path) -> None:
    reader = resolve("readers", case.format)(Source(tmp_path / "in.json"))
    ((_, error),) = reader.read(io.BytesIO(b"[\xff]"))
    assert str(error).startswith("not UTF-8: byte 0xff at 1")
    reader.limit = 100
    ((_, error),) = reader.read(io.BytesIO(case.dump([case.good]).encode()))
    assert str(error).startswith("the file is larger than 100 bytes")


def test_files_that_cannot_be_read(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: cannot read: No such file"):
        next(read(tmp_path / "nowhere", case.format))
    path = put(tmp_path / "in.json", case.dump([case.good, [1]]))
    posts = read(path, case.format)
    next(posts)
    with pytest.raises(InputError, match=r"in\.json:3: (P26)?\[1\]: not a "):
        next(posts)


def test_through_jsonl_nothing_is_lost_of_a_post(case: Case, tmp_path: Path) -> None:
    posts = list(read(put(tmp_path / "in.json", case.dump([case.good, case.odd])), case.format))
    write(posts, tmp_path / "ours.jsonl")
    assert list(read(tmp_path / "ours.jsonl")) == posts


@given(st.recursive(st.none() | st.text() | st.integers(), lambda s: st.lists(s) | st.dictionaries(
    st.text(), s)), st.sampled_from([None, 1, 4]))  # fmt: skip
def test_a_walk_sees_what_json_sees(value: Any, indent: int | None) -> None:
    array = Walk(json.dumps([value, value], indent=indent))
    assert [json.loads(array.value()) for _ in array.elements()] == [value, value]
    members = Walk(json.dumps({"a": value, "b\n": value}, indent=indent))
    assert {key: json.loads(members.value()) for key in members.members()} == {
        "a": value,
        "b\n": value,
    }
    assert array.peek() == members.peek() == ""


@pytest.mark.parametrize("text", ["{", '{"a"}', '{"a": 1,}', "{1: 2}", '{"a": 1, "a": 2}', "[1]"])
def test_a_walk_refuses_what_is_no_object(text: str) -> None:
    walk = Walk(text)
    with pytest.raises(InputError):
        for _ in walk.members():
            walk.value()
