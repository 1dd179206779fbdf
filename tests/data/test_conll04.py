"""CoNLL04: one token a line, with types and relations."""

from __future__ import annotations

from pathlib import Path

from helpers_data import errors_of
from rukh.data.readers import read, scan
from rukh.records import Post

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
    (error,) = errors_of(path, "conll04")
    assert (error.where, error.field) == (f"{path}:12", "number")
    assert [n for n, result in scan(path, "conll04") if isinstance(result, Post)] == [1, 13]


def test_all_of_conll04_is_read(rukh_data: Path) -> None:
    posts = list(read(rukh_data / "conll04" / "dev.txt", "conll04"))
    related = [pair for post in posts for pair in post.pairs or () if pair.relation != "none"]
    assert (len(posts), len(related)) == (243, 353)
