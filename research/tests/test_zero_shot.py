"""Splits into seen and unseen relations: what is held out, what is measured, and resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from corpora.compose import Templates
from corpora.inline import field_schema, fields
from research.tests.tiny import VERBS, make_posts, write_training_files
from research.zero_shot import splits as zero_shot
from research.zero_shot.__main__ import app
from research.zero_shot.splits import (
    Split,
    ZeroShotConfig,
    draw_unseen,
    equivalents,
    run,
    summary,
    table,
)
from research.zero_shot.unseen import fit_unseen, only_relations
from typer.testing import CliRunner

from rukh.config import load_config
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.schema.schema import RelationSchema

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def study(tmp_path: Path, tiny_text: str) -> Path:
    test = [p for p in make_posts(60, 300) if p.pairs and p.pairs[0].relation != "none"]
    write(test, tmp_path / "test.jsonl")
    synonyms = {verb: {} for verb in VERBS[:-1]}
    synonyms |= {"sees": {"verbs": ["paints"]}, "paints": {"verbs": ["sees"]}}
    (tmp_path / "synonyms.yaml").write_text(yaml.safe_dump({"relations": synonyms}))
    corpus = {"train": str(tmp_path / "train.jsonl"), "format": "jsonl"}
    base = write_training_files(
        tmp_path,
        tiny_text,
        count=120,
        extra_corpora=[corpus | {"schema": str(tmp_path / "schema.yaml")}],
    )
    config = {
        "task": "zero-shot",
        "base": str(base),
        "calibration": {"unseen": 2, "seed": 9},
        "splits": [{"unseen": 2, "seed": 1}, {"unseen": 2, "seed": 3}],
        "test": [str(tmp_path / "test.jsonl")],
        "format": "jsonl",
        "schema": str(tmp_path / "schema.yaml"),
        "equivalents": str(tmp_path / "synonyms.yaml"),
        "unrelated": 1,
        "results": str(tmp_path / "results"),
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "study.yaml"


def test_synonyms_are_held_out_with_the_unseen(tmp_path: Path, study: Path) -> None:
    file = tmp_path / "synonyms.yaml"
    assert equivalents(file, ["sees"]) == ["paints"]
    assert equivalents(file, ["sees", "paints"]) == []


def test_the_seed_decides_which_relations_are_unseen() -> None:
    posts = make_posts(60)
    names = draw_unseen(posts, Split(unseen=2, seed=1))
    assert names == draw_unseen(posts, Split(unseen=2, seed=1)) and len(set(names)) == 2
    assert {p.pairs[0].relation for p in only_relations(posts, names) if p.pairs} == set(names)
    with pytest.raises(InputError):  # none would be seen
        draw_unseen(posts, Split(unseen=len(VERBS), seed=1))


def test_every_split_is_trained_once_and_measured(
    tmp_path: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    excluded = []
    train_relations = zero_shot.train_relations

    def train(config: Any, out: Path) -> Any:
        excluded.append(set(config.exclude_relations))
        return train_relations(config, out)

    monkeypatch.setattr(zero_shot, "train_relations", train)
    command = [str(study), "--work", str(tmp_path / "work")]
    done = CliRunner().invoke(app, [*command, "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out.json").read_text())
    assert len(excluded) == 3 and len(result["splits"]) == 2
    calibrated = json.loads((tmp_path / "results/unseen-2-9.json").read_text())["calibrated"]
    assert set(calibrated) == {"unseen_temperature", "unseen_shift"}
    assert calibrated["unseen_temperature"] > 0
    for split, names in zip(result["splits"], excluded[1:], strict=True):
        assert names == {*split["unseen"], *split["left_out"]}
        for setting in ("described", "untyped", "named", "encoder"):
            assert 0 <= split[setting]["macro_f1"] <= 1
        assert split["rejecting"]["unrelated"] > 0 and 0 <= split["rejecting"]["auroc"] <= 1
        assert split["few_shot"]["seconds"] < 60
    (row,) = result["summary"]
    f1s = [split["described"]["macro_f1"] for split in result["splits"]]
    assert row["described"]["macro_f1"]["mean"] == pytest.approx(sum(f1s) / 2)
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0 and len(excluded) == 3
    assert again.stdout == done.stdout == table([row])
    assert not list((tmp_path / "work").glob("*"))


@pytest.mark.parametrize("content", [None, "{}", "[]", '{"split": "unseen-2-2"}'])
def test_missing_and_foreign_results_are_errors(
    tmp_path: Path, study: Path, content: str | None
) -> None:
    path = tmp_path / "results" / "unseen-2-1.json"
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
    error = CliRunner().invoke(app, [str(study), "--finished"]).exception
    assert isinstance(error, InputError)
    assert error.where == str(path.parent if content is None else path)


def test_the_notes_show_the_finished_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("RUKH_DATA", "somewhere")  # only the results are read
    config = load_config(CHECKOUT / "research/zero_shot/splits.yaml", ZeroShotConfig)
    results = list(run(config, CHECKOUT / "none", finished=True))
    assert len(results) == len(config.splits)
    assert table(summary(results)) in (CHECKOUT / "research/zero_shot/README.md").read_text("utf-8")


def test_every_equivalent_is_a_relation_of_its_corpus() -> None:
    data = yaml.safe_load((CHECKOUT / "research/zero_shot/equivalents.yaml").read_text())
    names = {name: {*RelationSchema.load(name).names} for name in ("wikidata", "mnre", "conll04")}
    templates = load_config(CHECKOUT / "corpora/relation-templates.yaml", Templates)
    names["templates"] = {*templates.as_schema().names}
    names["corpus"] = {name for path in fields() for name in field_schema(path).names}
    assert data["relations"].keys() == names["wikidata"]
    for groups in (*data["relations"].values(), *data["unseen"].values()):
        for group, listed in groups.items():
            assert {*listed} <= names[group]


def test_the_shift_that_generated_the_labels_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 5, generator=generator) * 2
    seen = torch.tensor([True, True, False, False, False])
    probabilities = ((logits + 2.0 * ~seen) / 1.5).softmax(-1)
    target = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
    assert fit_unseen(logits, target, seen) == pytest.approx((1.5, 2.0), rel=0.2)
