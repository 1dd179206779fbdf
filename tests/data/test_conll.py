"""Tagged sentences in two columns."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from rukh.data.conll import read_tagged, tagged_text
from rukh.errors import InputError


def test_sentences(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(
        "IMGID:1\nAnn\tB-per\nLee\tI-per\r\nat\tO\n\n\nIMGID:2\nx\ty\tB-X\nz\tB-X\n\u2028\tO\n"
        "BROTHER\tB-BROTHER".encode()
    )
    first, second = read_tagged(file, str.upper)
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert list(read_tagged(packed, str.upper)) == [first, second]
    assert first[0] == "Ann Lee at"
    assert [(e.id, e.start, e.end, e.type) for e in first[1]] == [("e0", 0, 7, "PER")]
    # A token may contain a tab; one of white space only becomes a replacement character.
    assert second[0] == "x\ty z \ufffd BROTHER"
    assert [e.type for e in second[1]] == ["X", "X", "BROTHER"]


def test_an_inside_label_may_start_an_entity() -> None:
    words = ["Ann", "Lee", "Bob", "in", "New", "York", "x"]
    labels = ["B-PER", "I-PER", "B-PER", "O", "I-LOC", "I-LOC", "I-PER"]
    text, entities = tagged_text(words, labels)
    assert [(text[e.start : e.end], e.type) for e in entities] == [
        ("Ann Lee", "PER"),
        ("Bob", "PER"),
        ("New York", "LOC"),
        ("x", "PER"),
    ]


@pytest.mark.parametrize("bad", ["Ann", "Ann B-PER", "Ann\tPER", "Ann\tB-", "Ann\tI-", "Ann\t"])
def test_a_bad_line_is_named(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(f"ok\tO\n\n{bad}\n")
    with pytest.raises(InputError) as caught:
        list(read_tagged(file))
    assert caught.value.where == f"{file}:3"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        list(read_tagged(tmp_path / "none.txt"))
    (tmp_path / "latin.txt").write_bytes(b"\xe9\tO\n")
    with pytest.raises(InputError, match="UTF-8"):
        list(read_tagged(tmp_path / "latin.txt"))
