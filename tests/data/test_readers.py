"""The contract of all formats, and the functions that read and write them."""

from __future__ import annotations

import ast
import gzip
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from helpers_data import errors_of
from rukh.data.format import Source
from rukh.data.readers import is_directed, read, read_posts, scan, write
from rukh.errors import InputError
from rukh.records import Post
from rukh.registry import BUILTIN, resolve

# Emoji with a joiner, right-to-left text, a combining accent, and a separator that str.splitlines
# would take for the end of a line.
ODD = ["Noor", "👩‍🚀", "flew", "to", "القاهرة", "cafe\u0301", "line\u2028end", "'q\"", "\\u", ""]


class Raw(str):
    """A line that is written as it is."""


class Case(NamedTuple):
    """A format with good records, and bad ones with the field that is at fault."""

    format: str
    dump: Callable[[Sequence[Any]], str]
    load: Callable[[str], list[Any]] | None  # None: the format can only be read
    records: list[Any]
    surfaces: list[tuple[str, str] | None]  # head and tail of each record's first pair
    bad: list[tuple[Any, str | None]]

    def write(self, path: Path, records: Sequence[Any]) -> Path:
        path.write_bytes(self.dump(records).encode("utf-8"))
        return path


def line_case(
    format: str,
    dumps: Callable[[Any], str],
    loads: Callable[[str], Any],
    records: list[dict[str, Any]],
    surfaces: list[tuple[str, str] | None],
    bad: list[tuple[Any, str | None]],
) -> Case:
    def dump(records: Sequence[Any]) -> str:
        return "".join((r if isinstance(r, Raw) else dumps(r)) + "\n" for r in records)

    def load(text: str) -> list[Any]:
        return [loads(line) for line in text.split("\n")[:-1]]

    return Case(format, dump, load, records, surfaces, [*bad, (Raw("{"), None)])


def pair(token: list[str], h: dict[str, Any], t: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"token": token, "h": h, "t": t, **more}


PLAIN = pair(["Ann", "met", "Bob"], {"name": "Ann", "pos": [0, 1]}, {"name": "Bob", "pos": [2, 3]})
PAIRS = [
    pair(
        ["Ann", "of", "New", "York"],
        {"name": "Ann", "pos": [0, 1]},
        {"name": "New York", "pos": [2, 4]},
        img_id="a b.jpg",
        relation="/per/loc/place_of_residence",
    ),
    pair(
        ODD,
        {"name": "Noor 👩‍🚀", "pos": [0, 2]},
        {"name": "القاهرة", "pos": [4, 5]},
        img_id="folder/c.jpg",
        relation="None",
        extra={"kept": [1, 2.5, None]},
    ),
    pair(["", "Ann", "\u00a0", ""], {"pos": [0, 2]}, {"name": "x", "pos": [1, 4]}, img_id=None),
]
SURFACES: list[tuple[str, str] | None] = [
    ("Ann", "New York"),
    ("Noor 👩‍🚀", "القاهرة"),
    (" Ann", "Ann \u00a0 "),
]
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
    (PLAIN | {"token": ["x" * 100_001, "met", "Bob"]}, "text"),
]


def instance(**changes: Any) -> dict[str, Any]:
    record = {
        "tokens": ["Ann", "met", "Bob", "Roy"],
        "h": ["Ann", "Q1", [[0]]],
        "t": ["bob roy", "Q2", [[2, 3]]],
    }
    return record | changes


def mention(sentence: int, start: int, end: int, kind: Any = "PER") -> dict[str, Any]:
    return {"name": "x", "sent_id": sentence, "pos": [start, end], "type": kind}


def document(**changes: Any) -> dict[str, Any]:
    record = {
        "title": "Ann",
        "sents": [["Ann", "met", "Bob", "."], ["She", "left", "."]],
        "vertexSet": [[mention(0, 0, 1)], [mention(0, 2, 3)]],
        "labels": [{"r": "P26", "h": 0, "t": 1, "evidence": [0]}],
    }
    return record | changes


def post(**changes: Any) -> dict[str, Any]:
    return {"id": "1", "text": "Ann met Bob", **changes}


CASES = [
    line_case("mnre", repr, ast.literal_eval, PAIRS, SURFACES, BAD_PAIRS),
    line_case(
        "more",
        repr,
        ast.literal_eval,
        [
            PAIRS[1],
            PLAIN | {"t": {"name": "[OBJ1]", "pos": ["0.5", "0.5", "0.25", "1.0"]}, "img_id": "a"},
        ],
        [SURFACES[1], ("Ann", "t")],
        BAD_PAIRS,
    ),
    line_case(
        "opennre",
        json.dumps,
        json.loads,
        [
            *PAIRS,
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
        BAD_PAIRS,
    ),
    line_case(
        "jsonl",
        json.dumps,
        json.loads,
        [
            {
                "id": "2",
                "text": "Ann met Bob",
                "caption": "Two people.",
                "entities": [
                    {"id": "a", "start": 0, "end": 3, "type": "PER", "meta": {"k": [None]}},
                    {"id": "whole", "start": 0, "end": 11},
                ],
                "objects": [{"id": "o", "box": [0, 0.25, 1, 1], "label": "a dog"}],
                "pairs": [{"head": "whole", "tail": "o"}, {"head": "a", "tail": "o"}],
                "meta": {"by": "us"},
            },
            {"id": "1", "text": " ".join(ODD), "tokens": [[0, 4]], "image": "c/d.jpg", "pairs": []},
            {"id": "3", "text": ""},
        ],
        [("Ann met Bob", "a dog"), None, None],
        [
            ([1], None),
            ({"text": "no id"}, "id"),
            (post(entites=[]), "entites"),
            (post(entities=[{"id": "a", "start": 0, "end": 99}]), None),
            (post(objects=[{"id": "o", "box": [0, 0, 2, 1]}]), "objects[0]"),
            (post(objects=[{"id": "o", "box": [0, 0, "1", 1]}]), "objects[0].box[2]"),
            (post(image=""), "image"),
            (post(image="a\0b"), "image"),
            (post(image={"base64": "*"}), "image"),
            (post(image={"base64": "", "x": 1}), "image"),
            (Raw('{"id": "1", "id": "2", "text": ""}'), None),
            (Raw('{"id": "1", "text": "", "meta": {"x": NaN}}'), None),
            (Raw('{"id": "1", "text": "\\ud83d"}'), None),
        ],
    ),
    Case(
        "fewrel",
        lambda records: json.dumps({"P26": records}, indent=1),
        None,
        [
            instance(),
            instance(
                tokens=ODD,
                h=["noor", "Q1", [[0, 1], [3]]],
                t=["القاهرة", None, [[4]]],
                extra={"kept": [1, 2.5, None]},
            ),
        ],
        [("Ann", "Bob Roy"), ("Noor 👩‍🚀", "القاهرة")],
        [
            ([1], "P26[0]"),
            (instance(tokens="Ann met Bob"), "P26[1].tokens"),
            (instance(tokens=["Ann", 3]), "P26[2].tokens[1]"),
            (instance(h="Ann"), "P26[3].h"),
            (instance(h=["Ann", [[0]]]), "P26[4].h"),
            (instance(h=[3, "Q1", [[0]]]), "P26[5].h[0]"),
            (instance(h=["Ann", 1, [[0]]]), "P26[6].h[1]"),
            (instance(t=["Bob", "Q2", []]), "P26[7].t[2]"),
            (instance(t=["Bob", "Q2", [[]]]), "P26[8].t[2][0]"),
            (instance(t=["Bob", "Q2", [[True]]]), "P26[9].t[2][0]"),
            (instance(t=["Bob", "Q2", [[4]]]), "P26[10].t[2][0]"),
            (instance(t=["Bob", "Q2", [[-1]]]), "P26[11].t[2][0]"),
            (instance(tokens=["Ann", "met", " ", "\n"]), "P26[12].t[2][0]"),
            (instance(tokens=["x" * 100_001, "met", "Bob", "Roy"]), "P26[13].text"),
        ],
    ),
    Case(
        "redocred",
        lambda records: json.dumps(records, indent=1),
        None,
        [
            document(),
            document(
                title="👩‍🚀", sents=[ODD], vertexSet=[[mention(0, 4, 5, None)], [mention(0, 0, 2)]]
            ),
        ],
        [("Ann", "Bob"), ("القاهرة", "Noor 👩‍🚀")],
        [
            ("Ann", "[0]"),
            (document(title=3), "[1].title"),
            (document(sents="Ann met Bob"), "[2].sents"),
            (document(sents=[["Ann", 3]]), "[3].sents[0][1]"),
            (document(vertexSet={}), "[4].vertexSet"),
            (document(vertexSet=[{}]), "[5].vertexSet[0]"),
            (document(vertexSet=[["Ann"]]), "[6].vertexSet[0][0]"),
            (document(vertexSet=[[mention(2, 0, 1)]]), "[7].vertexSet[0][0].sent_id"),
            (document(vertexSet=[[mention(0, 0, 5)]]), "[8].vertexSet[0][0].pos"),
            (document(vertexSet=[[mention(0, 1, 1)]]), "[9].vertexSet[0][0].pos"),
            (document(vertexSet=[[mention(0, 0, 1, 3)]]), "[10].vertexSet[0][0].type"),
            (document(labels={}), "[11].labels"),
            (document(labels=["P26"]), "[12].labels[0]"),
            (document(labels=[{"r": "P26", "h": 0, "t": 2}]), "[13].labels[0].t"),
            (document(labels=[{"r": "P26", "h": "0", "t": 1}]), "[14].labels[0].h"),
            (document(labels=[{"r": 26, "h": 0, "t": 1}]), "[15].labels[0].r"),
            (
                document(labels=[{"r": "r", "h": 0, "t": 1, "evidence": 0}]),
                "[16].labels[0].evidence",
            ),
        ],
    ),
    Case(
        "conll04",
        "".join,
        None,
        [
            "#doc 7\n0\tAnn\tB-Peop\t['N']\t[0]\n1\tLee\tI-Peop\t['Live_In', 'Work_For']\t[3, 5]\n"
            "2\tof\tO\t['N']\t[2]\n3\tRome\tB-Loc\t['N']\t[3]\n4\t\"Acme\tB-Org\t['N']\t[4]\n"
            "5\tRoma\tI-Org\t['N']\t[5]\n",
            "#doc 8\n0\tline\u2028end\tB-Other\t['N']\t[0]\n1\tZoë👩‍🚀\tB-Loc\t['N']\t[1]\n",
        ],
        [("Ann Lee", "Rome"), ("line\u2028end", "Zoë👩‍🚀")],
        [
            (f"#doc 1\n{line}\n1\tx\tO\t['N']\t[1]\n", field)
            for line, field in [
                ("0\tAnn\tB-Peop\t['N']", None),
                ("0 Ann B-Peop ['N'] [0]", None),
                ("1\tAnn\tB-Peop\t['N']\t[0]", "number"),
                ("0\tAnn\tPeop\t['N']\t[0]", "type"),
                ("0\tAnn\tB-\t['N']\t[0]", "type"),
                ("0\tAnn\tB-Peop\t[N]\t[0]", None),
                ("0\tAnn\tB-Peop\t{'N': 1}\t[0]", "relations"),
                ("0\tAnn\tB-Peop\t[1]\t[0]", "relations"),
                ("0\tAnn\tB-Peop\t['N']\t['0']", "heads"),
                ("0\tAnn\tB-Peop\t['N']\t[True]", "heads"),
                ("0\tAnn\tB-Peop\t['N', 'N']\t[0]", "heads"),
                ("0\tAnn\tB-Peop\t['r']\t[1]", None),
                ("0\tAnn\tB-Peop\t['r']\t[9]", None),
                ("0\tAnn\tB-Peop\t['r']\t[0]", None),
            ]
        ],
    ),
]
DOCUMENTS = {"fewrel", "redocred"}


@pytest.fixture(params=CASES, ids=lambda case: case.format)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def test_every_format_is_under_the_contract() -> None:
    tables = {"csv", "parquet"}  # see test_tables.py
    assert {case.format for case in CASES} | tables == set(BUILTIN["readers"])
    assert {c.format for c in CASES if is_directed(c.format)} == {"fewrel", "opennre"}


def test_records_are_read_in_order_and_written_again(case: Case, tmp_path: Path) -> None:
    source = case.write(tmp_path / "in.txt", case.records)
    posts = list(read(source, case.format))
    pairs = [(post, post.pairs[0] if post.pairs else None) for post in posts]
    surfaces = [p and (post.surface(p.head), post.surface(p.tail)) for post, p in pairs]
    assert surfaces == case.surfaces and len({post.id for post in posts}) == len(posts)
    if case.load is None:
        with pytest.raises(InputError, match=case.format):
            write(posts, tmp_path / "out.txt", case.format)
    else:
        write(posts, tmp_path / "out.txt", case.format)
        assert case.load((tmp_path / "out.txt").read_bytes().decode()) == case.records


def test_nothing_is_lost_through_jsonl(case: Case, tmp_path: Path) -> None:
    posts = list(read(case.write(tmp_path / "in.txt", case.records), case.format))
    (tmp_path / "elsewhere").mkdir()
    ours = tmp_path / "elsewhere" / "ours.jsonl"
    write(posts, ours)
    assert str(tmp_path) not in ours.read_text("utf-8")
    back = list(read(ours))
    resolved = [p.image.resolve() for p in back if isinstance(p.image, Path)]
    assert resolved == [p.image for p in posts if p.image is not None]
    assert [p.model_copy(update={"image": None}) for p in back] == [
        p.model_copy(update={"image": None}) for p in posts
    ]


def test_line_ends_blank_lines_and_byte_order_marks_change_nothing(
    case: Case, tmp_path: Path
) -> None:
    path = case.write(tmp_path / "in.txt", case.records)
    want = list(read(path, case.format))
    text = case.dump(case.records)
    path.write_bytes(("\ufeff" + text.replace("\n", "\r\n") + " \t\n").encode("utf-8"))
    assert list(read(path, case.format)) == want
    path.write_text(" \n")
    assert not list(scan(path, case.format))


def test_every_bad_record_is_reported_and_spares_the_others(case: Case, tmp_path: Path) -> None:
    bad = [record for record, _ in case.bad]
    path = case.write(tmp_path / "in.txt", [*bad, case.records[0]])
    results = list(scan(path, case.format))
    errors = errors_of(path, case.format)
    assert [error.field for error in errors] == [field for _, field in case.bad]
    assert len(results) == len(bad) + 1 and isinstance(results[-1][1], Post)
    numbers = [number for number, _ in results]
    if case.format == "conll04":
        assert numbers[:3] == [2, 5, 8] and numbers[-1] == 3 * len(bad) + 1
    else:
        assert numbers == list(range(1, len(bad) + 2))
    where = [str(path) if case.format in DOCUMENTS else f"{path}:{n}" for n in numbers[:-1]]
    assert [error.where for error in errors] == where


def test_reading_stops_at_the_first_bad_record(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path / "in.txt", [case.records[0], case.bad[0][0]])
    posts = read(path, case.format)
    next(posts)
    with pytest.raises(InputError, match=r"in\.txt:"):
        next(posts)
    assert len(list(read(path, case.format, limit=1))) == 1
    if case.load is not None:
        out = tmp_path / "out.txt"
        out.write_text("old")
        with pytest.raises(InputError, match=r"in\.txt:"):
            write(read(path, case.format), out, case.format)
        assert out.read_text() == "old"
        assert {p.name for p in tmp_path.iterdir()} == {"in.txt", "out.txt"}


@pytest.mark.parametrize("format", sorted(DOCUMENTS))
@pytest.mark.parametrize(
    "text",
    ["[", "nothing", '[{"a": 1, "a": 2}]', "[NaN]", r'["\ud83d"]', "[" * 100_000, "[] x", '"x"'],
)
def test_invalid_documents_have_one_error(format: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text(text)
    ((number, error),) = scan(path, format)
    assert isinstance(error, InputError) and (number, error.where) == (1, str(path))


def test_bytes_that_are_not_text_and_input_without_end(case: Case, tmp_path: Path) -> None:
    def results(data: bytes, limit: int = 2000) -> list[tuple[int, str]]:
        reader = resolve("readers", case.format)(Source(tmp_path / "in.txt"))
        reader.limit = limit
        return [(number, str(result)) for number, result in reader.read(io.BytesIO(data))]

    good, long = case.dump(case.records[:1]).encode(), b"#doc" + b"x" * 5000 + b"\n"
    if case.format in DOCUMENTS:
        ((_, error),) = results(b"[\xff]")
        assert "not UTF-8: byte 0xff at 1" in error
        ((_, error),) = results(good, limit=100)
        assert "larger than 100 bytes" in error
    elif case.format == "conll04":
        start = b"#doc 1\n"
        (first, _), (second, _), _ = results(start + b"\xff\n" + start + long + good)
        assert (first, second) == (2, 4)
    else:
        found = results(b"\xff\xfe{}\n" + good + long + good + long.strip())
        assert [number for number, _ in found] == [1, 2, 3, 4, 5]
        assert "not UTF-8: byte 0xff at 0" in found[0][1]
        assert found[2][1] == found[4][1] == "the line is longer than 2,000 bytes"


@pytest.mark.parametrize("case", [c for c in CASES if c.format not in DOCUMENTS])
def test_lines_are_read_as_they_are_needed(case: Case, tmp_path: Path) -> None:
    block = case.dump(case.records[:1]).encode()
    stream = io.BytesIO(block * 100)
    next(resolve("readers", case.format)(Source(tmp_path / "in.txt")).read(stream))
    assert stream.tell() <= len(block) + len("#doc 7\n")


def test_files_that_cannot_be_read_or_written(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: cannot read"):
        next(read(tmp_path / "nowhere", case.format))
    with pytest.raises(InputError, match="cannot read"):
        next(read(tmp_path, case.format))
    with pytest.raises(InputError, match="not a regular file"):
        write([], tmp_path, case.format)


def test_compressed_files_have_the_same_posts(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path / "in.txt", case.records)
    packed = tmp_path / "in.txt.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read(packed, case.format)) == list(read(path, case.format))
    for data in (path.read_bytes(), packed.read_bytes()[:-9]):
        packed.write_bytes(data)
        with pytest.raises(InputError, match=r"in\.txt\.gz: not a complete gzip file"):
            list(read(packed, case.format))
    if case.load is not None:
        write(read(path, case.format), packed, case.format)
        assert list(read(packed, case.format)) == list(read(path, case.format))


def test_standard_input_and_output(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    path = case.write(tmp_path / "-.txt", case.records)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    posts = list(read("-", case.format))
    assert posts == list(read("-.txt", case.format))
    if case.load is not None:
        write(posts, "-", case.format)
        write(posts, path, case.format)
        assert capfdbinary.readouterr().out == path.read_bytes()


def test_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="closed"):
        next(read("-"))


def test_unknown_formats_get_a_suggestion() -> None:
    with pytest.raises(InputError, match="'mnre'"):
        next(read("any", "mnree"))


def test_posts_are_read_with_their_captions(tmp_path: Path) -> None:
    posts = [Post(id=str(i), text=f"Ann {i}", image=tmp_path / f"{i}.jpg") for i in range(2)]
    path, captions = tmp_path / "posts.jsonl", tmp_path / "captions.txt"
    write(posts, path)
    captions.write_text("{'img_id': '1.jpg', 'text': 'a dog'}\n")
    assert [post.caption for post in read_posts(path, captions=captions)] == [None, "a dog"]
    captions.write_text("{'img_id': '7.jpg', 'text': 'a dog'}\n")
    with pytest.raises(InputError) as caught:
        read_posts(path, captions=captions)
    assert caught.value.where == str(captions) and caught.value.fix
    path.write_text("")
    assert read_posts(path, captions=captions) == []
