"""Mean, deviation and interval over models that differ in their seed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from research.seeds.__main__ import app
from research.seeds.study import seeds, table
from typer.testing import CliRunner

from rukh.errors import InputError
from rukh.utils.files import read_json, write_json

KEYS = ("micro_f1_order_free", "micro_f1", "macro_f1")


def write_model(folder: Path, value: float, **other_sets: float) -> str:
    """A model's folder with figures of ``val`` and other sets, all of one value each."""
    folder.mkdir()
    figures = {"val": dict.fromkeys(KEYS, value) | {"micro_f1_ci": [value - 0.04, value + 0.04]}}
    figures |= {name: dict.fromkeys(KEYS, figure) for name, figure in other_sets.items()}
    write_json({"task": "relations", "metrics": figures}, folder / "config.json")
    return str(folder)


def test_mean_and_interval(tmp_path: Path) -> None:
    models = [
        write_model(tmp_path / str(i), value, val_without_captions=0.5 + i / 10)
        for i, value in enumerate((0.4, 0.5, 0.6))
    ]
    with_captions, without = seeds(models)
    assert (with_captions["on"], without["on"]) == ("val", "val_without_captions")
    figure = with_captions["micro_f1"]
    assert (figure["mean"], figure["deviation"]) == pytest.approx((0.5, 0.1))
    # 4.303: Student's t with two degrees of freedom, from a table.
    assert figure["interval"][1] == pytest.approx(0.5 + 4.303 * 0.1 / math.sqrt(3), abs=1e-4)
    lines = table([with_captions, without]).splitlines()
    assert len(lines) == 2 + 2 * 4
    assert lines[2].endswith("| 40.0 | 40.0 [36.0, 44.0] | 40.0 |")
    assert lines[5].startswith("| val | all 3 | 50.0 ± 10.0 [25.2, 74.8] |")


def test_only_sets_that_all_were_scored_on(tmp_path: Path) -> None:
    one = write_model(tmp_path / "one", 0.1, val_without_captions=0.3)
    (row,) = seeds([one, write_model(tmp_path / "other", 0.9)])
    assert row["on"] == "val"
    assert row["micro_f1"]["interval"] == [0, 1]  # not beyond what is possible


def test_the_same_model_twice_cannot_be_compared(tmp_path: Path) -> None:
    one = write_model(tmp_path / "one", 0.4)
    (tmp_path / "link").symlink_to(one)
    for models in ([one], [one, one], [one, str(tmp_path / "link")]):
        with pytest.raises(InputError) as caught:
            seeds(models)
        assert caught.value.field == "MODEL"


@pytest.mark.parametrize(
    ("update", "key"),
    [
        ({"metrics": {}}, "val"),
        ({"pair": {"dim": 8}}, "pair"),
        ({"metrics": {"val": dict.fromkeys(KEYS, 0.5) | {"pairs": 9}}}, "val's pairs"),
    ],
)
def test_models_that_differ_in_more_than_their_seed(
    tmp_path: Path, update: dict[str, Any], key: str
) -> None:
    one, other = write_model(tmp_path / "one", 0.4), write_model(tmp_path / "other", 0.5)
    file = tmp_path / "other" / "config.json"
    write_json(read_json(file) | update, file)
    with pytest.raises(InputError, match=key) as caught:
        seeds([one, other])
    assert caught.value.where == str(file)


def test_the_command(tmp_path: Path) -> None:
    models = [write_model(tmp_path / str(i), 0.4 + i / 10) for i in range(2)]
    done = CliRunner().invoke(app, [*models, "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 0 and "all 2" in done.stdout
    assert read_json(tmp_path / "out.json") == json.loads(json.dumps(seeds(models)))
