"""Splits into seen and unseen relations: what is left out, what is measured, and going on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from research.zero_shot import splits as zero_shot
from research.zero_shot.splits import Split, ZeroShotConfig, drawn, equivalents
from research.zero_shot.unseen import only
from typer.testing import CliRunner

from rukh.cli import app
from rukh.config import load_config
from rukh.data.readers import write
from rukh.records import Pair, Post

PEOPLE, PLACES = ("Ann", "Bob", "Cleo", "Dan", "Eve"), ("Rome", "Oslo", "Kyiv", "Lima")
VERBS = ("lives in", "sees", "leaves", "paints", "is of", "none")


def posts(count: int, offset: int = 0) -> list[Post]:
    made = []
    for i in range(offset, offset + count):
        verb = VERBS[i % len(VERBS)]
        head, tail = PEOPLE[i % 5], PLACES[i % 4]
        text = f"{head} {verb} {tail} {i}"
        entities = (
            {"id": "h", "start": 0, "end": len(head), "type": "PER"},
            {"id": "t", "start": text.index(tail), "end": text.index(tail) + len(tail)},
        )
        pair = Pair(head="h", tail="t", relation=verb)
        made.append(Post(id=str(i), text=text, entities=entities, pairs=(pair,)))
    return made


@pytest.fixture
def config(tmp_path: Path, tiny_text: str) -> Path:
    told = [{"name": v, "descriptions": [f"the head {v} the tail"]} for v in VERBS[:-1]]
    schema = {"name": "verbs", "nota": "none", "relations": [{"name": "none"}, *told]}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))
    write(posts(120), tmp_path / "train.jsonl")
    write([p for p in posts(60, 300) if p.pairs[0].relation != "none"], tmp_path / "test.jsonl")
    near = {v: {} for v in VERBS[:-1]} | {
        "sees": {"verbs": ["paints"]},
        "paints": {"verbs": ["sees"]},
    }
    (tmp_path / "near.yaml").write_text(yaml.safe_dump({"relations": near}))
    corpus = {"train": str(tmp_path / "train.jsonl"), "format": "jsonl"}
    base = {
        "task": "relations",
        "data": corpus | {"fold": 0.3},
        "mix": [corpus | {"relations": str(tmp_path / "schema.yaml")}],
        "relations": str(tmp_path / "schema.yaml"),
        "tagger": None,
        "pair": {"text_encoder": tiny_text, "vision_encoder": None, "dim": 32, "fusion_heads": 4,
                 "trainable_layers": 1, "residual": True},
        "training": {"epochs": 1, "batch_size": 8},
        "memory": {"pairs": 2},
    }  # fmt: skip
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    study = {
        "task": "zero-shot",
        "base": str(tmp_path / "base.yaml"),
        "calibration": {"unseen": 2, "seed": 9},
        "splits": [{"unseen": 2, "seed": 1}, {"unseen": 2, "seed": 3}],
        "test": [str(tmp_path / "test.jsonl")],
        "format": "jsonl",
        "relations": str(tmp_path / "schema.yaml"),
        "equivalents": str(tmp_path / "near.yaml"),
        "unrelated": 1,
        "results": str(tmp_path / "results"),
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    return tmp_path / "study.yaml"


def test_near_equivalents_are_left_out_with_the_unseen(tmp_path: Path, config: Path) -> None:
    near = tmp_path / "near.yaml"
    assert equivalents(near, ["sees"]) == ["paints"]
    assert equivalents(near, ["sees", "paints"]) == []
    test = [p for p in posts(60) if p.pairs[0].relation != "none"]
    names = drawn(test, Split(unseen=2, seed=1))
    assert names == drawn(test, Split(unseen=2, seed=1)) and len(set(names)) == 2
    assert {p.pairs[0].relation for p in only(test, names)} == set(names)


def test_every_split_is_trained_once_and_measured(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    plain = zero_shot.train_relations

    def spy(base, out):  # type: ignore[no-untyped-def]
        trained.append(base.without)
        return plain(base, out)

    monkeypatch.setattr(zero_shot, "train_relations", spy)
    command = ["study", "zero-shot", str(config), "--work", str(tmp_path / "work")]
    done = CliRunner().invoke(app, [*command, "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    assert "rejecting" in done.output and "described" in done.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert len(trained) == 3 and len(found["splits"]) == 2
    known = json.loads((tmp_path / "results" / "unseen-2-9.json").read_text())["calibrated"]
    assert known["unseen_temperature"] > 0 and set(known) == {"unseen_temperature", "unseen_shift"}
    for split, without in zip(found["splits"], trained[1:], strict=True):
        assert set(without) == {*split["unseen"], *split["left_out"]}
        for name in ("described", "untyped", "named", "encoder"):
            assert 0 <= split[name]["macro_f1"] <= 1
        assert split["rejecting"]["unrelated"] > 0 and 0 <= split["rejecting"]["auroc"] <= 1
        assert split["few_shot"]["seconds"] < 60
    row = found["summary"][0]
    both = [split["described"]["macro_f1"] for split in found["splits"]]
    assert row["described"]["macro_f1"]["mean"] == pytest.approx(sum(both) / 2)
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0 and len(trained) == 3
    assert again.output.splitlines()[-1] == done.output.splitlines()[-1]
    assert not list((tmp_path / "work").glob("*"))


def test_nothing_finished_is_an_error(tmp_path: Path, config: Path) -> None:
    done = CliRunner().invoke(app, ["study", "zero-shot", str(config), "--finished"])
    assert done.exit_code != 0 and "no split is finished" in done.output + str(done.exception)
    assert load_config(config, ZeroShotConfig).splits[0].name == "unseen-2-1"


@pytest.mark.parametrize("kept", ["{}", "[]", '{"split": "unseen-2-2"}'])
def test_a_result_of_another_split_is_told(tmp_path: Path, config: Path, kept: str) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "unseen-2-1.json").write_text(kept)
    done = CliRunner().invoke(app, ["study", "zero-shot", str(config), "--finished"])
    assert done.exit_code != 0
    assert "unseen-2-1.json: is no result of unseen-2-1; remove it" in str(done.exception)
