"""The shipped models: small, whole, and each of the configuration that it says."""

from __future__ import annotations

from pathlib import Path

import pytest

import rukh
from rukh.errors import WeightsError
from rukh.modeling.model import RelationModel
from rukh.utils.files import read_json

FOLDER = Path(rukh.__file__).parent / "pretrained"
MOST = {"mnre": 24, "mnre-base": 24, "open": 12, "probe": 8, "tagger": 8}
"""Megabytes over the installed base."""
MODELS = sorted(path.name for path in FOLDER.iterdir() if (path / "config.json").exists())


def test_all_are_known() -> None:
    assert set(MODELS) == {*MOST}


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_is_small_and_has_a_card(name: str) -> None:
    size = sum(path.stat().st_size for path in (FOLDER / name).iterdir())
    assert size <= MOST[name] * 1e6
    assert "## Figures" in (FOLDER / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in MODELS if name != "tagger"])
def test_a_shipped_model_loads(name: str) -> None:
    try:
        model = RelationModel.from_pretrained(name)
    except WeightsError as error:
        if "weights install" not in str(error):
            raise
        pytest.skip(str(error))
    assert model.schema.names
    told = read_json(FOLDER / name / "config.json")
    assert (told["captions"] == "llavanext") == bool(model.config.pair.caption_words)
