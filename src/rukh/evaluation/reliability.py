"""How far a score can be trusted: calibration, and the trade of answers against mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """How often a positive's score is above a negative's, a tie counting half (the area under the
    ROC curve). Raises ValueError where either is empty.

    Example:
        >>> auroc([0.9, 0.4], [0.1, 0.4])
        0.875
    """
    if not (len(positive) and len(negative)):
        raise ValueError("both kinds are needed")
    order = np.sort(np.asarray(negative, dtype=np.float64))
    below = np.searchsorted(order, positive, "left")
    level = np.searchsorted(order, positive, "right")
    return float((below + level).mean() / 2 / len(order))


def calibration_error(scores: Sequence[float], right: Sequence[bool], bins: int = 15) -> float:
    """Expected calibration error: mean distance of score and accuracy over equally wide bins of the
    score, weighted by how many fall into each (Guo et al., ICML 2017).

    Args:
        scores: ``(Q,)`` probabilities.
        right: ``(Q,)`` whether what was said at that probability is right.

    Example:
        >>> round(calibration_error([0.9, 0.9, 0.1], [True, False, False]), 3)
        0.3
    """
    score, hit = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.float64)
    bin_ = np.minimum((score * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_, weights=hit - score, minlength=bins)
    return float(np.abs(gaps).sum() / max(1, len(score)))


def risk_coverage(
    scores: Sequence[float], right: Sequence[bool], points: int = 20
) -> list[dict[str, float]]:
    """The share of wrong answers among the surest, for growing shares of answers (El-Yaniv and
    Wiener, JMLR 2010).

    Returns:
        At most ``points`` mappings of ``coverage`` (share of all that is answered), ``risk`` (share
        of it that is wrong) and ``threshold`` (the least score that is answered).

    Example:
        >>> risk_coverage([0.9, 0.5], [True, False], points=1)
        [{'coverage': 1.0, 'risk': 0.5, 'threshold': 0.5}]
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    wrong = np.cumsum(~np.asarray(right, dtype=bool)[order])
    total = len(order)
    cuts = sorted({round(total * k / points) for k in range(1, points + 1)} - {0})
    return [
        {
            "coverage": cut / total,
            "risk": float(wrong[cut - 1] / cut),
            "threshold": float(np.asarray(scores)[order[cut - 1]]),
        }
        for cut in cuts
    ]
