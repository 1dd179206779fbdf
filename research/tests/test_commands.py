"""``rukh study audit``: verdicts on inputs whose worth is known, its reports, and bad input."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rukh.audit.aux_inputs import AuxFile
from rukh.cli.study import app
from typer.testing import CliRunner

from rukh.audit.audit import audit
from rukh.audit.report import html
from rukh.errors import InputError, MissingDependency

ROWS, POSTS = 900, 450
LABELS = ("None", "/per/org/a", "/per/per/b", "/<script>alert(1)</script>")
SECRET = "whisper"


def labels(seed: int = 0) -> list[str]:
    return np.random.default_rng(seed).choice(LABELS, p=(0.6, 0.2, 0.1, 0.1), size=ROWS).tolist()


def write_data(path: Path, relations: list[str], late: Callable[[int], bool]) -> Path:
    """Two rows a picture; every text holds a word that no report may show."""
    with open(path, "w") as stream:
        for i, relation in enumerate(relations):
            spans = [[0, 1], [2, 3]]
            head, tail = reversed(spans) if late(i) else spans
            record = {
                "token": [f"a{i // 2}", SECRET, f"b{i // 2}"],
                "h": {"name": "h", "pos": head},
                "t": {"name": "t", "pos": tail},
                "img_id": f"p{i // 2}.jpg",
                "relation": relation,
            }
            stream.write(repr(record) + "\n")
    return path


def write_inputs(folder: Path, relations: list[str]) -> list[AuxFile]:
    """For each keying an input that leaks and one that says nothing, and an informative one."""
    generator = np.random.default_rng(5)
    positive = [relation != "None" for relation in relations]
    # A picture can give away only what holds for both of its rows.
    both = [positive[2 * i] and positive[2 * i + 1] for i in range(POSTS)]
    boxes = [generator.random(4).tolist() for _ in range(POSTS)]
    files: dict[str, dict[str, Any]] = {
        "row_leak": {
            str(i): [f"{i}_crop_{j}.png" for j in range(2 + p)] for i, p in enumerate(positive)
        },
        "row_nothing": {
            str(i): " ".join(generator.choice(list("abcdefgh"), size=4)) for i in range(ROWS)
        },
        "row_hint": {
            str(i): bool(p ^ (generator.random() < 0.3)) for i, p in enumerate(positive)
        },
        "image_leak": {f"p{i}.jpg": "a wedding" if b else "a street" for i, b in enumerate(both)},
        "image_nothing": {f"p{i}.jpg": float(generator.random()) for i in range(0, POSTS, 2)},
        "crop_leak": {f"p{i}_crop_{j}.jpg": boxes[i] for i in range(POSTS)
                      for j in range(1 + 2 * both[i])},
        "crop_nothing": {f"p{i}_crop_{j}.jpg": boxes[i] for i in range(POSTS)
                         for j in range(int(generator.integers(4)))},
    }  # fmt: skip
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return [AuxFile(name, folder / f"{name}.json") for name in files]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data whose pairs are turned round, half of the time, only where they have a relation."""
    path = tmp_path_factory.mktemp("audit")
    relations = labels()
    generator = np.random.default_rng(3)
    turned = [r != "None" and generator.random() < 0.5 for r in relations]
    write_data(path / "train.txt", relations, turned.__getitem__)
    return path


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    inputs = write_inputs(folder, labels())
    return audit(folder / "train.txt", "mnre", aux=inputs, permutations=19)


def test_verdicts_are_what_the_inputs_are_worth(result: dict[str, Any]) -> None:
    assert {one["name"]: one["verdict"] for one in result["inputs"]} == {
        "argument order": "leak",
        "pairs a post": "none",
        "row_leak": "leak",
        "row_nothing": "none",
        "row_hint": "informative",
        "image_leak": "leak",
        "image_nothing": "none",
        "crop_leak": "leak",
        "crop_nothing": "none",
    }
    found = {one["name"]: one for one in result["inputs"]}
    for name, one in found.items():
        assert bool(one["why"]) == (one["verdict"] != "none"), name
        if one["file"]:
            assert one["keying"] == name.split("_")[0]
    assert found["row_leak"]["questions"]["relation or none"]["balanced_accuracy"]["low"] == 1
    texts = [rule["text"] for rule in found["row_leak"]["rules"]]
    assert texts == ["items >= 3", "items <= 2"]
    assert found["argument order"]["rules"][0]["text"] == "head after tail"
    assert found["image_nothing"]["coverage"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("seed", [1, 2])
def test_other_labels_leave_nothing(folder: Path, tmp_path: Path, seed: int) -> None:
    """The very inputs that leak say nothing of labels that were drawn anew."""
    inputs = write_inputs(tmp_path, labels())
    generator = np.random.default_rng(seed)
    data = write_data(tmp_path / "new.txt", labels(seed + 10), lambda i: generator.random() < 0.3)
    found = audit(data, "mnre", aux=[inputs[0], inputs[3]], permutations=19, seed=seed)
    assert {one["verdict"] for one in found["inputs"]} == {"none"}


def test_a_label_given_away_is_a_leak(tmp_path: Path) -> None:
    """Where NOTA cannot be told from a relation, but which relation can."""
    relations = labels()
    generator = np.random.default_rng(0)
    told = [r if r != "None" else generator.choice(LABELS[1:]) for r in relations]
    (tmp_path / "types.json").write_text(json.dumps({str(i): r for i, r in enumerate(told)}))
    data = write_data(tmp_path / "train.txt", relations, lambda i: False)
    found = audit(data, "mnre", aux=[AuxFile("types", tmp_path / "types.json")], permutations=19)
    one = found["inputs"][-1]
    assert one["verdict"] == "leak"
    assert [why.split(":")[0] for why in one["why"]] == ["which relation"]


def test_the_same_seed_gives_the_same_figures(folder: Path) -> None:
    runs = [audit(folder / "train.txt", "mnre", permutations=19, seed=4) for _ in range(2)]
    for run in runs:
        run.pop("seconds")
    assert runs[0] == runs[1]


def test_the_report_escapes_and_tells_no_text(result: dict[str, Any]) -> None:
    named = json.loads(json.dumps(result))  # what is read back from JSON will do
    named["data"] = "<b>&.txt"
    named["inputs"][2]["name"] = "<img onerror=alert(1)>"
    named["inputs"][2]["rules"][0]["text"] = 'says "<i>"'
    page = html(named, "rukh study audit --data '<b>'")
    for tag in ("<script", "<img", "<i>", "<b>&"):
        assert tag not in page
    assert "&lt;script&gt;alert(1)" in page
    assert SECRET not in page + json.dumps(result)
    assert not re.search(r"(?:src|href)=|url\(|@import", page)  # it loads nothing
    charts = re.findall(r"<svg.*?</svg>", page, re.S)
    drawn = [one for one in result["inputs"] if one["shares"]]  # all posts have two pairs
    assert len(drawn) == len(result["inputs"]) - 1
    assert len(charts) == 2 + len(drawn) + 1
    for chart in charts:
        ElementTree.fromstring(chart)


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    done = CliRunner().invoke(app, ["audit", *(str(a) for a in arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_command_prints_and_writes(folder: Path, tmp_path: Path) -> None:
    (path := folder / "hint.json").write_text(json.dumps({str(i): i % 7 for i in range(ROWS + 5)}))
    (image := folder / "seen.json").write_text(json.dumps({"p0.jpg": 1, "elsewhere.jpg": 2}))
    data = ["--data", folder / "train.txt", "--format", "mnre", "--permutations", 19]
    more = ["--aux", f"hint={path}:row", "--aux", f"seen={image}"]
    more += ["--other", f"again={folder / 'train.txt'}"]
    page, figures = tmp_path / "report.html", tmp_path / "figures.json"
    code, out, err = run(*data, *more, "--report", page, "--json", figures)
    assert code == 0
    assert "argument order: LEAK\n" in out
    assert "LEAK rule: head after tail -> a relation, precision 1.000" in out
    assert (
        "hint: UNKNOWN  (keyed by row; 900 of its 905 keys belong to the data and cover 100.0 % of"
        in out
    )
    assert "seen: UNKNOWN  (keyed by image, guessed; 1 of its 2 keys belong to the data and" in out
    assert "warning: hint: 5 of its 905 row numbers lie beyond the data's last row, 899; is" in err
    assert "warning: seen: its keys belong to 0.2 % of the rows; is it the file of another" in err
    assert "train and again share 450 sentences: 900 and 900 rows" in out
    assert "judging hint ..." in err
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert '<span class="unknown">' in page.read_text()
    hint = json.loads(figures.read_text())["inputs"][-2]
    assert (hint["keys"], hint["keys_matched"]) == (ROWS + 5, ROWS)
    _, out, _ = run(*data, "--json", "-")
    assert json.loads(out)["rows"] == ROWS


def test_bad_input_is_told(folder: Path, tmp_path: Path) -> None:
    data = ["--data", folder / "train.txt", "--format", "mnre"]
    (tmp_path / "other.json").write_text('{"elsewhere.jpg": 1}')
    (tmp_path / "empty.txt").write_text("")
    for arguments, why in (
        ([*data, "--aux", f"x={tmp_path / 'other.json'}"], "none of its 1 keys"),
        ([*data, "--aux", f"x={tmp_path / 'gone.json'}"], "cannot read"),
        ([*data, "--aux", "x"], "not NAME=FILE"),
        ([*data, "--aux", f"x={folder / 'train.txt'}:rows"], "no keying 'rows'"),
        ([*data, "--aux", "x=a.json", "--aux", "x=b.json"], "two inputs have the same name, 'x'"),
        ([*data, "--aux", "argument order=a.json"], "two inputs have the same name, 'argument"),
        ([*data, "--other", "x"], "not NAME=FILE"),
        ([*data, "--json", "/proc/figures.json"], "cannot write there"),
        ([*data, "--report", tmp_path], "it is a folder"),
        ([*data, "--json", folder / "train.txt"], "it is the input"),
        ([*data, "--other", f"train={folder / 'train.txt'}"], "names two splits"),
        ([*data, "--nota", "Nune"], "did you mean 'None'"),
        ([*data, "--folds", "1000"], "cannot make 1000 folds"),
        (["--data", tmp_path / "empty.txt", "--format", "mnre"], "holds no labelled pair"),
        (["--data", tmp_path / "gone.txt"], "cannot read"),
        (["--data", folder / "train.txt"], "train.txt:1: "),
    ):
        with pytest.raises(InputError, match=why) as caught:
            run(*arguments)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("module", ["scipy.sparse", "sklearn.model_selection"])
def test_without_the_extra_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=r"scikit-learn is not .*'rukh\[study\]'"):
        run("--data", folder / "train.txt", "--format", "mnre")


def test_mnre_is_as_leaky_as_it_is(rukh_data: Path) -> None:
    mnre = rukh_data / "mnre"
    found = audit(
        mnre / "val.txt",
        "mnre",
        aux=[
            AuxFile(name, mnre / "aux" / f"grounding_{name}_val.json")
            for name in ("crops", "phrases")
        ],
        permutations=19,
    )
    inputs = {one["name"]: one for one in found["inputs"]}
    for name in ("argument order", "crops", "phrases"):
        assert inputs[name]["verdict"] == "leak", name
    # anchors: the crops alone tell 99.1 % of val apart, the order 99.5 % of those turned round.
    crops = inputs["crops"]["questions"]["relation or none"]
    assert crops["accuracy"]["value"] == pytest.approx(0.991, abs=0.001)
    assert "items >= 3" in {rule["text"] for rule in inputs["crops"]["rules"]}
    order = next(rule for rule in inputs["argument order"]["rules"] if rule["relation"])
    assert (order["text"], order["leak"]) == ("head after tail", True)
    assert order["precision"] == pytest.approx(0.995, abs=0.001)
