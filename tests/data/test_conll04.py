"""CoNLL04's tokens, a line each, with types and relations."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from rukh.data.conll04 import Conll04Format
from rukh.data.readers import Source, check, read, scan, write
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity, VisualObject

ANN = """\
#doc 7
0\tAnn\tB-Peop\t['N']\t[0]
1\tLee\tI-Peop\t['Live_In', 'Work_For']\t[3, 6]
2\tof\tO\t['N']\t[2]
3\tRome\tB-Loc\t['N']\t[3]
4\tand\tO\t['N']\t[4]
5\t"Acme\tB-Org\t['N']\t[5]
6\tRoma\tI-Org\t['OrgBased_In']\t[3]
7\t2019\tB-Other\t['N']\t[7]
"""
EMPTY = "#doc 8\n0\tline\u2028end\tO\t['N']\t[0]\n"


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8"))
    return path


def test_a_sentence_is_a_post(tmp_path: Path) -> None:
    post, empty = read(put(tmp_path / "dev.txt", ANN + EMPTY), "conll04")
    assert post.id == "dev:1" and post.meta == {"doc": "7"}
    assert post.text == 'Ann Lee of Rome and "Acme Roma 2019'
    assert [(post.surface(e.id), e.type) for e in post.entities] == [
        ("Ann Lee", "PER"),
        ("Rome", "LOC"),
        ('"Acme Roma', "ORG"),
        ("2019", "MISC"),
    ]
    assert [(p.head, p.tail, p.relation) for p in post.pairs or ()] == [
        ("e0", "e1", "Live_In"),
        ("e0", "e2", "Work_For"),
        ("e2", "e1", "OrgBased_In"),
        ("e0", "e3", "none"),
        ("e1", "e3", "none"),
        ("e2", "e3", "none"),
    ]
    assert (empty.id, empty.entities, empty.pairs) == ("dev:10", (), ())


@pytest.mark.parametrize(
    "change", [lambda t: t, lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t]
)
def test_what_is_read_is_written_again(tmp_path: Path, change: object) -> None:
    source = put(tmp_path / "in.txt", change(ANN + EMPTY))  # type: ignore[operator]
    write(read(source, "conll04"), tmp_path / "ours.jsonl")
    write(read(tmp_path / "ours.jsonl"), tmp_path / "out.txt", "conll04")
    assert (tmp_path / "out.txt").read_text("utf-8") == ANN + EMPTY


def test_blank_lines_and_a_missing_opening_do_no_harm(tmp_path: Path) -> None:
    bare = ANN.removeprefix("#doc 7\n").replace("\n", "\n\n")
    ((line, post),) = scan(put(tmp_path / "in.txt", "\n" + bare), "conll04")
    assert isinstance(post, Post) and (line, post.meta, len(post.entities)) == (2, {}, 4)
    assert not list(scan(put(tmp_path / "in.txt", "\n"), "conll04"))


BAD = {
    "0\tAnn\tB-Peop\t['N']": None,
    "0 Ann B-Peop ['N'] [0]": None,
    "1\tAnn\tB-Peop\t['N']\t[0]": "number",
    "0\tAnn\tPeop\t['N']\t[0]": "type",
    "0\tAnn\tB-\t['N']\t[0]": "type",
    "0\tAnn\tB-Peop\t[N]\t[0]": None,
    "0\tAnn\tB-Peop\t{'N': 1}\t[0]": "relations",
    "0\tAnn\tB-Peop\t[1]\t[0]": "relations",
    "0\tAnn\tB-Peop\t['N']\t['0']": "heads",
    "0\tAnn\tB-Peop\t['N']\t[True]": "heads",
    "0\tAnn\tB-Peop\t['N', 'N']\t[0]": "heads",
    "0\tAnn\tB-Peop\t['N']\t[__import__('os').mkdir('made')]": None,
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_told_and_spoils_only_its_sentence(tmp_path: Path, line: str) -> None:
    path = put(tmp_path / "in.txt", f"{ANN}#doc 1\n{line}\n1\tx\tO\t['N']\t[1]\n{ANN}")
    (problem,) = check(path, "conll04")
    assert (problem.line, problem.field) == (11, BAD[line])
    assert [n for n, result in scan(path, "conll04") if isinstance(result, Post)] == [1, 13]


@pytest.mark.parametrize(
    ("relations", "heads"), [("['r']", "[1]"), ("['r']", "[9]"), ("['r']", "[0]")]
)
def test_relations_end_at_entities(tmp_path: Path, relations: str, heads: str) -> None:
    text = f"#doc 1\n0\tAnn\tB-Peop\t{relations}\t{heads}\n1\tx\tO\t['N']\t[1]\n"
    (problem,) = check(put(tmp_path / "in.txt", text), "conll04")
    assert problem.line == 1 and ("no entity ends" in problem.why or "both 'e0'" in problem.why)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    reader = Conll04Format(Source(tmp_path / "in.txt"))
    reader.limit = 50
    stream = io.BytesIO(b"#doc 1\n\xff\n#doc 2\n" + b"x" * 99 + b"\n#doc 3\n0\ta\tO\t['N']\t[0]\n")
    (a, one), (b, two), (c, post) = reader.read(stream)
    assert (a, b, c) == (2, 4, 5) and isinstance(post, Post)
    assert "not UTF-8: byte 0xff at 0" in str(one) and "longer than 50 bytes" in str(two)


def test_reading_streams() -> None:
    stream = io.BytesIO(ANN.encode() * 100)
    next(Conll04Format(Source(Path("in.txt"))).read(stream))
    assert stream.tell() == len((ANN + "#doc 7\n").encode())


def test_what_it_cannot_hold_is_refused(tmp_path: Path) -> None:
    a = TextEntity(id="a", start=0, end=3, type="PER")
    for post, why in [
        (Post(id="1", text="Ann", entities=(a.model_copy(update={"type": None}),)), "entities"),
        (Post(id="1", text="Ann", entities=(a, a.model_copy(update={"id": "b"}))), "entities"),
        (Post(id="1", text="Ann", tokens=(), entities=(a,)), "entities"),
        (Post(id="1", text="Ann\tx", tokens=((0, 5),)), "tokens"),
        (
            Post(
                id="1",
                text="Ann",
                entities=(a,),
                objects=(VisualObject(id="o", box=(0, 0, 1, 1)),),
                pairs=(Pair(head="a", tail="o", relation="r"),),
            ),
            "objects",
        ),
    ]:
        with pytest.raises(InputError, match=f"post 1: {why}"):
            write([post], tmp_path / "out.txt", "conll04")
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("split", ["train", "dev"])
def test_all_of_conll04_comes_back(split: str, rukh_data: Path, tmp_path: Path) -> None:
    source = rukh_data / "conll04" / f"{split}.txt"
    write(read(source, "conll04"), tmp_path / "out.txt", "conll04")
    want = source.read_text("utf-8").split("\n")
    back = (tmp_path / "out.txt").read_text("utf-8").split("\n")
    assert len(back) == len(want)
    # An I- that opens an entity, of which train has two, is written as the B- that it stands for.
    changed = [(a, b) for a, b in zip(want, back, strict=True) if a != b]
    assert len(changed) == {"train": 2, "dev": 0}[split]
    assert all(a.replace("\tI-", "\tB-") == b for a, b in changed)
