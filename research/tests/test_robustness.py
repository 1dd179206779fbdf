"""The robustness study against plain evaluation, its reports, and bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from research.robustness.__main__ import app
from research.robustness.perturbations import Others
from research.robustness.report import markdown
from research.robustness.report import write as write_report
from research.robustness.study import count_positives, images_in, perturb, robustness
from typer.testing import CliRunner

from rukh.data.readers import write
from rukh.errors import InputError
from rukh.evaluation.evaluate import evaluate_posts
from rukh.extractor import Extractor
from rukh.records import Post

RELATIONS = ("none", "near", "works_at", "employs", "lives_in")


@pytest.fixture
def posts(tmp_path: Path) -> list[Post]:
    """Posts with text, images and objects, and all labels."""
    Image.effect_noise((40, 30), 60).convert("RGB").save(tmp_path / "p.png")
    posts = []
    for i in range(20):
        name = ("Ann", "Bob", "Cleo", "Dan")[i % 4]
        posts.append(
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
    return posts


@pytest.fixture
def extractor(tiny_model: Any) -> Extractor:
    return Extractor(tiny_model(vision=True, caption_words=10), threshold=0.2)


def test_rows_agree_with_evaluation(extractor: Extractor, posts: list[Post]) -> None:
    result = robustness({"m": extractor}, posts, only=("typos", "typos", "blur"))
    (model,) = result["models"]
    assert result["pairs"] == 40 and [r["severity"] for r in model["rows"]] == [0, 1, 2, 3] * 2
    typed = extractor.assign_types(posts)
    others = Others(typed)
    clean: dict[str, float] = {}
    for row in model["rows"]:
        changed = perturb(row["perturbation"], row["severity"], posts, typed, others, 0)
        assert row["changed"] == sum(a != b for a, b in zip(changed, posts, strict=True))
        figures = evaluate_posts(extractor, changed)
        for key in ("micro_f1", "micro_f1_order_free"):
            assert row[key] == pytest.approx(figures[key])
            if not row["severity"]:
                clean[key] = row[key]
                continue
            assert row[f"{key}_difference"] == pytest.approx(row[key] - clean[key])
            low, high = row[f"{key}_difference_ci"]
            assert low <= high
    again = robustness({"m": extractor}, posts, only=("typos",))
    assert again["models"][0]["rows"] == model["rows"][:4]


def test_reversed_pairs_leave_the_order_free_figure(
    extractor: Extractor, posts: list[Post]
) -> None:
    rows = robustness({"m": extractor}, posts, only=("reversed-pairs",))["models"][0]["rows"]
    assert rows[3]["changed"] == 20
    assert len({row["micro_f1_order_free"] for row in rows}) == 1
    # In the given order, a reversed pair's gold label is the inverse, if there is one.
    swapped = perturb("reversed-pairs", 3, posts, posts, Others(posts), 0)
    inverses = [extractor.schema.inverse_of(p.relation) for q in posts for p in q.pairs or ()]
    num_gold = sum(label is not None for label in inverses)
    assert count_positives(extractor, swapped)[:, 1, 2].sum() == num_gold


def test_assigned_types_are_not_kept_under_noise(posts: list[Post]) -> None:
    """The tagger types the noisy text, not the clean one."""
    typed = posts[0]
    entities = tuple(e.model_copy(update={"type": None}) for e in typed.entities)
    untyped = typed.model_copy(update={"entities": entities})
    (noisy,) = perturb("typos", 3, [untyped], [typed], Others(posts), 0)
    assert [e.type for e in noisy.entities] == [None, None]
    (wrong,) = perturb("wrong-types", 3, [untyped], [typed], Others(posts), 0)
    assert [e.type for e in typed.entities] == ["PER", "ORG"]
    assert [e.type for e in wrong.entities] == ["ORG", "PER"]


def test_inputs_that_a_model_does_not_read_are_untouched(
    tiny_model: Any, posts: list[Post], tmp_path: Path
) -> None:
    only = ("blur", "caption-swap", "emoji", "foreign-pictures")
    text_only = {"t": Extractor(tiny_model(), threshold=0.2)}
    (model,) = robustness(text_only, posts, only=only, foreign=[tmp_path / "p.png"])["models"]
    assert model["untouched"] == ["blur", "caption-swap", "foreign-pictures"]
    assert {row["perturbation"] for row in model["rows"]} == {"emoji"}


def test_foreign_images_are_compared_with_none(
    extractor: Extractor, posts: list[Post], tmp_path: Path
) -> None:
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    only, foreign = ("foreign-pictures", "picture-removal"), [tmp_path / "red.png"]
    (model,) = robustness({"m": extractor}, posts, only=only, foreign=foreign)["models"]
    rows = {(r["perturbation"], r["severity"]): r for r in model["rows"]}
    assert rows["foreign-pictures", 3]["changed"] == 20
    figure = "micro_f1_order_free"
    assert rows["foreign-pictures", 0][figure] == rows["picture-removal", 3][figure]


def test_unreadable_images_are_counted(
    extractor: Extractor, tiny_model: Any, posts: list[Post], tmp_path: Path
) -> None:
    (tmp_path / "junk.png").write_bytes(b"junk")
    images = [tmp_path / "junk.png"] * 2 + [None] * 18
    broken = [p.model_copy(update={"image": i}) for p, i in zip(posts, images, strict=True)]
    extractors = {"vision": extractor, "text": Extractor(tiny_model(), threshold=0.2)}
    result = robustness(extractors, broken, only=("picture-removal",))
    assert [model["unread"] for model in result["models"]] == [2, 0]
    assert result["models"][0]["untouched"] == ["picture-removal"]


def test_the_command_writes_table_page_and_plot(
    tiny_model: Any, posts: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    models = {
        "a": tiny_model(vision=True),
        "<b>$": tiny_model(relation={"scorer": "classification"}),
    }
    monkeypatch.setattr(
        Extractor, "from_pretrained", lambda name, **_: Extractor(models[name], threshold=0.2)
    )
    write(posts, data := tmp_path / "posts.jsonl")
    page, figures = tmp_path / "r.html", tmp_path / "r.json"
    command = ["--data", data, "--model", "a", "--model", "<b>$", "--json", figures]
    command += ["--only", "typos", "--only", "blur", "--only", "caption-swap"]
    done = CliRunner().invoke(app, list(map(str, [*command, "--report", page])))
    assert done.exit_code == 0, done.output
    result = json.loads(figures.read_text())
    assert [model["model"] for model in result["models"]] == ["a", "<b>$"]
    assert result["models"][1]["untouched"] == ["blur", "caption-swap"]
    assert markdown(result) in done.stdout and "| typos | " in done.stdout
    text = page.read_text()
    assert "&lt;b&gt;$" in text and "<b>" not in text and "Acme" not in text
    assert not re.search(r'(?:src|href)="(?!data:image/png;base64)', text)
    write_report(result, tmp_path / "r.png")
    assert Image.open(tmp_path / "r.png").size[0] > 500


def test_bad_input(extractor: Extractor, posts: list[Post], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        robustness({"m": extractor}, posts, only=("typo",))
    assert "'typos'" in str(caught.value.fix)
    with pytest.raises(InputError, match="foreign-pictures"):
        robustness({"m": extractor}, posts, only=("foreign-pictures",))
    with pytest.raises(InputError):  # no labelled pair
        robustness({"m": extractor}, [Post(id="1", text="x")])
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "gone", tmp_path / "empty"):
        with pytest.raises(InputError) as caught:
            images_in(folder)
        assert caught.value.where == str(folder)
    write(posts, data := tmp_path / "posts.jsonl")
    report = tmp_path / "r.pdf"
    error = CliRunner().invoke(app, ["--data", str(data), "--report", str(report)]).exception
    assert isinstance(error, InputError) and error.where == str(report)
