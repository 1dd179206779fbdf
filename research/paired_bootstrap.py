"""Comparison of two systems on the same posts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rukh.evaluation.metrics import f1_from_counts
from rukh.utils.bootstrap import percentile_interval, resample_weights


def paired_difference(
    ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64], draws: int = 2000
) -> dict[str, Any]:
    """Compare the mean micro-F1 of two systems on the same posts by a paired bootstrap.

    Args:
        ours, theirs: Sums of :func:`rukh.evaluation.metrics.positive_counts` per post,
            ``(runs, 3, posts)``. Both have the same posts and the same runs (random seeds), in the
            same order.
        draws: Number of resamples of posts and runs.

    Returns:
        ``difference``, its 95 % interval ``difference_ci``, and the two-sided p-value ``p``.
    """
    runs, _, posts = ours.shape
    generator = np.random.default_rng(0)
    post_weights = np.stack([np.ones(posts), *resample_weights(posts, draws, generator)])
    run_weights = np.stack([np.ones(runs), *resample_weights(runs, draws, generator)]) / runs
    mean, *resampled = (
        (f1_from_counts(ours @ post_weights.T, 1) - f1_from_counts(theirs @ post_weights.T, 1))
        * run_weights.T
    ).sum(0)
    values = np.array(resampled)
    return {
        "difference": float(mean),
        "difference_ci": list(percentile_interval(values)),
        "p": float(min(1.0, 2 * min((values <= 0).mean(), (values >= 0).mean()))),
    }
