"""What every format owes, and the functions that read and write them all."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rukh.data.readers import Problem, Source, check, read_posts, read, scan, write
from rukh.errors import InputError
from rukh.records import Post
from rukh.registry import BUILTIN, resolve

# Emoji with a joiner, right-to-left text, a combining accent, and a separator that str.splitlines
# would take for the end of a line.
ODD = ["Noor", "👩‍🚀", "flew", "to", "القاهرة", "cafe\u0301", "line\u2028end", "'q\"", "\\u"]


class Case(NamedTuple):
    """A format with records that it holds, and lines that it refuses."""

    format: str
    dumps: Callable[[Any], str]
    loads: Callable[[str], Any]
    records: list[dict[str, Any]]
    surfaces: list[tuple[str, str]]
    bad: dict[str, str | None]  # a line, and the field to blame


def pair(token: list[str], h: dict[str, Any], t: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"token": token, "h": h, "t": t, **more}


PLAIN = pair(["Ann", "met", "Bob"], {"name": "Ann", "pos": [0, 1]}, {"name": "Bob", "pos": [2, 3]})
NOOR = {"name": "Noor 👩‍🚀", "pos": [0, 2]}
CAIRO = {"name": "القاهرة", "pos": [4, 5]}
BAD_PAIRS: list[tuple[Any, str | None]] = [
    (["a", "list"], None),
    (PLAIN | {"token": "Ann met Bob"}, "token"),
    (PLAIN | {"token": ["Ann", 3, "Bob"]}, "token[1]"),
    (PLAIN | {"h": "Ann"}, "h"),
    (PLAIN | {"h": {"name": "Ann", "pos": [0, 4]}}, "h.pos"),
    (PLAIN | {"t": {"name": "Bob", "pos": [2, 2]}}, "t.pos"),
    (PLAIN | {"t": {"name": "Bob", "pos": [-1, 3]}}, "t.pos"),
    (PLAIN | {"t": {"name": "Bob", "pos": [True, 3]}}, "t.pos"),
    (PLAIN | {"t": {"name": "Bob", "pos": "2"}}, "t.pos"),
    (PLAIN | {"t": {"name": 7, "pos": [2, 3]}}, "t.name"),
    (PLAIN | {"t": {"name": "Bob", "pos": [2, 3], "type": 5}}, "t.type"),
    (PLAIN | {"token": ["Ann", "met", " \n"]}, "t.pos"),
    (PLAIN | {"relation": 3}, "relation"),
    (PLAIN | {"img_id": "https://host/a.jpg"}, "img_id"),
    (PLAIN | {"img_id": 3}, "img_id"),
    (PLAIN | {"token": ["Ann", "\ud83d", "Bob"]}, "token[1]"),
    (PLAIN | {"token": ["x" * 100_001, "met", "Bob"]}, "text"),
]


def bad_lines(dumps: Callable[[Any], str]) -> dict[str, str | None]:
    return {dumps(value): field for value, field in BAD_PAIRS} | {
        "{": None,
        "[" * 5000: None,
        "-" * 5000 + "1": None,
        "9" * 5000: None,
        dumps(PLAIN)[:-1] + ", " + dumps("h") + ": 1}": None,
    }


MNRE_RECORDS = [
    pair(
        ["Ann", "of", "New", "York"],
        {"name": "Ann", "pos": [0, 1]},
        {"name": "New York", "pos": [2, 4]},
        img_id="a b.jpg",
        relation="/per/loc/place_of_residence",
    ),
    pair(ODD, NOOR, CAIRO, img_id="folder/c.jpg", relation="None", extra={"kept": [1, 2.5, None]}),
    pair(["", "Ann", "\u00a0", ""], {"pos": [0, 2]}, {"name": "x", "pos": [1, 4]}, img_id=None),
]
SURFACES = [("Ann", "New York"), ("Noor 👩‍🚀", "القاهرة"), (" Ann", "Ann \u00a0 ")]
CODE = "__import__('os').mkdir('made')"

CASES = [
    Case(
        "mnre",
        repr,
        ast.literal_eval,
        MNRE_RECORDS,
        SURFACES,
        bad_lines(repr) | {CODE: None, "{'token': " + CODE + "}": None, "{[]: 1}": None},
    ),
    Case(
        "more",
        repr,
        ast.literal_eval,
        [
            MNRE_RECORDS[1],
            PLAIN | {"t": {"name": "[OBJ1]", "pos": ["0.5", "0.5", "0.25", "1.0"]}, "img_id": "a"},
        ],
        [SURFACES[1], ("Ann", "t")],
        bad_lines(repr),
    ),
    Case(
        "opennre",
        lambda record: json.dumps(record),
        json.loads,
        [
            *MNRE_RECORDS,
            pair(
                ODD,
                {"name": "noor", "id": "Q1", "pos": [0, 1], "type": "PER"},
                {"name": "cairo", "id": "Q85", "pos": [4, 5], "type": "UNK"},
                relation="residence",
            ),
            {
                "text": "Ann  met\tBob",
                "h": {"name": "Ann", "pos": [0, 3]},
                "t": {"name": "Bob", "pos": [9, 12], "type": None},
            },
        ],
        [*SURFACES, ("Noor", "القاهرة"), ("Ann", "Bob")],
        bad_lines(json.dumps)
        | {'{"token": NaN}': None, '{"token": 1e999}': None, repr(PLAIN): None},
    ),
    Case(
        "jsonl",
        lambda record: json.dumps(record),
        json.loads,
        [
            {"id": "1", "text": " ".join(ODD), "tokens": [[0, 4]], "image": "c/d.jpg", "pairs": []},
            {
                "id": "2",
                "text": "Ann met Bob",
                "caption": "Two people.",
                "entities": [
                    {"id": "a", "start": 0, "end": 3, "type": "PER", "meta": {"k": [None]}},
                    {"id": "b", "start": 0, "end": 11},
                ],
                "objects": [{"id": "o", "box": [0.0, 0.25, 1.0, 1.0], "label": "a dog"}],
                "pairs": [
                    {"head": "b", "tail": "o", "relation": "r"},
                    {"head": "b", "tail": "a"},
                    {"head": "b", "tail": "a"},
                ],
                "image": {"base64": "AAECAw=="},
                "meta": {"by": "us"},
            },
            {"id": "3", "text": ""},
        ],
        [("Ann met Bob", "a dog")],
        {
            "{": None,
            "[1]": None,
            "[" * 5000: None,
            "9" * 5000: None,
            '{"text": "no id"}': "id",
            '{"id": "1", "id": "2", "text": ""}': None,
            '{"id": "1", "text": "", "meta": {"x": NaN}}': None,
            '{"id": "1", "text": "", "meta": {"x": 1e999}}': None,
            '{"id": "1", "text": "\\ud83d"}': "text",
            '{"id": "1", "text": "", "wrod": 1}': "wrod",
            '{"id": "1", "text": "Ann", "entities": [{"id": "a", "start": 0, "end": 9}]}': None,
            '{"id": "1", "text": "", "objects": [{"id": "o", "box": [0, 0, 2, 1]}]}': "objects[0]",
            '{"id": "1", "text": "", "objects": [{"id": "o", "box": [0, 0, "1", 1]}]}': (
                "objects[0].box[2]"
            ),
            '{"id": "1", "text": "", "image": ""}': "image",
            '{"id": "1", "text": "", "image": "a\\u0000b"}': "image",
            '{"id": "1", "text": "", "image": {"base64": "*"}}': "image",
            '{"id": "1", "text": "", "image": {"base64": "", "x": 1}}': "image",
        },
    ),
]


@pytest.fixture(params=CASES, ids=lambda case: case.format)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def put(path: Path, lines: list[str], end: str = "\n") -> Path:
    path.write_bytes("".join(line + end for line in lines).encode("utf-8"))
    return path


def test_every_format_is_under_the_contract() -> None:
    whole = {"conll04", "fewrel", "redocred"}  # see test_readers_documents.py
    assert {case.format for case in CASES} | whole == set(BUILTIN["readers"])


def test_what_is_read_is_written_again(case: Case, tmp_path: Path) -> None:
    source = put(tmp_path / "in.txt", [case.dumps(record) for record in case.records])
    posts = list(read(source, case.format))
    write(posts, tmp_path / "out.txt", case.format)
    written = (tmp_path / "out.txt").read_text("utf-8").split("\n")
    assert [case.loads(line) for line in written[:-1]] == case.records
    asked = [(post, pair) for post in posts for pair in (post.pairs or ())[:1]]
    assert [(p.surface(one.head), p.surface(one.tail)) for p, one in asked] == case.surfaces


def test_nothing_is_lost_through_jsonl(case: Case, tmp_path: Path) -> None:
    source = put(tmp_path / "in.txt", [case.dumps(record) for record in case.records])
    (tmp_path / "elsewhere").mkdir()
    ours = tmp_path / "elsewhere" / "ours.jsonl"
    write(read(source, case.format), ours)
    assert str(tmp_path) not in ours.read_text("utf-8")
    write(read(ours), tmp_path / "back.txt", case.format)
    back = (tmp_path / "back.txt").read_text("utf-8").split("\n")
    assert [case.loads(line) for line in back[:-1]] == case.records


def test_line_ends_and_byte_order_marks_change_nothing(case: Case, tmp_path: Path) -> None:
    lines = [case.dumps(record) for record in case.records]
    path = tmp_path / "in.txt"
    want = list(read(put(path, lines), case.format))
    assert want
    assert list(read(put(path, lines, "\r\n"), case.format)) == want
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode("utf-8"))
    assert list(read(path, case.format)) == want


def test_blank_lines_are_skipped_and_counted(case: Case, tmp_path: Path) -> None:
    path = put(tmp_path / "in.txt", ["", case.dumps(case.records[0]), "  ", "\t", "{"])
    assert [line for line, _ in scan(path, case.format)] == [2, 5]
    assert not list(scan(put(path, []), case.format))


def test_every_bad_line_is_reported(case: Case, tmp_path: Path) -> None:
    good = case.dumps(case.records[0])
    lines = [line for bad in case.bad for line in (good, bad)]
    path = put(tmp_path / "in.txt", [*lines, good])
    problems = list(check(path, case.format))
    assert [problem.line for problem in problems] == [2 * n for n in range(1, len(case.bad) + 1)]
    for problem, (line, field) in zip(problems, case.bad.items(), strict=True):
        assert problem.field == field, (line[:80], problem)
        assert "0x" not in problem.why
    results = [result for _, result in scan(path, case.format)]
    assert sum(isinstance(result, Post) for result in results) == len(case.bad) + 1


def test_reading_stops_at_the_first_bad_line(case: Case, tmp_path: Path) -> None:
    path = put(tmp_path / "in.txt", [case.dumps(case.records[0]), "{"])
    posts = read(path, case.format)
    assert next(posts).pairs is not None
    with pytest.raises(InputError, match=r"in\.txt:2: "):
        next(posts)
    assert len(list(read(path, case.format, limit=1))) == 1


def test_bytes_that_are_no_text_and_lines_without_end(case: Case, tmp_path: Path) -> None:
    reader = resolve("readers", case.format)(Source(tmp_path / "in.txt"))
    reader.limit = 2000
    good = case.dumps(case.records[0]).encode()
    long = b'"' + b"x" * 5000
    stream = io.BytesIO(b"\n".join([b"\xff\xfe{}", good, long, good, long]))
    found = [(line, str(result)) for line, result in reader.read(stream) if line not in (2, 4)]
    assert [line for line, _ in found] == [1, 3, 5]
    assert "not UTF-8: byte 0xff at 0" in found[0][1]
    assert found[1][1] == found[2][1] == "the line is longer than 2,000 bytes"


def test_reading_streams(case: Case, tmp_path: Path) -> None:
    line = case.dumps(case.records[0]).encode() + b"\n"
    stream = io.BytesIO(line * 100)
    records = resolve("readers", case.format)(Source(tmp_path / "in.txt")).read(stream)
    next(records)
    assert stream.tell() == len(line)


def test_a_long_text_is_read(case: Case, tmp_path: Path) -> None:
    words = ["Ann", *["and"] * 2500, "Bob"]  # about 10,000 characters
    text = " ".join(words)
    record = pair(words, {"name": "Ann", "pos": [0, 1]}, {"name": "Bob", "pos": [2501, 2502]})
    if case.format == "jsonl":
        record = {"id": "1", "text": text}
    (post,) = read(put(tmp_path / "in.txt", [case.dumps(record)]), case.format)
    assert post.text == text
    assert [post.surface(entity.id) for entity in post.entities] in ([], ["Ann", "Bob"])


def test_files_that_cannot_be_read_or_written(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: cannot read: No such file"):
        next(read(tmp_path / "nowhere", case.format))
    with pytest.raises(InputError, match="cannot read: Is a directory"):
        next(read(tmp_path, case.format))
    with pytest.raises(InputError, match="not a regular file"):
        write([], tmp_path, case.format)


def test_a_failed_write_leaves_the_old_file(case: Case, tmp_path: Path) -> None:
    path = put(tmp_path / "in.txt", [case.dumps(case.records[0]), "{"])
    out = tmp_path / "out.txt"
    out.write_text("old")
    with pytest.raises(InputError, match=r"in\.txt:2: "):
        write(read(path, case.format), out, case.format)
    assert out.read_text() == "old"
    assert {p.name for p in tmp_path.iterdir()} == {"in.txt", "out.txt"}


def test_unknown_formats_are_named() -> None:
    with pytest.raises(InputError, match="did you mean 'mnre'"):
        next(read("any", "mnree"))


def test_a_problem_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    path = put(tmp_path / "in.txt", [repr(PLAIN | {"h": {"name": "Ann", "pos": [0, 9]}})])
    assert list(check(path, "mnre")) == [
        Problem(
            line=1,
            field="h.pos",
            why="[0, 9) is no span of 3 tokens",
            fix="the end is exclusive, the start comes before it",
        )
    ]


def test_posts_come_with_their_captions_or_it_is_said(tmp_path: Path) -> None:
    posts = [Post(id=str(i), text=f"Ann {i}", image=tmp_path / f"{i}.jpg") for i in range(2)]
    write(posts, tmp_path / "posts.jsonl")
    captions = tmp_path / "captions.txt"
    captions.write_text("{'img_id': '1.jpg', 'text': 'a dog'}\n")
    told = read_posts(tmp_path / "posts.jsonl", captions=captions)
    assert [post.caption for post in told] == [None, "a dog"]
    captions.write_text("{'img_id': '7.jpg', 'text': 'a dog'}\n")
    with pytest.raises(InputError, match=r"captions.txt: none of its 1 captions is of a picture"):
        read_posts(tmp_path / "posts.jsonl", captions=captions)
    (tmp_path / "empty.jsonl").write_text("")
    assert read_posts(tmp_path / "empty.jsonl", captions=captions) == []
