"""Calibration error, AUROC and risk against coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from rukh.evaluation.reliability import auroc, calibration_error, risk_coverage

SCORES = st.lists(st.integers(0, 10).map(lambda k: k / 10), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_auroc_is_scikit_learns(positive: list[float], negative: list[float]) -> None:
    labels = [1] * len(positive) + [0] * len(negative)
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(labels, positive + negative))


def test_auroc_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        auroc([], [0.1])


def test_what_is_right_as_often_as_it_says_has_no_calibration_error() -> None:
    generator = np.random.default_rng(0)
    scores = generator.uniform(size=20000)
    right = generator.uniform(size=20000) < scores
    assert calibration_error(scores.tolist(), right.tolist()) < 0.02
    assert calibration_error(scores.tolist(), (~right).tolist()) > 0.3
    assert calibration_error([1.0, 1.0], [True, True]) == 0  # a score of 1 has a bin


@given(SCORES, st.integers(1, 20))
def test_risk_grows_from_the_surest_to_all(scores: list[float], points: int) -> None:
    right = [score > 0.5 for score in scores]
    curve = risk_coverage(scores, right, points)
    assert curve[-1]["coverage"] == 1
    assert curve[-1]["risk"] == pytest.approx(sum(not r for r in right) / len(right))
    risks = [point["risk"] for point in curve]
    assert risks == sorted(risks)  # the scores are in the order of being right
    for point in curve:
        assert sum(s >= point["threshold"] for s in scores) >= round(
            point["coverage"] * len(scores)
        )
