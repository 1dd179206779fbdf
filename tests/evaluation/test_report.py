"""The report shows the metrics."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rukh.evaluation.metrics import OrderedDecision, evaluate_predictions
from rukh.evaluation.report import markdown
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
    assert cells(page, "micro-F1, given order") == ["42.9", f"{low} to {high}"]
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
    assert cells(page, "unrelated, predicted as related") == ["7"]
    assert cells(page, "best relation correct, of related pairs") == ["25.0", ""]
    assert "AUROC" not in page


def test_names_cannot_break_the_tables() -> None:
    name = "a|b\n*c* <i>"
    page = markdown(evaluated([name], [name, "None"], ["None", name]), "# <b>")
    assert r"| a\|b \*c\* \<i\> | 0.0 | 0.0 | 0.0 | 1 | 1 |" in page
    assert page.startswith("# \\# \\<b\\>\n")
