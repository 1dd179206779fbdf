"""The study's figures against plain evaluation, its table and plot, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from research.robustness import study as study
from research.robustness.perturbations import Others
from research.robustness.report import markdown, png
from research.robustness.study import count, perturbed, robustness
from rukh.cli.study import app
from typer.testing import CliRunner

from rukh.data.readers import write
from rukh.errors import InputError
from rukh.evaluation.evaluate import evaluate_posts
from rukh.extractor import Extractor
from rukh.records import Post

RELATIONS = ("none", "near", "works_at", "employs", "lives_in")


@pytest.fixture
def labelled(tmp_path: Path) -> list[Post]:
    """Posts with words, pictures and objects, and all kinds of labels."""
    Image.effect_noise((40, 30), 60).convert("RGB").save(tmp_path / "p.png")
    out = []
    for i in range(20):
        name = ("Ann", "Bob", "Cleo", "Dan")[i % 4]
        out.append(
            Post(
                id=str(i),
                text=f"{name} works at Acme in Rome @{name.lower()}",
                caption=f"a hat {i}" if i % 2 else None,
                image=tmp_path / "p.png" if i % 3 == 0 else None,
                entities=[
                    {"id": "p", "start": 0, "end": len(name), "type": "PER"},
                    {"id": "o", "start": len(name) + 10, "end": len(name) + 14, "type": "ORG"},
                ],
                objects=[{"id": "h", "box": (0.1, 0.2, 0.5, 0.9)}],
                pairs=[
                    {"head": "p", "tail": "o", "relation": RELATIONS[i % 5]},
                    {"head": "p", "tail": "h", "relation": RELATIONS[(i + 2) % 5]},
                ],
            )
        )
    return out


@pytest.fixture
def extractor(tiny_model: Any) -> Extractor:
    return Extractor(tiny_model(vision=True, caption_words=10), threshold=0.2)


def test_rows_hold_what_evaluation_says(extractor: Extractor, labelled: list[Post]) -> None:
    result = robustness({"m": extractor}, labelled, only=("typos", "blur", "entity-swap"))
    (model,) = result["models"]
    assert result["pairs"] == 40 and [r["severity"] for r in model["rows"]] == [0, 1, 2, 3] * 3
    typed = extractor.assign_types(labelled)
    others = Others(typed)
    for row in model["rows"]:
        posts = perturbed(row["perturbation"], row["severity"], labelled, typed, others, 0)
        whole = evaluate_posts(extractor, posts)
        for figure in ("micro_f1", "micro_f1_order_free"):
            assert row[figure] == pytest.approx(whole[figure])
            if row["severity"]:
                clean = next(r for r in model["rows"] if r["perturbation"] == row["perturbation"])
                assert row[f"{figure}_difference"] == pytest.approx(row[figure] - clean[figure])
                low, high = row[f"{figure}_difference_ci"]
                assert low <= high
        assert row["changed"] == sum(a != b for a, b in zip(posts, labelled, strict=True))
    again = robustness({"m": extractor}, labelled, only=("typos", "blur", "entity-swap"))
    assert again["models"] == result["models"]


def test_turned_pairs_leave_the_order_free_figure(
    extractor: Extractor, labelled: list[Post]
) -> None:
    result = robustness({"m": extractor}, labelled, only=("reversed-pairs",))
    rows = result["models"][0]["rows"]
    assert rows[3]["changed"] == 20
    assert len({row["micro_f1_order_free"] for row in rows}) == 1
    # In the given order: turned pairs are right where the relation holds the other way round.
    swapped = perturbed("reversed-pairs", 3, labelled, labelled, Others(labelled), 0)
    counts = count(extractor, swapped)
    schema = extractor.schema
    positive = [schema.inverse_of(p.relation) for post in labelled for p in post.pairs or ()]
    assert counts[:, 1, 2].sum() == sum(label is not None for label in positive)


def test_unasked_types_are_told_anew(labelled: list[Post]) -> None:
    """Under noise the tagger must not keep the types that it told of the clean text."""
    post = labelled[0]
    bare = post.model_copy(
        update={"entities": tuple(e.model_copy(update={"type": None}) for e in post.entities)}
    )
    others = Others(labelled)
    (noisy,) = perturbed("typos", 3, [bare], [post], others, 0)
    assert [e.type for e in noisy.entities] == [None, None]
    (wrong,) = perturbed("wrong-types", 3, [bare], [post], others, 0)
    assert [e.type for e in post.entities] == ["PER", "ORG"]
    assert [e.type for e in wrong.entities] == ["ORG", "PER"]


def test_what_a_model_does_not_read_is_untouched(
    tiny_model: Any, labelled: list[Post], tmp_path: Path
) -> None:
    blind = Extractor(tiny_model(), threshold=0.2)
    result = robustness(
        {"blind": blind}, labelled, only=("blur", "caption-swap", "emoji", "foreign-pictures"),
        foreign=[tmp_path / "p.png"],
    )  # fmt: skip
    (model,) = result["models"]
    assert model["untouched"] == ["blur", "caption-swap", "foreign-pictures"]
    assert {row["perturbation"] for row in model["rows"]} == {"emoji"}


def test_foreign_pictures_are_measured_against_none(
    extractor: Extractor, labelled: list[Post], tmp_path: Path
) -> None:
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    result = robustness(
        {"m": extractor}, labelled, only=("foreign-pictures", "picture-removal"),
        foreign=[tmp_path / "red.png"],
    )  # fmt: skip
    rows = {(r["perturbation"], r["severity"]): r for r in result["models"][0]["rows"]}
    assert rows["foreign-pictures", 3]["changed"] == 20
    figure = "micro_f1_order_free"
    assert rows["foreign-pictures", 0][figure] == rows["picture-removal", 3][figure]


def test_pictures_that_cannot_be_read_are_counted(
    extractor: Extractor, tiny_model: Any, labelled: list[Post], tmp_path: Path
) -> None:
    (tmp_path / "junk.png").write_bytes(b"junk")
    bare = [post.model_copy(update={"image": None}) for post in labelled]
    broken = [p.model_copy(update={"image": tmp_path / "junk.png"}) for p in bare[:2]]
    blind = Extractor(tiny_model(), threshold=0.2)
    made = {"sees": extractor, "blind": blind}
    result = robustness(made, [*broken, *bare[2:]], only=("picture-removal",))
    assert [model["unread"] for model in result["models"]] == [2, 0]
    assert result["models"][0]["untouched"] == ["picture-removal"]


def test_the_command_writes_table_page_and_plot(
    tiny_model: Any, labelled: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"a": tiny_model(vision=True), "<b>$": tiny_model(relation={"head": "classifier"})}
    monkeypatch.setattr(
        Extractor, "from_pretrained", lambda name, **_: Extractor(made[name], threshold=0.2)
    )
    write(labelled, data := tmp_path / "posts.jsonl")
    page, figures = tmp_path / "r.html", tmp_path / "r.json"
    arguments = ["robustness", "--data", data, "--model", "a", "--model", "<b>$", "--json", figures]
    only = ["--only", "typos", "--only", "blur", "--only", "caption-swap"]
    told = CliRunner().invoke(app, list(map(str, [*arguments, *only, "--report", page])))
    assert told.exit_code == 0, told.output
    assert "| typos | " in told.stdout and "Nothing to change: blur, caption-swap." in told.stdout
    result = json.loads(figures.read_text())
    assert [m["model"] for m in result["models"]] == ["a", "<b>$"]
    unread = max(m["unread"] for m in result["models"])
    assert (f"the pictures of {unread} of 20 posts" in told.stderr) == bool(unread)
    assert markdown(result) in told.stdout
    text = page.read_text()
    assert "&lt;b&gt;$" in text and "<b>" not in text and "Acme" not in text
    assert not re.search(r'(?:src|href)="(?!data:image/png;base64)', text)
    plot = tmp_path / "r.png"
    told = CliRunner().invoke(app, list(map(str, [*arguments, *only, "--report", plot])))
    assert told.exit_code == 0 and Image.open(plot).size[0] > 500
    assert png(result)[:4] == b"\x89PNG"


def test_a_perturbation_that_is_named_twice_is_measured_once(
    extractor: Extractor, labelled: list[Post]
) -> None:
    once = robustness({"m": extractor}, labelled, only=("typos",))
    twice = robustness({"m": extractor}, labelled, only=("typos", "typos"))
    assert twice["models"] == once["models"]


def test_bad_input_is_told(extractor: Extractor, labelled: list[Post], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no perturbation named 'typo'.*typos"):
        robustness({"m": extractor}, labelled, only=("typo",))
    with pytest.raises(InputError, match="foreign-pictures needs pictures"):
        robustness({"m": extractor}, labelled, only=("foreign-pictures",))
    with pytest.raises(InputError, match="no labelled pair"):
        robustness({"m": extractor}, [Post(id="1", text="x")])
    with pytest.raises(InputError, match="no such folder"):
        study.pictures_in(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures in there"):
        study.pictures_in(tmp_path / "empty")
    data = tmp_path / "posts.jsonl"
    write(labelled, data)
    with pytest.raises(InputError, match=r"a report is \.html or \.png"):
        run = ["robustness", "--data", str(data), "--report", str(tmp_path / "r.pdf")]
        raise CliRunner().invoke(app, run).exception or AssertionError
