"""Grids: what is finished stays, what differs is refused, and the table's statistics."""

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
from research.ablation import run_records as cells
from research.ablation.grid import AblationConfig, compare, remarks, run, table
from test_relation_training import config, labelled  # noqa: F401

from rukh.data.readers import write
from rukh.errors import InputError, RukhError
from rukh.utils.files import read_json, write_json


@pytest.fixture
def grid(config: Path, tmp_path: Path) -> AblationConfig:  # noqa: F811
    write(labelled()[:20], tmp_path / "val.jsonl")
    return AblationConfig(
        task="ablation",
        base=config,
        changes=(f"data.val={tmp_path / 'val.jsonl'}", "training.epochs=1"),
        cells={"all": (), "classifier": ("relation.scorer=classification",)},
        seeds=(1, 2),
        reference="all",
        results=tmp_path / "results",
    )


def test_a_grid_is_run_once(
    grid: AblationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    real = ablation.train_relations

    def count(config: Any, out: Path) -> Any:  # noqa: F811
        trained.append(out.name)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(config, out)

    monkeypatch.setattr(ablation, "train_relations", count)
    with pytest.raises(KeyboardInterrupt):
        list(run(grid, tmp_path / "work"))
    assert trained == ["all-1", "all-2", "classifier-1"]
    results = list(run(grid, tmp_path / "work"))
    assert trained[3:] == ["classifier-1", "classifier-2"]
    assert [(r["cell"], r["seed"]) for r in results] == [
        ("all", 1), ("all", 2), ("classifier", 1), ("classifier", 2)
    ]  # fmt: skip
    for result in results:
        right, told, gold = (sum(map(int, row.split())) for row in result["counts"])
        f1 = 2 * right / (told + gold) if told + gold else 0
        assert f1 == pytest.approx(result["val"]["micro_f1_order_free"])
    kept = (grid.results / "all-1.json").read_text()
    assert "Rome" not in kept and len(kept) < 10_000  # no text of the data
    assert not list((tmp_path / "work").glob("*"))
    rows = compare(results, "all")
    assert [row["cell"] for row in rows] == ["all", "classifier"]
    assert len(table(rows).splitlines()) == 4
    older = read_json(grid.results / "all-1.json")
    del older["configuration"]["pair"]["residual"], older["configuration"]["mix"]
    write_json(older, grid.results / "all-1.json")  # as before these keys were there
    assert next(run(grid, tmp_path / "work"))["val"] == older["val"] and len(trained) == 5
    older["configuration"]["relations"] = "elsewhere/schema.yaml"  # as before it was looked into
    write_json(older, grid.results / "all-1.json")
    assert next(run(grid, tmp_path / "work"))["val"] == older["val"] and len(trained) == 5
    changed = grid.model_copy(update={"changes": (*grid.changes, "training.batch_size=5")})
    with pytest.raises(InputError, match="training.batch_size is 4 there and 5 here; mend"):
        next(run(changed, tmp_path / "work"))
    del older["configuration"]["data"]["train"]
    write_json(older, grid.results / "all-1.json")
    with pytest.raises(InputError, match="of another configuration"):
        next(run(grid, tmp_path / "work"))


def test_mistakes_are_told(grid: AblationConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'clasifier'.*classifier"):
        next(run(grid, tmp_path, ["clasifier"]))
    with pytest.raises(InputError, match="'al'.*all"):
        next(run(grid.model_copy(update={"reference": {"classifier": "al"}}), tmp_path))
    with pytest.raises(InputError, match="measured on data.val"):
        next(run(grid.model_copy(update={"changes": ()}), tmp_path))
    late = grid.model_copy(update={"cells": {**grid.cells, "last": ("training.epoch=1",)}})
    with pytest.raises(InputError, match="^cell last of .*training.epoch: no such key"):
        next(run(late, tmp_path, ["all"]))  # before the first cell is trained
    for change, why in (
        ("relation.scorer=classifer", "cell last: no head named 'classifer'; did you mean 'class"),
        ("pair.text_encoder=nope", "cell last: no text encoder 'nope'"),
        ("pair.init_from=nope", "cell last: no model 'nope'"),
    ):
        wrong = grid.model_copy(update={"cells": {**grid.cells, "last": (change,)}})
        with pytest.raises(RukhError, match=why):
            next(run(wrong, tmp_path))
    for text, why in (
        ("", "val.jsonl: holds no labelled pair"),
        ("{", "val.jsonl:1: not"),
        ((tmp_path / "val.jsonl").read_text().replace("lives_in", "lives_inn"), "'lives_inn'"),
    ):
        (tmp_path / "val.jsonl").write_text(text)
        with pytest.raises(InputError, match=why):
            next(run(grid, tmp_path))
    with pytest.raises(InputError, match="cannot write"):
        write(labelled()[:20], tmp_path / "val.jsonl")
        next(run(grid.model_copy(update={"results": Path("/proc/results")}), tmp_path))
    assert not (tmp_path / "results").exists()
    with pytest.raises(ValueError, match="a seed stands twice"):
        AblationConfig.model_validate(grid.model_dump() | {"seeds": [13, 13]})
    with pytest.raises(ValueError, match="a name of letters"):
        AblationConfig.model_validate(grid.model_dump() | {"cells": {"../a": []}})


def test_the_command_shows_what_is_finished(grid: AblationConfig, tmp_path: Path) -> None:
    from rukh.cli.study import app
    from typer.testing import CliRunner

    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(json.loads(grid.model_dump_json())))
    command = ["ablation", str(tmp_path / "grid.yaml"), "--finished"]
    nothing = CliRunner().invoke(app, command)
    assert isinstance(nothing.exception, InputError)
    assert "no cell is finished" in str(nothing.exception)
    finish(grid)
    shown = CliRunner().invoke(app, [*command, "--json", str(tmp_path / "rows.json")])
    assert shown.exit_code == 0 and "| classifier | 2 | 66.7 ± 0.0 |" in shown.stdout
    assert [row["cell"] for row in read_json(tmp_path / "rows.json")] == ["all", "classifier"]


def finish(grid: AblationConfig) -> None:
    """As if all cells had been trained."""
    for seed in grid.seeds:
        for cell in grid.cells:
            told = cells.identity(ablation._told(grid, cell, seed, False))
            kept = result(cell, seed, [[1, 1], [1, 2], [2, 1]]) | {"configuration": told}
            write_json(kept, grid.results / f"{cell}-{seed}.json")


def test_results_are_looked_at_before_they_are_shown(grid: AblationConfig, tmp_path: Path) -> None:
    finish(grid)
    (tmp_path / "val.jsonl").rename(tmp_path / "away.jsonl")  # the data need not be at hand
    assert len(list(run(grid, tmp_path, finished=True))) == 4
    path = grid.results / "classifier-2.json"
    good = read_json(path)
    for broken, why in (
        ({}, "is no result of a cell: Field required"),
        ([], "is no result of a cell"),
        (good | {"val": None}, "val: is no result of a cell"),
        (good | {"val": good["val"] | {"macro_f1": None}}, "val.macro_f1: is no result of a cell"),
        (good | {"counts": ["1 x", "1", "1"]}, "counts.0: is no result of a cell"),
        (good | {"counts": ["1 1", "1", "1"]}, "counts are of different numbers of posts"),
        (good | {"cell": "all"}, "the result is of all, seed 2"),
        (good | {"seed": 1}, "the result is of classifier, seed 1"),
        (good | {"val": good["val"] | {"micro_f1_order_free": 0.9}}, "0.9000, but 0.6667 by its"),
        (good | {"val": good["val"] | {"micro_f1": 0.9}}, "not that of its precision and recall"),
        (good | {"configuration": {}}, "of another configuration: it is none"),
    ):
        write_json(broken, path)
        with pytest.raises(InputError, match=why) as caught:
            list(run(grid, tmp_path, finished=True))
        assert str(path) in str(caught.value)
    write_json(good, path)
    schema = tmp_path / "schema.yaml"
    kept = schema.read_text()
    schema.write_text(kept + "# a remark\n")
    assert len(list(run(grid, tmp_path, finished=True))) == 4
    schema.write_text(kept.replace(" lives ", " dwells "))
    with pytest.raises(InputError, match="relations is 'schema.yaml .* there and 'schema.yaml"):
        list(run(grid, tmp_path, finished=True))
    schema.unlink()
    assert len(list(run(grid, tmp_path, finished=True))) == 4
    schema.write_text(kept)
    for changed in (
        {"base": tmp_path / "gone.yaml"},
        {"changes": (*grid.changes, "training.batch_size=5")},
        {"changes": (*grid.changes, f"data.val={tmp_path / 'other.jsonl'}")},
        {"cells": {**grid.cells, "classifier": ("relation.heads=classifier",)}},
    ):
        with pytest.raises(InputError, match="cannot read|another configuration|no such key"):
            list(run(grid.model_copy(update=changed), tmp_path, finished=True))


def result(cell: str, seed: int, counts: Any) -> dict[str, Any]:
    counts = np.asarray(counts)
    right, told, gold = counts.sum(1)
    f1 = 2 * right / (told + gold)
    figures: dict[str, float] = dict.fromkeys(
        ("micro_f1_order_free", "micro_f1", "micro_precision", "micro_recall", "macro_f1",
         "accuracy"), float(f1)
    )  # fmt: skip
    return {
        "cell": cell,
        "seed": seed,
        "fold": {"threshold": 0.5},
        "val": figures | {"pairs": 5, "positives": 3},
        "counts": [" ".join(map(str, row)) for row in counts],
    }


def test_what_a_table_cannot_tell_is_said() -> None:
    counts = [[1, 1], [1, 2], [2, 1]]
    both = [result(cell, seed, counts) for cell in ("all", "other") for seed in (1, 2)]
    assert remarks(compare(both, "all")) == []
    (alone,) = remarks(compare(both[1:3], "all"))
    assert alone.startswith("other is compared with nothing: no result of all with the same seed")
    (one,) = remarks(compare(both[:3], "all"))
    assert one.startswith("other and all have one seed in common")


def test_differences_against_a_slow_reference() -> None:
    generator = np.random.default_rng(3)
    gold = generator.integers(0, 3, 200)
    told = generator.integers(0, 3, 200)
    good = [np.minimum(gold, told), told, gold]
    bad = [np.minimum(gold, told) * generator.integers(0, 2, 200), told, gold]
    same = result("same", 1, good)
    rows = compare([result("all", 1, good), same, result("bad", 1, bad)], "all", draws=500)
    assert rows[0]["difference"] is None
    assert rows[1]["difference"] == 0 and rows[1]["p"] == 1
    f1 = [2 * sum(c[0]) / (sum(c[1]) + sum(c[2])) for c in (bad, good)]
    assert rows[2]["difference"] == pytest.approx(f1[0] - f1[1])
    low, high = rows[2]["difference_ci"]
    assert low < rows[2]["difference"] < high < 0 and rows[2]["p"] < 0.01
    paired = compare([result("bad", 1, bad), same], {"bad": "same"}, draws=500)
    assert [row["cell"] for row in paired if row["difference"] is not None] == ["bad"]
    assert paired[0]["difference"] == rows[2]["difference"]
    with pytest.raises(InputError, match="different posts"):
        compare([same, result("all", 1, np.array(good)[:, :9])], "all")


def test_means_over_seeds() -> None:
    results = [result("all", s, [[s], [4], [4]]) for s in (1, 2, 3)]
    (row,) = compare(results, "all")
    assert row["micro_f1"]["mean"] == pytest.approx(0.5)
    assert row["micro_f1"]["deviation"] == pytest.approx(0.25)
    assert "| all | 3 | 50.0 ± 25.0 |" in table([row])


@pytest.mark.slow
def test_a_killed_grid_goes_on(grid: AblationConfig, tmp_path: Path) -> None:
    plain = json.loads(grid.model_dump_json()) | {"results": str(tmp_path / "killed")}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(plain))
    command = [sys.executable, "-c", "from rukh.cli import main; main()", "study", "ablation",
               str(tmp_path / "grid.yaml")]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    finished = tmp_path / "killed" / "all-2.json"
    while not finished.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = os.stat(finished).st_mtime_ns
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert os.stat(finished).st_mtime_ns == before
    undisturbed = list(run(grid, tmp_path / "work"))
    for one in undisturbed:
        again = json.loads((tmp_path / "killed" / f"{one['cell']}-{one['seed']}.json").read_text())
        assert again == one
