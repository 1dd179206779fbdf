"""One training with several seeds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from research.seeds.__main__ import app
from research.seeds.study import seeds, table
from typer.testing import CliRunner

from rukh.errors import InputError
from rukh.utils.files import read_json, write_json

KEYS = ("micro_f1_order_free", "micro_f1", "macro_f1")


def model(folder: Path, value: float, **more: float) -> str:
    folder.mkdir()
    told = dict.fromkeys(KEYS, value)
    figures = {"val": told | {"micro_f1_ci": [value - 0.04, value + 0.04]}}
    figures |= {name: dict.fromkeys(KEYS, figure) for name, figure in more.items()}
    write_json({"task": "relations", "figures": figures}, folder / "config.json")
    return str(folder)


def test_the_mean_and_its_interval(tmp_path: Path) -> None:
    runs = [
        model(tmp_path / str(i), value, val_without_captions=0.5 + i / 10)
        for i, value in enumerate((0.4, 0.5, 0.6))
    ]
    with_captions, bare = seeds(runs)
    assert (with_captions["on"], bare["on"]) == ("val", "val_without_captions")
    figure = with_captions["micro_f1"]
    assert (figure["mean"], figure["deviation"]) == pytest.approx((0.5, 0.1))
    # 4.303: Student's t of two degrees of freedom, from a table.
    assert figure["interval"][1] == pytest.approx(0.5 + 4.303 * 0.1 / math.sqrt(3), abs=1e-4)
    lines = table([with_captions, bare]).splitlines()
    assert len(lines) == 2 + 2 * 4
    assert lines[2].endswith("| 40.0 | 40.0 [36.0, 44.0] | 40.0 |")
    assert lines[5].startswith("| val | all 3 | 50.0 ± 10.0 [25.2, 74.8] |")


def test_sets_that_some_were_not_measured_on_are_left_out(tmp_path: Path) -> None:
    runs = [model(tmp_path / "a", 0.4, val_without_captions=0.3), model(tmp_path / "b", 0.5)]
    assert [row["on"] for row in seeds(runs)] == ["val"]


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = model(tmp_path / "one", 0.4)
    for runs in ([one], [one, one]):
        with pytest.raises(InputError, match="two or more"):
            seeds(runs)
    (tmp_path / "bare").mkdir()
    write_json({"task": "relations", "figures": {}}, tmp_path / "bare" / "config.json")
    with pytest.raises(InputError, match=r"config\.json: holds no figures of val; train with"):
        seeds([one, str(tmp_path / "bare")])


def test_models_that_differ_in_more_than_their_seed(tmp_path: Path) -> None:
    one, other = model(tmp_path / "one", 0.4), model(tmp_path / "other", 0.5)
    config = read_json(tmp_path / "other" / "config.json")
    write_json(config | {"pair": {"dim": 8}}, tmp_path / "other" / "config.json")
    with pytest.raises(InputError, match=r"other/config\.json: differs from .*one in pair; name"):
        seeds([one, other])
    config["figures"]["val"]["pairs"] = 9
    write_json(config, tmp_path / "other" / "config.json")
    with pytest.raises(InputError, match="in val's pairs;"):
        seeds([one, other])
    (tmp_path / "again").symlink_to(tmp_path / "one")
    with pytest.raises(InputError, match="two or more"):
        seeds([one, str(tmp_path / "again")])


def test_no_interval_leaves_what_there_is(tmp_path: Path) -> None:
    (row,) = seeds([model(tmp_path / "one", 0.1), model(tmp_path / "other", 0.9)])
    assert row["micro_f1"]["interval"] == [0, 1]


def test_the_command(tmp_path: Path) -> None:
    runs = [model(tmp_path / str(i), 0.4 + i / 10) for i in range(2)]
    done = CliRunner().invoke(app, [*runs, "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 0 and "all 2" in done.stdout
    assert read_json(tmp_path / "out.json") == json.loads(json.dumps(seeds(runs)))
