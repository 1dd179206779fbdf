"""The disk cache returns what was stored, and no damage to its file is an error."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.utils import cache as module
from rukh.utils.cache import DiskCache, content_key


@settings(deadline=None, max_examples=6)
@given(st.lists(st.dictionaries(st.text(max_size=4), st.binary(max_size=9)), max_size=4))
def test_entries_come_back(
    tmp_path_factory: pytest.TempPathFactory, puts: list[dict[str, bytes]]
) -> None:
    cache, expected = DiskCache(tmp_path_factory.mktemp("cache") / "deep" / "c.sqlite"), {}
    for entries in puts:
        cache.put_many(entries)
        expected |= entries
        assert cache.get_many([*expected, "not stored"]) == expected


@pytest.mark.parametrize("junk", [b"", b"junk", b"\xff" * 100, None], ids=repr)
def test_a_damaged_file_is_started_anew(tmp_path: Path, junk: bytes | None) -> None:
    path = tmp_path / "c.sqlite"
    entries = {str(i): b"x" * 50 for i in range(500)}
    DiskCache(path).put_many(entries)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096) if junk is None else junk)
    assert DiskCache(path).get_many(list(entries)) in ({}, entries)
    DiskCache(path).put_many({"new": b"1"})
    DiskCache(path).get_many(["new"])
    DiskCache(path).put_many({"new": b"1"})
    assert DiskCache(path).get_many(["new"]) == {"new": b"1"}


def test_values_that_are_no_bytes_are_ignored(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "c.sqlite")
    cache.put_many({"a": b"1", "b": b"2"})
    with sqlite3.connect(tmp_path / "c.sqlite") as connection:
        connection.execute("UPDATE entries SET value = 'text' WHERE key = 'a'")
    assert cache.get_many(["a", "b"]) == {"b": b"2"}


def test_a_locked_file_is_not_waited_for_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.1)
    cache = DiskCache(tmp_path / "c.sqlite")
    cache.put_many({"a": b"1"})
    with sqlite3.connect(tmp_path / "c.sqlite") as connection:
        connection.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        assert cache.get_many(["a"]) == {}
        cache.put_many({"b": b"2"})
        assert time.monotonic() - start < 5
    assert cache.get_many(["a", "b"]) == {"a": b"1"}


def test_the_oldest_entries_are_removed_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "c.sqlite", max_entries=3)
    for key in "abcde":
        cache.put_many({key: b"1"})
    assert set(cache.get_many(list("abcde"))) == set("cde")


def _put(path: str, first: int) -> None:
    for i in range(first, first + 20):
        DiskCache(Path(path)).put_many({str(i): str(i).encode()})


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=_put, args=(str(path), first)) for first in (0, 10)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0]
    assert len(DiskCache(path).get_many([str(i) for i in range(30)])) == 30


def test_keys_tell_contents_apart() -> None:
    assert content_key("a", "b") == content_key(b"a", "b")
    assert len({content_key(*parts) for parts in (("ab",), ("a", "b"), ("", "ab"), ())}) == 4
    assert len(content_key("half of a surrogate pair: \ud800")) == 64
