"""Splits that share, rows that repeat or contradict, labels that are uneven."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rukh.audit.instances import Instance
from rukh.audit.overlap import imbalance, overlaps, repeats

ONE = Instance(0, "t", "a.jpg", "r", (0, 1), (2, 3), ("ann", "bob"), False)


def test_splits_share_sentences_pictures_and_pairs() -> None:
    other = replace(ONE, text="u", names=("bob", "ann"))
    far = Instance(1, "v", None, "r", (0, 1), (2, 3), ("x", "y"), False)
    found = overlaps({"train": [ONE, ONE, far], "val": [other, replace(far, text="w")]})
    shared = {row["kind"]: (row["shared"], row["first_rows"], row["second_rows"]) for row in found}
    # Rows without a picture share none.
    assert shared == {"sentences": (0, 0, 0), "pictures": (1, 2, 1), "entity pairs": (2, 3, 2)}
    assert found[1]["first_share"] == pytest.approx(2 / 3)
    assert overlaps({"train": [ONE]}) == []


def test_repeats() -> None:
    rows = [
        ONE,
        ONE,
        replace(ONE, label="None"),
        replace(ONE, head=ONE.tail, tail=ONE.head),
        replace(ONE, picture="b.jpg", label="s"),
    ]
    assert repeats(rows) == {
        "duplicates": 1,
        "contradictions": 1,
        "contradictory_rows": 3,
        "both_orders": 2,
        "contradictions_across_pictures": 1,
    }


def test_imbalance() -> None:
    rows = [replace(ONE, label=label) for label in ["None"] * 20 + ["r"] * 10 + ["s"] * 2]
    found = imbalance(rows, "None")
    assert [row["label"] for row in found["labels"]] == ["None", "r", "s"]
    assert (found["ratio"], found["rare"], found["nota_share"]) == (5, 1, 20 / 32)
    even = imbalance([replace(ONE, label=x) for x in ("None", "r")], "None")
    assert even["evenness"] == pytest.approx(1)
