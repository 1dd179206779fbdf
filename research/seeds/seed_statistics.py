"""One figure over several runs: its mean and deviation, and how tables show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

FIGURES = ("micro_f1_order_free", "micro_f1", "macro_f1")
"""The figures that are told over several runs."""


class Spread(TypedDict):
    """Attributes:
    mean: Over the runs.
    deviation: Of the runs, with one degree of freedom less; None for a single one.
    """

    mean: float
    deviation: float | None


def spread(values: Sequence[float]) -> Spread:
    """Mean and deviation of at least one value.

    Example:
        >>> spread([0.5, 0.7])
        {'mean': 0.6, 'deviation': 0.14142135623730948}
    """
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation}


def percent(figure: Spread) -> str:
    """In per cent, with the deviation where there is one.

    Example:
        >>> percent(spread([0.5, 0.7])), percent(spread([0.5]))
        ('60.0 ± 14.1', '50.0')
    """
    deviation = figure["deviation"]
    told = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * figure['mean']:.1f}{told}"
