"""The map's places, its neighbours, and its three forms."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rukh.cli.schema import app
from rukh.errors import InputError, MissingDependency
from rukh.schema.map import html, principal, save, schema_map
from rukh.schema.schema import RelationSchema
from rukh.schema.similarity import embed_schema

PLACES = {
    "north": (0.0, 1.0, 0.0),
    "also north": (0.1, 0.99, 0.0),
    "east": (1.0, 0.0, 0.0),
    "up": (0.0, 0.0, 1.0),
    "alone": (0.6, 0.0, 0.8),
}
EVIL = "/<b>/$x_1^2$&"


def embed(texts: Sequence[str]) -> Any:
    return np.array([PLACES[str(text)] for text in texts], dtype=np.float32)


def schema(**types: list[str]) -> RelationSchema:
    relations = [
        {"name": "n", "descriptions": ["north"], "head": ["A"]},
        {"name": "n2", "descriptions": ["also north", "up"], "head": types.get("n2", ["A"])},
        {"name": EVIL, "descriptions": ["east"], "head": ["B"]},
        {"name": "alone", "head": ["C"]},
        {"name": "none"},
    ]
    return RelationSchema.parse(
        {"name": "<i>", "nota": "none", "relations": relations}, undescribed=True
    )


def test_principal_components_keep_distances_in_a_plane() -> None:
    random = np.random.default_rng(0)
    flat = random.normal(size=(9, 2)) @ random.normal(size=(2, 7)) + 5
    places, share = principal(flat)
    assert share == pytest.approx(1)
    gaps = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    assert np.linalg.norm(places[:, None] - places[None], axis=-1) == pytest.approx(gaps)
    assert principal(flat)[0] == pytest.approx(places)


@pytest.mark.parametrize("points", [[[1.0, 2.0, 3.0]], [[1.0, 2.0]] * 4, [[1.0], [2.0]]])
def test_few_or_equal_points_have_places(points: list[list[float]]) -> None:
    places, share = principal(np.array(points))
    assert places.shape == (len(points), 2) and np.isfinite(places).all() and share == 1.0


def test_relations_are_means_and_neighbours_of_like_types_come_first() -> None:
    table = embed_schema(schema(), embed)
    assert [relation.name for relation in table.relations] == ["n", "n2", EVIL, "alone"]
    # A relation without descriptions stands as the words of its label.
    assert table.texts[-1] == "alone" and table.owner.tolist() == [0, 1, 1, 2, 3]
    assert np.linalg.norm(table.centres, axis=1) == pytest.approx(1)
    first, *others = table.nearest(0, 3)
    assert (first.name, first.texts) == ("n2", ("north", "also north"))
    assert first.closest == pytest.approx(0.99) and first.cosine < first.closest
    assert {other.cosine for other in others} == {0.0}
    # Farther by angle, but of the same types.
    near = embed_schema(schema(n2=["B"]), embed).nearest(2, 1)
    assert near[0].name == "n2"


def test_each_form_is_written(tmp_path: Path) -> None:
    data = schema_map(schema(), embed)
    for ending in ("json", "html", "png"):
        save(data, tmp_path / f"map.{ending}")
    assert json.loads((tmp_path / "map.json").read_text()) == json.loads(json.dumps(data))
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size[0] > 600 and len(picture.convert("RGB").getcolors(1 << 24) or ()) > 3
    page = (tmp_path / "map.html").read_text()
    assert "<b>" not in page and "<i>" not in page and "http" not in page
    drawing = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    assert len(drawing.findall(".//circle")) == 4
    assert page.index("<td>n</td>") < page.index("<td>alone</td>")  # most confusable first
    with pytest.raises(InputError, match=r"map\.gif"):
        save(data, tmp_path / "map.gif")


def test_one_relation_alone_has_a_map() -> None:
    one = RelationSchema.parse({"name": "s", "relations": [{"name": "a", "descriptions": ["up"]}]})
    data = schema_map(one, embed)
    assert data["relations"][0]["nearest"] == [] and "<circle" in html(data)


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency, match=r"rukh\[train\]"):
        save(schema_map(schema(), embed), tmp_path / "map.png")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path, tiny_text: str) -> None:
    out = tmp_path / "map.json"
    run = CliRunner().invoke(app, ["map", "mnre", "--out", str(out), "--encoder", tiny_text])
    assert run.exit_code == 0, run.output
    assert len(json.loads(out.read_text())["relations"]) == 22
    run = CliRunner().invoke(app, ["map", "mnre", "--out", "map.gif"])
    assert isinstance(run.exception, InputError)
