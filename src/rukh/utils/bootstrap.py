"""The bootstrap over posts, or groups of them, as the pairs of one post are not independent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


def resample_weights(
    size: int, draws: int = 1000, seed: int | np.random.Generator = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """How often each of ``size`` units is drawn, ``(size,)``, for each of ``draws`` resamples."""
    generator = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.bincount(generator.integers(size, size=size), minlength=size)


def resampled_sums(
    totals: npt.NDArray[np.floating], draws: int = 1000, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Sums ``(draws, k)`` of the counts ``(units, k)`` of units over resampled units.

    Two calls with the same units and seed see the same resamples, and can be compared pairwise.
    """
    return np.stack([weights @ totals for weights in resample_weights(len(totals), draws, seed)])


def percentile_interval(
    values: npt.NDArray[np.floating], level: float = 0.95
) -> tuple[float, float]:
    """The central interval that covers ``level`` of the resampled values."""
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
