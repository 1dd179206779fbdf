"""The report shows the metrics."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rukh.evaluation.metrics import OrderedDecision, evaluate_predictions
from rukh.evaluation.report import in_words, markdown, summary, training_summary
from rukh.schema.schema import RelationSchema


def evaluated(names: list[str], gold: list[str], predicted: list[str]) -> dict[str, Any]:
    relations = [{"name": name, "descriptions": ["of the two"]} for name in names]
    schema = RelationSchema.parse({"name": "made-up", "nota": "None", "relations": relations})
    forward = [OrderedDecision(label, 0.8) for label in predicted]
    backward = [OrderedDecision(None, 0.9)] * len(gold)
    posts = [str(i) for i in range(len(gold))]
    return evaluate_predictions(gold, forward, backward, posts, schema)


@pytest.fixture
def result() -> dict[str, Any]:
    gold = ["likes"] * 4 + ["made_by"] * 3 + ["None"] * 3
    predicted = ["likes", "likes", "made_by", "made_by", "made_by", "None", "likes"]
    return evaluated(["likes", "made_by"], gold, [*predicted, "None", "None", "likes"])


def cells(page: str, first: str) -> list[str]:
    """The other cells of the table row whose first cell is this."""
    for line in page.splitlines():
        row = [cell.strip() for cell in line.strip("|").split(" | ")]
        if row[0] == first:
            return row[1:]
    raise AssertionError(f"no row {first!r}")


def test_metrics_are_in_percent_with_their_intervals(result: dict[str, Any]) -> None:
    page = markdown(result, "A report")
    low, high = (f"{100 * bound:.1f}" for bound in result["micro_f1_ci"])
    # 3 right, 7 predicted, 7 gold.
    assert cells(page, "micro-F1, given order")[:2] == ["42.9", f"{low} to {high}"]
    assert cells(page, "accuracy, given order")[0] == "50.0"
    assert cells(page, "pairs") == ["10"]
    assert cells(page, "likes") == ["50.0", "50.0", "50.0", "4", "4"]


def test_confusions_are_the_most_frequent_mistakes(result: dict[str, Any]) -> None:
    rows = markdown(result, "A report").split("## Most frequent confusions")[1].split("\n")
    mistakes = [row for row in rows if row.startswith("| ") and "---" not in row][1:]
    assert mistakes[0] == r"| likes | made\_by | 2 |"
    assert len(mistakes) == 4
    assert not [row for row in mistakes if re.match(r"\| (\S+) \| \1 \|", row)]
    perfect = markdown(evaluated(["likes"], ["likes"], ["likes"]), "x")
    assert "|" not in perfect.split("## Most frequent confusions")[1]


def test_the_command_and_other_values(result: dict[str, Any]) -> None:
    result |= {"seconds": 12.5, "missing_images": 1234, "mistakes": dict.fromkeys(
        ("right", "reversed", "confused", "missed", "invented", "invented_reversed"), 7
    ), "relation_accuracy": 0.25, "relation_auroc": None}  # fmt: skip
    page = markdown(result, "A report", "rukh evaluate \\\n  --model mnre")
    assert "\n    rukh evaluate \\\n      --model mnre\n" in page
    assert cells(page, "seconds") == ["12.5"]
    assert cells(page, "missing images") == ["1,234"]
    assert cells(page, "unrelated, but an answer (spurious)") == ["7"]
    assert cells(page, "best relation correct")[0] == "25.0"
    assert "AUROC" not in page


def test_figures_in_words_add_up() -> None:
    counts = {"right": 34, "reversed": 3, "confused": 4, "missed": 19, "invented": 5}
    words = in_words(counts)
    for figure in ("34 of 60", "(56.7 %)", "answer for 19", "12 of 46", "(26.1 %)"):
        assert figure in words
    for kind in ("5 spurious", "4 wrong relation", "3 wrong direction"):
        assert kind in words
    assert "%" not in in_words(dict.fromkeys(counts, 0))  # nothing to divide by


def test_a_summary_is_in_percent_and_aligned(result: dict[str, Any]) -> None:
    counts = {"right": 3, "reversed": 0, "confused": 2, "missed": 2, "invented": 1}
    result |= {"seconds": 1.5, "mistakes": counts, "expected_calibration_error": 0.125}
    first, words, empty, *table = summary(result).splitlines()
    assert "10 pairs" in first and in_words(counts) in words and not empty
    notes = [re.split(" {2,}", line)[-1] for line in table[1:]]
    assert len({line.index(note) for line, note in zip(table[1:], notes, strict=True)}) == 1
    assert sum(" 42.9 " in line for line in table) == 4 and " 12.5 " in table[-1]
    assert not re.search(r"\b0\.\d\d", "".join(table)), "a fraction"


def test_a_training_is_summarised_in_percent(result: dict[str, Any]) -> None:
    val = result | {
        "mistakes": dict.fromkeys(("right", "reversed", "confused", "missed", "invented"), 1)
    }
    dev = {"order_free": 0.514, "given_order": 0.557, "threshold": 0.3}
    lines = training_summary({"dev": dev, "step": 7, "val": val, "val_without_captions": val})
    assert "51.4 %" in lines and "55.7 %" in lines and "0.3" not in lines
    assert len(lines.splitlines()) == 5
    assert "73.1 %" in training_summary({"dev_span_f1": 0.731, "test_span_f1": 0.8})


def test_names_cannot_break_the_tables() -> None:
    name = "a|b\n*c* <i>"
    page = markdown(evaluated([name], [name, "None"], ["None", name]), "# <b>")
    assert r"| a\|b \*c\* \<i\> | 0.0 | 0.0 | 0.0 | 1 | 1 |" in page
    assert page.startswith("# \\# \\<b\\>\n")
