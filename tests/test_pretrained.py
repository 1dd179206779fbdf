"""The shipped models: each loads, is small, and has a model card."""

from __future__ import annotations

from pathlib import Path

import pytest

import rukh
from rukh.arguments.tagger import load_tagger
from rukh.errors import WeightsError
from rukh.modeling.model import RelationModel
from rukh.utils.files import read_json

FOLDER = Path(rukh.__file__).parent / "pretrained"
MAX_MEGABYTES = {
    "mnre": 24,
    "mnre-base": 24,
    "open": 12,
    "open-base": 24,
    "probe": 8,
    "tagger": 12,
    "tweet-tagger": 8,
}


def test_all_models_are_listed() -> None:
    assert {path.parent.name for path in FOLDER.glob("*/config.json")} == {*MAX_MEGABYTES}


@pytest.mark.parametrize("name", MAX_MEGABYTES)
def test_a_model_is_small_and_has_a_card(name: str) -> None:
    size = sum(path.stat().st_size for path in (FOLDER / name).iterdir())
    assert size <= MAX_MEGABYTES[name] * 1e6
    assert "## Figures" in (FOLDER / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MAX_MEGABYTES)
def test_a_model_loads(name: str) -> None:
    try:
        if read_json(FOLDER / name / "config.json")["task"] == "tagger":
            (entities,) = load_tagger(name).detect_entities(["Ann Lee lives in Oslo."])
            assert [entity.type for entity in entities] == ["PER", "LOC"]
            return
        model = RelationModel.from_pretrained(name)
    except WeightsError as error:
        if "weights install" not in str(error):
            raise
        pytest.skip(str(error))
    assert model.schema.names
    assert (model.config.caption_source == "llavanext") == bool(model.config.pair.caption_words)
