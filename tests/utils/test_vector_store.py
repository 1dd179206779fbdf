"""Vectors that are kept: none is made twice, and nothing that happens to the file does harm."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rukh.utils import vector_store
from rukh.utils.vector_store import embedded


class Embed:
    """Texts to vectors that tell their length and first letter; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: list[str]) -> Tensor:
        self.asked.append(texts)
        return torch.tensor([[float(len(t)), float(ord(t[0])) if t else 0.0] for t in texts])


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=4), min_size=1, max_size=9), min_size=1, max_size=4))
def test_what_is_kept_is_what_would_be_made(
    tmp_path_factory: pytest.TempPathFactory, banks: list[list[str]]
) -> None:
    file, embed = tmp_path_factory.mktemp("store") / "a.sqlite", Embed()
    for texts in banks:
        assert torch.equal(embedded(texts, embed, file), Embed()(texts))
    asked = [text for texts in embed.asked for text in texts]
    assert sorted(asked) == sorted({text for texts in banks for text in texts})


def test_a_run_that_fails_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_store, "CHUNK", 2)
    texts, file = ["a", "bb", "ccc", "dddd", "eeeee"], tmp_path / "a.sqlite"
    embed = Embed()

    def fails(some: list[str]) -> Tensor:
        if "eeeee" in some:
            raise KeyboardInterrupt
        return embed(some)

    with pytest.raises(KeyboardInterrupt):
        embedded(texts, fails, file)
    assert torch.equal(embedded(texts, embed, file), Embed()(texts))
    assert embed.asked == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]


SLOW = """
import sys, time, pathlib, torch
from rukh import vector_store
vector_store.CHUNK = 8
def embed(texts):
    time.sleep(0.05)
    print(len(texts), flush=True)
    return torch.tensor([[float(len(t)), 0.0] for t in texts])
vector_store.embedded(["x" * n for n in range(200)], embed, pathlib.Path(sys.argv[1]))
"""


def test_a_killed_process_loses_one_chunk_at_most(tmp_path: Path) -> None:
    file, embed = tmp_path / "a.sqlite", Embed()
    command = [sys.executable, "-c", SLOW, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for _ in range(3):
            run.stdout.readline()
        os.kill(run.pid, signal.SIGKILL)
        made = 3 + len(run.stdout.readlines())
    texts = ["x" * n for n in range(200)]
    embedded(texts, embed, file)
    left = sum(map(len, embed.asked))
    assert 200 - 8 * made <= left <= 200 - 8 * (made - 1)


def _fill(path: str, first: int) -> None:
    vector_store.CHUNK = 5
    texts = [f"{n}" for n in range(first, first + 100)]
    assert torch.equal(embedded(texts, Embed(), Path(path)), Embed()(texts))


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=_fill, args=(str(file), first)) for first in (0, 50)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(120)
    assert [run.exitcode for run in runs] == [0, 0]
    embed = Embed()
    embedded([f"{n}" for n in range(150)], embed, file)
    assert embed.asked == []
    with sqlite3.connect(file) as store:
        assert store.execute("SELECT count(*) FROM vectors").fetchone() == (150,)


@pytest.mark.parametrize("junk", [b"", b"junk", b"\xff" * 100])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, junk: bytes) -> None:
    file, texts = tmp_path / "a.sqlite", [f"{n}" for n in range(2000)]
    want = embedded(texts, Embed(), file)
    whole = file.read_bytes()
    for damage in (junk, whole[: len(whole) // 2], whole[:4096] + os.urandom(len(whole) - 4096)):
        file.write_bytes(damage)
        embed = Embed()
        assert torch.equal(embedded(texts, embed, file), want)
        assert embed.asked
        embed = Embed()
        assert torch.equal(embedded(texts, embed, file), want) and not embed.asked


def test_vectors_of_another_width_are_not_believed(tmp_path: Path) -> None:
    file, embed = tmp_path / "a.sqlite", Embed()
    embedded(["a", "b"], embed, file)
    with sqlite3.connect(file) as store:
        store.execute("UPDATE vectors SET vector = x'00000000' WHERE rowid = 1")
    assert torch.equal(embedded(["a", "b"], embed, file), Embed()(["a", "b"]))


def test_a_file_that_another_process_holds_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_store, "_WAIT", 0.1)
    file = tmp_path / "a.sqlite"
    embedded(["a"], Embed(), file)
    with sqlite3.connect(file) as store:
        store.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        assert embedded(["a", "b"], Embed(), file).shape == (2, 2)
        assert time.monotonic() - start < 10
    assert file.exists()


def test_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_store, "MOST", 3)
    file = tmp_path / "a.sqlite"
    for text in "abcde":
        embedded([text], Embed(), file)
    embed = Embed()
    embedded(list("cde"), embed, file)
    assert not embed.asked
    embedded(list("ab"), embed, file)
    assert embed.asked == [["a", "b"]]


@pytest.mark.parametrize(("count", "shown"), [(vector_store.TOLD, False), (400, True)])
def test_many_texts_show_progress(monkeypatch: pytest.MonkeyPatch, count: int, shown: bool) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    embedded([f"{n}" for n in range(count)], Embed())
    assert ("embedding relations" in sys.stderr.getvalue()) is shown  # type: ignore[attr-defined]
