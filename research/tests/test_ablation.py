"""Grids: finished cells are kept and checked, and the statistics of the table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from research.ablation import grid as ablation
from research.ablation.__main__ import app
from research.ablation.grid import AblationConfig, cell_config, compare, remarks, run, table
from research.ablation.run_records import identity
from research.tests.tiny import make_posts, write_training_files
from typer.testing import CliRunner

from rukh.config import load_config
from rukh.data.readers import write
from rukh.errors import InputError, RukhError
from rukh.utils.files import read_json, write_json

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def grid(tmp_path: Path, tiny_text: str) -> AblationConfig:
    write(make_posts(20), tmp_path / "val.jsonl")
    return AblationConfig(
        task="ablation",
        base=write_training_files(tmp_path, tiny_text, count=40),
        changes=(f"data.val={tmp_path / 'val.jsonl'}",),
        cells={"all": (), "classifier": ("relation.scorer=classification",)},
        seeds=(1, 2),
        reference="all",
        results=tmp_path / "results",
    )


def make_result(cell: str, seed: int, counts: Any) -> dict[str, Any]:
    """The result of a cell with these true, predicted and gold positives of each post."""
    counts = np.asarray(counts)
    correct, predicted, gold = counts.sum(1)
    figures: dict[str, float] = dict.fromkeys(
        ("micro_f1_order_free", "micro_f1", "micro_precision", "micro_recall", "macro_f1",
         "accuracy"), float(2 * correct / (predicted + gold))
    )  # fmt: skip
    return {
        "cell": cell,
        "seed": seed,
        "dev": {"threshold": 0.5},
        "val": figures | {"pairs": 5, "positives": 3},
        "counts": [" ".join(map(str, row)) for row in counts],
    }


def finish(grid: AblationConfig) -> None:
    """Write results as if all cells had been trained."""
    for seed in grid.seeds:
        for cell in grid.cells:
            result = make_result(cell, seed, [[1, 1], [1, 2], [2, 1]])
            result["configuration"] = identity(cell_config(grid, cell, seed, False))
            write_json(result, grid.results / f"{cell}-{seed}.json")


def test_every_cell_is_trained_once(
    grid: AblationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    train_relations = ablation.train_relations

    def train(config: Any, out: Path) -> Any:
        trained.append(out.name)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train_relations(config, out)

    monkeypatch.setattr(ablation, "train_relations", train)
    with pytest.raises(KeyboardInterrupt):
        list(run(grid, tmp_path / "work"))
    assert trained == ["all-1", "all-2", "classifier-1"]
    results = list(run(grid, tmp_path / "work"))
    assert trained[3:] == ["classifier-1", "classifier-2"]
    assert [(result["cell"], result["seed"]) for result in results] == [
        ("all", 1), ("all", 2), ("classifier", 1), ("classifier", 2)
    ]  # fmt: skip
    for result in results:
        correct, predicted, gold = (sum(map(int, row.split())) for row in result["counts"])
        f1 = 2 * correct / (predicted + gold) if predicted + gold else 0
        assert f1 == pytest.approx(result["val"]["micro_f1_order_free"])
    content = (grid.results / "all-1.json").read_text()
    assert "Rome" not in content and len(content) < 10_000  # no text of the data
    assert not list((tmp_path / "work").glob("*"))
    assert [row["cell"] for row in compare(results, "all")] == ["all", "classifier"]
    assert list(run(grid, tmp_path / "work")) == results and len(trained) == 5


def test_unknown_cells_get_a_suggestion(grid: AblationConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        next(run(grid, tmp_path, ["clasifier"]))
    assert "'classifier'" in str(caught.value.fix)
    with pytest.raises(InputError) as caught:
        next(run(grid.model_copy(update={"reference": {"classifier": "al"}}), tmp_path))
    assert "'all'" in str(caught.value.fix)


@pytest.mark.parametrize(
    "change",
    ["training.epoch=1", "relation.scorer=none", "pair.text_encoder=none", "pair.init_from=none"],
)
def test_all_cells_are_checked_before_the_first_is_trained(
    grid: AblationConfig, tmp_path: Path, change: str
) -> None:
    wrong = grid.model_copy(update={"cells": {**grid.cells, "last": (change,)}})
    with pytest.raises(RukhError, match="cell last"):
        next(run(wrong, tmp_path))


@pytest.mark.parametrize(("old", "new"), [("", None), ("{", "{{"), ('"sees"', '"seees"')])
def test_val_is_checked_before_the_first_cell_is_trained(
    grid: AblationConfig, tmp_path: Path, old: str, new: str | None
) -> None:
    val = tmp_path / "val.jsonl"
    val.write_text(val.read_text().replace(old, new, 1) if new else "")
    with pytest.raises(InputError) as caught:
        next(run(grid, tmp_path))
    assert str(caught.value.where).startswith(str(val))


@pytest.mark.parametrize(
    "update",
    [{"changes": ()}, {"results": Path("/proc/results")}],
    ids=["without data.val", "results that cannot be written"],
)
def test_a_grid_that_cannot_be_run(
    grid: AblationConfig, tmp_path: Path, update: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        next(run(grid.model_copy(update=update), tmp_path))
    assert not grid.results.exists()


@pytest.mark.parametrize("update", [{"seeds": [13, 13]}, {"cells": {"../a": []}}])
def test_an_invalid_grid(grid: AblationConfig, update: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(update))):
        AblationConfig.model_validate(grid.model_dump() | update)


def test_the_command_shows_finished_cells(grid: AblationConfig, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(json.loads(grid.model_dump_json())))
    command = [str(tmp_path / "grid.yaml"), "--finished"]
    assert isinstance(CliRunner().invoke(app, command).exception, InputError)  # none is finished
    finish(grid)
    shown = CliRunner().invoke(app, [*command, "--json", str(tmp_path / "rows.json")])
    assert shown.exit_code == 0 and "| classifier | 2 | 66.7 ± 0.0 |" in shown.stdout
    assert [row["cell"] for row in read_json(tmp_path / "rows.json")] == ["all", "classifier"]


def test_broken_results_are_refused(grid: AblationConfig, tmp_path: Path) -> None:
    finish(grid)
    path = grid.results / "classifier-2.json"
    good = read_json(path)
    for broken, field in (
        ({}, "cell"),
        ([], None),
        (good | {"val": None}, "val"),
        (good | {"val": good["val"] | {"macro_f1": None}}, "val.macro_f1"),
        (good | {"val": good["val"] | {"micro_f1": 0.9}}, "val"),  # precision and recall differ
        (good | {"val": good["val"] | {"micro_f1_order_free": 0.9}}, None),  # counts differ
        (good | {"counts": ["1 x", "1", "1"]}, "counts.0"),
        (good | {"counts": ["1 1", "1", "1"]}, None),
        (good | {"cell": "all"}, None),
        (good | {"seed": 1}, None),
        (good | {"configuration": {}}, None),
    ):
        write_json(broken, path)
        with pytest.raises(InputError) as caught:
            list(run(grid, tmp_path, finished=True))
        assert (caught.value.where, caught.value.field) == (str(path), field)


def test_results_of_other_configurations_are_refused(grid: AblationConfig, tmp_path: Path) -> None:
    finish(grid)

    def num_finished(**update: Any) -> int:
        return len(list(run(grid.model_copy(update=update), tmp_path, finished=True)))

    (tmp_path / "val.jsonl").rename(tmp_path / "moved.jsonl")
    assert num_finished() == 4  # data may be absent
    schema = tmp_path / "schema.yaml"
    content = schema.read_text()
    schema.write_text(content + "# a comment\n")
    assert num_finished() == 4
    schema.write_text(content.replace(" lives ", " dwells "))
    with pytest.raises(InputError, match="schema"):
        num_finished()
    schema.unlink()
    assert num_finished() == 4
    schema.write_text(content)
    for update, key in (
        ({"base": tmp_path / "gone.yaml"}, "gone.yaml"),
        ({"changes": (*grid.changes, "training.batch_size=5")}, "training.batch_size"),
        ({"changes": (*grid.changes, f"data.val={tmp_path / 'other.jsonl'}")}, "data.val"),
        ({"cells": {**grid.cells, "classifier": ("relation.heads=classifier",)}}, "heads"),
    ):
        with pytest.raises(InputError, match=key):
            num_finished(**update)
    path = grid.results / "all-1.json"
    older = read_json(path)  # from before these keys existed
    del older["configuration"]["pair"]["residual"], older["configuration"]["extra_corpora"]
    write_json(older, path)
    with pytest.raises(InputError, match=r"pair\.residual"):  # whose default is another one
        num_finished()
    older["configuration"]["pair"]["residual"] = True
    write_json(older, path)
    assert num_finished() == 4


@pytest.mark.parametrize("grid", ["mnre-ablation", "mnre-heads", "mnre-low-resource"])
def test_the_notes_show_the_finished_cells(grid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("RUKH_DATA", "somewhere")
    config = load_config(CHECKOUT / "research/ablation" / f"{grid}.yaml", AblationConfig)
    results = list(run(config, CHECKOUT / "none", finished=True))
    assert len(results) == len(list(config.results.glob("*.json"))) > 0
    notes = (CHECKOUT / "research/mnre/README.md").read_text("utf-8")
    assert table(compare(results, config.reference)) in notes


def test_remarks_name_comparisons_that_are_weak() -> None:
    counts = [[1, 1], [1, 2], [2, 1]]
    results = [make_result(cell, seed, counts) for cell in ("all", "other") for seed in (1, 2)]
    assert remarks(compare(results, "all")) == []
    assert len(remarks(compare(results[1:3], "all"))) == 1  # no common seed
    assert len(remarks(compare(results[:3], "all"))) == 1  # one common seed


def test_differences_against_a_slow_reference() -> None:
    generator = np.random.default_rng(3)
    gold = generator.integers(0, 3, 200)
    predicted = generator.integers(0, 3, 200)
    good = [np.minimum(gold, predicted), predicted, gold]
    bad = [np.minimum(gold, predicted) * generator.integers(0, 2, 200), predicted, gold]
    same = make_result("same", 1, good)
    rows = compare([make_result("all", 1, good), same, make_result("bad", 1, bad)], "all", 500)
    assert rows[0]["difference"] is None
    assert rows[1]["difference"] == 0 and rows[1]["p"] == 1
    f1 = [2 * sum(c[0]) / (sum(c[1]) + sum(c[2])) for c in (bad, good)]
    assert rows[2]["difference"] == pytest.approx(f1[0] - f1[1])
    low, high = rows[2]["difference_ci"]
    assert low < rows[2]["difference"] < high < 0 and rows[2]["p"] < 0.01
    paired = compare([make_result("bad", 1, bad), same], {"bad": "same"}, 500)
    assert [row["cell"] for row in paired if row["difference"] is not None] == ["bad"]
    assert paired[0]["difference"] == rows[2]["difference"]
    with pytest.raises(InputError, match="different posts"):
        compare([same, make_result("all", 1, np.array(good)[:, :9])], "all")


def test_means_over_seeds() -> None:
    (row,) = compare([make_result("all", s, [[s], [4], [4]]) for s in (1, 2, 3)], "all")
    assert row["micro_f1"] == pytest.approx({"mean": 0.5, "deviation": 0.25})
    assert "| all | 3 | 50.0 ± 25.0 |" in table([row])


@pytest.mark.slow
def test_a_killed_grid_resumes(grid: AblationConfig, tmp_path: Path) -> None:
    results = tmp_path / "killed"
    config = json.loads(grid.model_dump_json()) | {"results": str(results)}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "research.ablation", str(tmp_path / "grid.yaml")]
    command += ["--work", str(tmp_path / "unfinished")]
    process = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL)
    finished = results / "all-2.json"
    while not finished.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = os.stat(finished).st_mtime_ns
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    assert os.stat(finished).st_mtime_ns == before
    for result in run(grid, tmp_path / "work"):
        assert read_json(results / f"{result['cell']}-{result['seed']}.json") == result
