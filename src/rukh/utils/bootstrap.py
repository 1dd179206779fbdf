"""Bootstrap over posts or groups of posts, because pairs of one post are not independent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


def resample_weights(
    size: int, draws: int = 1000, seed: int | np.random.Generator = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield, for each resample, the number of times each unit is drawn, shape ``(size,)``."""
    generator = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.bincount(generator.integers(size, size=size), minlength=size)


def resampled_sums(
    totals: npt.NDArray[np.floating], draws: int = 1000, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Sum the counts ``(units, k)`` over the units of each resample, giving ``(draws, k)``.

    Calls with the same units and seed use the same resamples, which allows paired comparisons.
    """
    return np.stack([weights @ totals for weights in resample_weights(len(totals), draws, seed)])


def percentile_interval(
    values: npt.NDArray[np.floating], level: float = 0.95
) -> tuple[float, float]:
    """Return the central interval that contains a fraction ``level`` of the resampled values."""
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
