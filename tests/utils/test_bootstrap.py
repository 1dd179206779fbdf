"""The bootstrap against figures that are known."""

from __future__ import annotations

import numpy as np
import pytest

from rukh.utils.bootstrap import percentile_interval, resample_weights, resampled_sums


def test_every_resample_has_as_many_units() -> None:
    weights = list(resample_weights(7, draws=20, seed=1))
    assert len(weights) == 20 and all(one.shape == (7,) and one.sum() == 7 for one in weights)
    again = resample_weights(7, draws=20, seed=1)
    assert all((one == other).all() for one, other in zip(weights, again, strict=True))


def test_sums_of_a_constant_do_not_vary() -> None:
    totals = np.column_stack([np.ones(50), np.arange(50)])
    sums = resampled_sums(totals, draws=200)
    assert sums.shape == (200, 2) and (sums[:, 0] == 50).all()
    assert sums[:, 1].std() == pytest.approx(np.arange(50).std() * np.sqrt(50), rel=0.2)


def test_the_interval_covers_the_middle() -> None:
    assert percentile_interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
    assert percentile_interval(np.arange(101.0), level=0.5) == (25, 75)
