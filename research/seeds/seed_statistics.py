"""Mean and deviation of one figure over several runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

FIGURES = ("micro_f1_order_free", "micro_f1", "macro_f1")
"""The figures that are compared over several runs."""


class SeedStatistics(TypedDict):
    """Attributes:
    mean: Over the runs.
    deviation: Sample standard deviation of the runs; None for a single one.
    """

    mean: float
    deviation: float | None


def seed_statistics(values: Sequence[float]) -> SeedStatistics:
    """Mean and deviation of at least one value.

    Example:
        >>> seed_statistics([0.5, 0.7])
        {'mean': 0.6, 'deviation': 0.14142135623730948}
    """
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation}


def percent(figure: SeedStatistics) -> str:
    """In per cent, with the deviation if there is one.

    Example:
        >>> percent(seed_statistics([0.5, 0.7])), percent(seed_statistics([0.5]))
        ('60.0 ± 14.1', '50.0')
    """
    deviation = figure["deviation"]
    return f"{100 * figure['mean']:.1f}" + (
        "" if deviation is None else f" ± {100 * deviation:.1f}"
    )
