"""Differences of F1 between runs over the same posts, by a bootstrap of posts and of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def positives(gold: Sequence[str], told: Iterable[str | None], nota: str | None) -> list[int]:
    """Right, told and gold positives of some pairs.

    Example:
        >>> positives(["a", "b", "None"], ["a", None, "b"], "None")
        [1, 2, 2]
    """
    sums = [0, 0, 0]
    for label, said in zip(gold, told, strict=True):
        sums[0] += label == said and label != nota
        sums[1] += said not in (None, nota)
        sums[2] += label != nota
    return sums


def paired(
    ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64], draws: int = 2000
) -> dict[str, Any]:
    """The difference of mean F1, with its interval and p-value; both see the same resamples.

    Posts are resampled, and where there are several runs, such as of several seeds, the runs as
    well: of two or three runs that says roughly what another one may change, of one nothing.

    Args:
        ours, theirs: Counts ``(runs, 3, posts)``: right, told and gold positives of each post; the
            runs are paired as well.
        draws: How many resamples.

    Returns:
        ``difference``, ``difference_ci`` (95 %) and ``p`` (two-sided).
    """
    runs, posts = len(ours), ours.shape[-1]
    generator = np.random.default_rng(0)
    weights = _resamples(generator, draws, posts)
    chosen = _resamples(generator, draws, runs) / runs
    found = ((f1(ours @ weights.T) - f1(theirs @ weights.T)) * chosen.T).sum(0)
    below, above = (found[1:] <= 0).mean(), (found[1:] >= 0).mean()
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return {
        "difference": float(found[0]),
        "difference_ci": [float(low), float(high)],
        "p": float(min(1.0, 2 * min(below, above))),
    }


def _resamples(generator: np.random.Generator, draws: int, size: int) -> npt.NDArray[np.float64]:
    """How often each of ``size`` things is drawn, ``(1 + draws, size)``; at first, each once."""
    counts = np.ones((1 + draws, size))
    for row in counts[1:]:
        row[:] = np.bincount(generator.integers(size, size=size), minlength=size)
    return counts


def f1(sums: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """F1 ``(runs, ...)`` of sums ``(runs, 3, ...)``, right, told and gold; 0 for nothing."""
    right, told, gold = np.moveaxis(sums, 1, 0)
    both = told + gold
    f1s = np.zeros(both.shape)
    np.divide(2 * right, both, out=f1s, where=both > 0)
    return f1s
