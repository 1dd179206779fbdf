"""``rukh audit``: verdicts on inputs whose worth is known, its reports, and bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rukh.audit.audit import audit
from rukh.audit.inputs import AuxFile
from rukh.audit.report import markdown
from rukh.cli import app
from rukh.errors import InputError

PAIRS = 600
LABELS = ("None", "/per/org/a", "/per/per/b", "/<script>alert(1)</script>")
SECRET = "whisper"


def labels(seed: int = 0) -> list[str]:
    return np.random.default_rng(seed).choice(LABELS, p=(0.6, 0.2, 0.1, 0.1), size=PAIRS).tolist()


def write_data(path: Path, relations: list[str], reverse: np.ndarray) -> Path:
    """Two pairs an image; every text contains a word that no report may show."""
    lines = []
    for i, relation in enumerate(relations):
        record = {
            "token": [f"a{i // 2}", SECRET, f"b{i // 2}"],
            "h": {"name": "h", "pos": [2, 3] if reverse[i] else [0, 1]},
            "t": {"name": "t", "pos": [0, 1] if reverse[i] else [2, 3]},
            "img_id": f"p{i // 2}.jpg",
            "relation": relation,
        }
        lines.append(f"{record!r}\n")
    path.write_text("".join(lines))
    return path


def write_inputs(folder: Path, relations: list[str]) -> list[AuxFile]:
    """For each keying an input that leaks, one that predicts nothing, and an informative one."""
    generator = np.random.default_rng(5)
    positive = [relation != "None" for relation in relations]
    # An image can give away only what holds for both of its pairs.
    both = [positive[i] and positive[i + 1] for i in range(0, PAIRS, 2)]
    words = generator.choice(list("abcdefgh"), size=(PAIRS, 4)).tolist()
    files: dict[str, dict[str, Any]] = {
        "row_leak": {
            str(i): [f"{i}_crop_{j}.png" for j in range(2 + p)] for i, p in enumerate(positive)
        },
        "row_nothing": {str(i): " ".join(several) for i, several in enumerate(words)},
        "row_hint": {str(i): bool(p ^ (generator.random() < 0.3)) for i, p in enumerate(positive)},
        "image_leak": {f"p{i}.jpg": "a wedding" if b else "a street" for i, b in enumerate(both)},
        "image_nothing": {f"p{i}.jpg": generator.random() for i in range(0, len(both), 2)},
        "crop_leak": {
            f"p{i}_crop_{j}.jpg": [0.1, 0.2] for i, b in enumerate(both) for j in range(1 + 2 * b)
        },
    }
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return [AuxFile(name, folder / f"{name}.json") for name in files]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data in which half of the pairs with a relation are reversed, and no others."""
    path = tmp_path_factory.mktemp("audit")
    positive = np.array(labels()) != "None"
    write_data(path / "train.txt", labels(), positive & (np.arange(PAIRS) % 4 < 2))
    return path


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    inputs = write_inputs(folder, labels())
    return audit(folder / "train.txt", "mnre", aux=inputs, permutations=9, folds=3)


def test_verdicts_are_what_the_inputs_are_worth(result: dict[str, Any]) -> None:
    inputs = {one["name"]: one for one in result["inputs"]}
    assert {name: one["verdict"] for name, one in inputs.items()} == {
        "argument order": "leak",
        "pairs a post": "none",
        "row_leak": "leak",
        "row_nothing": "none",
        "row_hint": "informative",
        "image_leak": "leak",
        "image_nothing": "none",
        "crop_leak": "leak",
    }
    assert all(one["keying"] == name.split("_")[0] for name, one in inputs.items() if one["file"])
    leak = inputs["row_leak"]
    assert leak["questions"]["relation or none"]["balanced_accuracy"]["low"] == 1
    assert [rule["text"] for rule in leak["rules"]] == ["items >= 3", "items < 3"]
    assert inputs["argument order"]["rules"][0]["text"] == "head after tail"
    assert inputs["image_nothing"]["coverage"] == 0.5


def test_inputs_do_not_predict_other_labels(tmp_path: Path) -> None:
    leaks = [file for file in write_inputs(tmp_path, labels()) if file.name.endswith("_leak")]
    reverse = np.random.default_rng(1).random(PAIRS) < 0.3
    data = write_data(tmp_path / "new.txt", labels(11), reverse)
    found = audit(data, "mnre", aux=leaks, permutations=9, folds=3, seed=1)
    assert {one["verdict"] for one in found["inputs"]} == {"none"}


def test_the_same_seed_gives_the_same_figures(folder: Path) -> None:
    runs = [audit(folder / "train.txt", "mnre", permutations=1, seed=4) for _ in range(2)]
    assert runs[0] | {"seconds": 0} == runs[1] | {"seconds": 0}


def test_giving_the_label_away_is_a_leak(tmp_path: Path) -> None:
    """Where a relation and none cannot be told apart, but the relations can."""
    generator = np.random.default_rng(0)
    hints = [r if r != "None" else str(generator.choice(LABELS[1:])) for r in labels()]
    (tmp_path / "types.json").write_text(json.dumps(dict(enumerate(hints))))
    data = write_data(tmp_path / "train.txt", labels(), np.zeros(PAIRS))
    aux = [AuxFile("types", tmp_path / "types.json")]
    one = audit(data, "mnre", aux=aux, permutations=1, folds=3)["inputs"][-1]
    assert one["verdict"] == "leak"
    assert [why.split(":")[0] for why in one["why"]] == ["which relation"]


def test_reports_escape_and_show_no_text(result: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(result))  # read from JSON, the result is as good
    changed["inputs"][2]["name"] = "<img onerror=alert(1)>"
    changed["inputs"][2]["rules"][0]["text"] = 'says "|"'
    text = markdown(changed, "rukh audit --data a.txt")
    assert "\n    rukh audit --data a.txt\n" in text
    assert "/\\<script\\>alert(1)" in text and 'says "\\|"' in text
    assert not re.search(r"(?<!\\)<", text)
    assert SECRET not in text + json.dumps(result)
    for title in ("Verdicts", "Rules", "Labels"):
        assert f"## {title}\n" in text


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    done = CliRunner().invoke(app, ["audit", *(str(a) for a in arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_command_prints_and_writes(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = (folder / "train.txt").read_text().splitlines(keepends=True)
    (small := tmp_path / "small.txt").write_text("".join(lines[:120]))
    (path := tmp_path / "hint.json").write_text(json.dumps({i: i % 3 for i in range(125)}))
    (image := tmp_path / "seen.json").write_text(json.dumps({"p0.jpg": 1, "elsewhere.jpg": 2}))
    data = ["--data", small, "--format", "mnre", "--permutations", 19, "--folds", 2]
    more = ["--aux", f"hint={path}:row", "--aux", f"seen={image}"]
    more += ["--other", f"all={folder / 'train.txt'}"]
    page, figures = tmp_path / "report.md", tmp_path / "figures.json"
    code, out, _ = run(*data, *more, "--report", page, "--json", figures)
    assert code == 0
    assert "| hint | unknown | row | 125 | 120 | 100.0 % |" in out
    assert "| small | all | sentences | 60 | 120 | 120 |" in out
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["hint", "seen"]
    assert "| hint | unknown | row |" in page.read_text()
    hint = json.loads(figures.read_text())["inputs"][-2]
    assert (hint["keying"], hint["keying_guessed"]) == ("row", False)
    assert (hint["keys"], hint["keys_matched"], hint["verdict"]) == (125, 120, "unknown")
    _, out, _ = run(*data, "--json", "-")
    assert json.loads(out)["rows"] == 120


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (["--aux", "x=bad.json"], "bad.json"),
        (["--aux", "x=gone.json"], "gone.json"),
        (["--aux", "x=good.json:rows"], "good.json:rows"),
        (["--aux", "x"], "--aux"),
        (["--aux", "x=good.json", "--aux", "x=good.json"], "--aux"),
        (["--aux", "argument order=good.json"], "--aux"),
        (["--other", "x"], "--other"),
        (["--other", "train=train.txt"], "--other"),
        (["--json", "train.txt"], "train.txt"),
        (["--nota", "Nune"], "did you mean 'None'"),
        (["--folds", "1000"], "--folds"),
        (["--data", "empty.txt"], "empty.txt"),
        (["--data", "gone.txt"], "gone.txt"),
        (["--format", "jsonl"], "train.txt:1: "),
    ],
)
def test_bad_input(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], where: str
) -> None:
    monkeypatch.chdir(folder)
    Path("bad.json").write_text('{"elsewhere.jpg": 1}')
    Path("good.json").write_text('{"0": 1}')
    Path("empty.txt").write_text("")
    with pytest.raises(InputError, match=re.escape(where)) as caught:
        run("--data", "train.txt", "--format", "mnre", *options)
    assert caught.value.exit_code == 2


def test_mnre_leaks(rukh_data: Path) -> None:
    aux = [
        AuxFile(name, rukh_data / "mnre" / "aux" / f"grounding_{name}_val.json")
        for name in ("crops", "phrases")
    ]
    found = audit(rukh_data / "mnre" / "val.txt", "mnre", aux=aux, permutations=1)
    inputs = {one["name"]: one for one in found["inputs"]}
    for name in ("argument order", "crops", "phrases"):
        assert inputs[name]["verdict"] == "leak", name
    # The crops alone separate 99.1 % of val, the order 99.5 % of the reversed pairs.
    crops = inputs["crops"]["questions"]["relation or none"]
    assert crops["accuracy"]["value"] == pytest.approx(0.991, abs=0.001)
    assert "items >= 3" in {rule["text"] for rule in inputs["crops"]["rules"]}
    order = next(rule for rule in inputs["argument order"]["rules"] if rule["relation"])
    assert (order["text"], order["leak"]) == ("head after tail", True)
    assert order["precision"] == pytest.approx(0.995, abs=0.001)
