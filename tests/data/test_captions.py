"""Caption files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from rukh.data.captions import read_captions
from rukh.errors import InputError

GOOD = "{'img_id': 'a.jpg', 'text': 'a dog'}\n"


def test_lines_of_literals_or_json(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_bytes(
        b"""{'img_id': 'a.jpg', 'text': "\\nAnn's dog "}\r\n"""
        b"""{"img_id": "b.jpg", "text": ""}\n\n{'img_id': 'inf.png', 'text': 'x'}"""
    )
    assert read_captions(path) == {"a.jpg": "Ann's dog", "b.jpg": "", "inf.png": "x"}
    path.write_text(GOOD + GOOD.replace("a dog", " a dog"))
    assert read_captions(path) == {"a.jpg": "a dog"}
    packed = tmp_path / "captions.txt.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_captions(packed) == {"a.jpg": "a dog"}


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("{", None),
        ("[1]", None),
        ("{'img_id': 'a.jpg'}", "text"),
        ("{'img_id': 1, 'text': ''}", "img_id"),
        ("{'img_id': 'a.jpg', 'text': 'a cat'}", "img_id"),
    ],
)
def test_bad_lines(line: str, field: str | None, tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text(GOOD + line)
    with pytest.raises(InputError) as caught:
        read_captions(path)
    assert (caught.value.where, caught.value.field) == (f"{path}:2", field)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_captions(tmp_path / "nowhere")
