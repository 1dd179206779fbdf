"""A comparison whose difference is known."""

from __future__ import annotations

import numpy as np
import pytest
from research.paired_bootstrap import paired_difference

from rukh.evaluation.metrics import f1_from_counts


def test_a_paired_difference_sees_the_same_resamples() -> None:
    chance = np.random.default_rng(0)
    gold = chance.integers(1, 4, (2, 1, 200))
    right = np.minimum(gold, chance.integers(0, 3, gold.shape))
    theirs = np.concatenate([right, gold, gold], 1)
    same = {"difference": 0.0, "difference_ci": [0.0, 0.0], "p": 1.0}
    assert paired_difference(theirs, theirs, draws=100) == same
    ours = theirs.copy()
    ours[:, 0, :60] = 0
    found = paired_difference(ours, theirs)
    by_run = f1_from_counts(ours.sum(2)) - f1_from_counts(theirs.sum(2))
    assert found["difference"] == pytest.approx(by_run.mean())
    assert found["difference_ci"][0] < found["difference"] < found["difference_ci"][1] < 0
    assert found["p"] == 0
