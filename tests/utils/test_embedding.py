"""No text is embedded twice, and the vectors are those that the encoder would give."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from rukh.utils import embedding
from rukh.utils.cache import DiskCache
from rukh.utils.embedding import embed_texts


class Encoder:
    """Maps a text to its length and its first letter; remembers what it embedded."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[list[int]]:
        self.calls.append(texts)
        return [[len(text), ord(text[:1] or " ")] for text in texts]


def test_only_new_texts_are_embedded(tmp_path: Path) -> None:
    cache, encoder = DiskCache(tmp_path / "c.sqlite"), Encoder()
    for texts in (["ab", "c", "ab"], ["c", "", "dddd"], ["ab"]):
        vectors = embed_texts(texts, encoder, cache)
        assert vectors.dtype == np.float32
        assert vectors.tolist() == Encoder()(texts)
    assert encoder.calls == [["c", "ab"], ["", "dddd"]]


def test_an_interrupted_run_loses_one_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "CHUNK", 2)
    cache, encoder = DiskCache(tmp_path / "c.sqlite"), Encoder()
    texts = ["a", "bb", "ccc", "dddd", "eeeee"]

    def fails(chunk: list[str]) -> list[list[int]]:
        if "eeeee" in chunk:
            raise KeyboardInterrupt
        return encoder(chunk)

    with pytest.raises(KeyboardInterrupt):
        embed_texts(texts, fails, cache)
    assert embed_texts(texts, encoder, cache).tolist() == Encoder()(texts)
    assert encoder.calls == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]


def test_vectors_of_another_encoder_are_not_used(tmp_path: Path) -> None:
    cache, texts = DiskCache(tmp_path / "c.sqlite"), ["a", "b"]
    embed_texts(texts, Encoder(), cache)
    with sqlite3.connect(tmp_path / "c.sqlite") as connection:
        connection.execute("UPDATE entries SET value = x'00000000' WHERE rowid = 1")
    assert embed_texts(texts, Encoder(), cache).tolist() == Encoder()(texts)
