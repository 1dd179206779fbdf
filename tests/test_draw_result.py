"""The drawing of results shows a model's predictions."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image, ImageChops

from rukh.records import Post, TextEntity
from rukh.schema.schema import RelationSchema

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(DOCS))
    import draw_result

    return draw_result


def test_words_are_split_at_the_edges_of_entities(drawing: ModuleType) -> None:
    text = "hi \N{BANANA} Ann Lee, of Rome-West"
    entities = tuple(
        TextEntity(id=id_, start=text.index(name), end=text.index(name) + len(name))
        for id_, name in (("ann", "Ann Lee"), ("rome", "Rome"))
    )
    assert list(drawing.words_of(Post(id="1", text=text, entities=entities))) == [
        (False, "hi", None),
        (True, "Ann", "ann"),
        (True, "Lee", "ann"),
        (False, ",", None),
        (True, "of", None),
        (True, "Rome", "rome"),
        (False, "-West", None),
    ]


def test_another_model_gives_another_drawing(
    drawing: ModuleType, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    for seed in (1, 2):
        folder, out = tmp_path / f"model{seed}", tmp_path / f"{seed}.png"
        tiny_model(seed=seed, schema=RelationSchema.load("mnre")).save(folder, "a card")
        options = ["football", "twins", "--model", str(folder), "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["draw_result.py", *options])
        drawing.main()
        with Image.open(out) as opened:
            drawn.append(opened.convert("RGB"))
    assert drawn[0].width == drawn[1].width == drawing.WIDTH * drawing.SCALE
    assert drawn[0].height > 400 * drawing.SCALE
    assert drawn[0].size != drawn[1].size or ImageChops.difference(*drawn).getbbox() is not None
