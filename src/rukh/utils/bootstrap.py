"""The bootstrap: how much a figure depends on which posts happened to be drawn.

Pairs of one post share its words and image, so whole posts (or larger groups) are resampled, not
pairs.
"""

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
    """Sums of per-unit counts over resampled units.

    Args:
        totals: ``(units, k)`` counts of each unit.
        draws, seed: See :func:`resample_weights`; two runs over the same units with the same seed
            see the same resamples, and can be compared pairwise.

    Returns:
        ``(draws, k)``.
    """
    return np.stack([weights @ totals for weights in resample_weights(len(totals), draws, seed)])


def percentile_interval(
    values: npt.NDArray[np.floating], level: float = 0.95
) -> tuple[float, float]:
    """The central interval that covers ``level`` of the resampled values."""
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
