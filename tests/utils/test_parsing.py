"""Strict parsing of JSON and Python literals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.errors import InputError
from rukh.utils.parsing import decode_utf8, parse_json, parse_literal

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False).filter(
    lambda number: abs(number) != float("inf")
) | st.text()  # fmt: skip
VALUES = st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=8)


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_what_json_and_python_write_is_parsed(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_literal(repr(value)) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "column 2"),
        ('{"a": 1\n"b": 2}', "line 2, column 1"),
        ("[" * 5000, "not readable"),
        ("9" * 5000, "not readable"),
        ('{"a": NaN}', "NaN"),
        ("[1e999]", "1e999"),
        ('{"a": {"b": 1, "b": 2}}', "'b' occurs twice"),
        (r'{"text": "Ann met \ud83d"}', "Ann met.*surrogate pair"),
        (r'{"\ud83d": 1}', "surrogate"),
    ],
)
def test_invalid_json(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 5000,
        "-" * 5000 + "1",
        "9" * 5000,
        "[1e999]",
        "{'a': 1, 'a': 2}",
        "{'a': {'b': 1, 'b': 2}}",
        r"{'a': '\ud83d'}",
        "{[]: 1}",
        "{'a': b'bytes'}",
        "{1, 2}",
        "a",
        "__import__('os').mkdir('made')",
        "{'a': __import__('os').mkdir('made')}",
    ],
)
def test_invalid_literals(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        parse_literal(text)
    assert "0x" not in caught.value.problem  # no address of a Python object
    assert not list(tmp_path.iterdir())


def test_invalid_utf8() -> None:
    assert decode_utf8("é".encode()) == "é"
    with pytest.raises(InputError, match="byte 0xff at 1"):
        decode_utf8(b"a\xff")
