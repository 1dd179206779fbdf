"""The map of a schema's relations."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from research.schema_map.__main__ import app
from research.schema_map.study import project, save, schema_map
from typer.testing import CliRunner

from helpers_schema import embed, schema
from rukh.errors import InputError, MissingDependency
from rukh.schema.schema import RelationSchema


def test_projection_of_a_plane_keeps_distances() -> None:
    random = np.random.default_rng(0)
    points = random.normal(size=(9, 2)) @ random.normal(size=(2, 7)) + 5
    coordinates, explained = project(points)
    assert explained == pytest.approx(1)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    projected = np.linalg.norm(coordinates[:, None] - coordinates[None], axis=-1)
    assert projected == pytest.approx(distances)


@pytest.mark.parametrize("points", [[[1.0, 2.0, 3.0]], [[1.0, 2.0]] * 4, [[1.0], [2.0]]])
def test_projection_of_few_or_equal_points(points: list[list[float]]) -> None:
    coordinates, explained = project(np.array(points))
    assert coordinates.shape == (len(points), 2) and np.isfinite(coordinates).all()
    assert explained == 1.0


def test_neighbours() -> None:
    first, *others = schema_map(schema(), embed)["relations"][0]["nearest"]
    assert (first["name"], first["texts"]) == ("n2", ("north", "also north"))
    assert first["closest"] == pytest.approx(0.99) and first["cosine"] < first["closest"]
    assert {other["cosine"] for other in others} == {0.0}


def test_save(tmp_path: Path) -> None:
    data = schema_map(schema(), embed)
    for ending in ("json", "svg", "png"):
        save(data, tmp_path / f"map.{ending}")
    assert json.loads((tmp_path / "map.json").read_text()) == json.loads(json.dumps(data))
    with Image.open(tmp_path / "map.png") as image:
        assert image.size[0] > 600 and len(image.convert("RGB").getcolors(1 << 24) or ()) > 3
    assert "<svg" in (tmp_path / "map.svg").read_text()
    with pytest.raises(InputError, match=r"map\.gif"):
        save(data, tmp_path / "map.gif")


def test_single_relation() -> None:
    one = RelationSchema.parse({"name": "s", "relations": [{"name": "a", "descriptions": ["up"]}]})
    assert schema_map(one, embed)["relations"][0]["nearest"] == []


def test_missing_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency) as caught:
        save(schema_map(schema(), embed), tmp_path / "map.png")
    assert caught.value.extra == "dev"
    assert not list(tmp_path.iterdir())


def test_command(tmp_path: Path, tiny_text: str) -> None:
    out = tmp_path / "map.json"
    result = CliRunner().invoke(app, ["mnre", "--out", str(out), "--encoder", tiny_text])
    assert result.exit_code == 0, result.output
    assert len(json.loads(out.read_text())["relations"]) == 22
    result = CliRunner().invoke(app, ["mnre", "--out", "map.gif"])
    assert isinstance(result.exception, InputError)
