"""CoNLL04: one token a line, with types and relations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rukh.data.readers import check, read, scan, write
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
EMPTY = "#doc 8\n0\tx\tO\t['N']\t[0]\n"


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


def test_blank_lines_and_a_missing_first_line_are_accepted(tmp_path: Path) -> None:
    bare = ANN.removeprefix("#doc 7\n").replace("\n", "\n\n")
    ((line, post),) = scan(put(tmp_path / "in.txt", "\n" + bare), "conll04")
    assert isinstance(post, Post) and (line, post.meta, len(post.entities)) == (2, {}, 4)


def test_a_bad_line_spoils_only_its_sentence(tmp_path: Path) -> None:
    bad = "#doc 1\n0\tx\tO\t['N']\t[0]\n2\tx\tO\t['N']\t[1]\n"
    path = put(tmp_path / "in.txt", ANN + bad + ANN)
    (error,) = check(path, "conll04")
    assert (error.where, error.field) == (f"{path}:12", "number")
    assert [n for n, result in scan(path, "conll04") if isinstance(result, Post)] == [1, 13]


A = TextEntity(id="a", start=0, end=3, type="PER")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"entities": (A.model_copy(update={"type": None}),)}, "entities"),
        ({"entities": (A, A.model_copy(update={"id": "b"}))}, "entities"),
        ({"entities": (A,), "tokens": ()}, "tokens"),
        ({"text": "Ann\tx", "tokens": ((0, 5),)}, "tokens"),
        (
            {
                "entities": (A,),
                "objects": (VisualObject(id="o", box=(0, 0, 1, 1)),),
                "pairs": (Pair(head="a", tail="o", relation="r"),),
            },
            "objects",
        ),
    ],
)
def test_what_it_cannot_hold_is_refused(fields: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write([Post(**{"id": "1", "text": "Ann", **fields})], tmp_path / "out.txt", "conll04")
    assert (caught.value.where, caught.value.field) == ("post 1", field)
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.slow), "dev"])
def test_all_of_conll04_is_read_and_written_again(
    split: str, rukh_data: Path, tmp_path: Path
) -> None:
    source = rukh_data / "conll04" / f"{split}.txt"
    write(read(source, "conll04"), tmp_path / "out.txt", "conll04")
    want = source.read_text("utf-8").split("\n")
    back = (tmp_path / "out.txt").read_text("utf-8").split("\n")
    assert len(back) == len(want)
    # An I- label that starts an entity, of which train has two, is written as B-.
    changed = [(a, b) for a, b in zip(want, back, strict=True) if a != b]
    assert len(changed) == {"train": 2, "dev": 0}[split]
    assert all(a.replace("\tI-", "\tB-") == b for a, b in changed)
