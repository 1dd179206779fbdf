"""Tagged sentences in two columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from rukh.data.conll import read_tagged
from rukh.errors import InputError


def test_sentences(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(
        "IMGID:1\nAnn\tB-PER\nLee\tI-PER\r\nat\tO\n\n\nIMGID:2\nx\ty\tB-OTHER\nz\tB-person\n\u2028\tO\n"
        "BROTHER\tB-BROTHER".encode()
    )
    first, second = read_tagged(file)
    assert first == (["Ann", "Lee", "at"], ["B-PER", "I-PER", "O"])
    # A token may hold a tab; one that is only white space stands for itself as one mark.
    assert second == (["x\ty", "z", "\ufffd", "BROTHER"], ["B-MISC", "B-PER", "O", "B-BROTHER"])


@pytest.mark.parametrize("bad", ["Ann", "Ann B-PER", "Ann\tPER", "Ann\tB-", "Ann\tI-", "Ann\t"])
def test_a_bad_line_is_named(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(f"ok\tO\n\n{bad}\n")
    with pytest.raises(InputError, match=r"a\.txt:3: not a token, a tab and a BIO label"):
        list(read_tagged(file))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        list(read_tagged(tmp_path / "none.txt"))
    (tmp_path / "latin.txt").write_bytes(b"\xe9\tO\n")
    with pytest.raises(InputError, match="not UTF-8"):
        list(read_tagged(tmp_path / "latin.txt"))
