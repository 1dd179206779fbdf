"""How well features predict a target, in cross-validation: a linear probe, and short rules.

Folds and resampling keep groups of pairs whole, so that no figure depends on having seen the same
image or text in training.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rukh.audit.dataset import RARE
from rukh.audit.features import FeatureMatrix
from rukh.audit.inputs import Floats, Ints
from rukh.errors import InputError
from rukh.utils.bootstrap import percentile_interval, resampled_sums

MIN_PRECISION, MIN_COVERAGE, MIN_LOWER_BOUND = 0.98, 0.05, 0.90
"""Precision, fraction of pairs, and lower bound of precision that make a rule a leak."""
MAX_CONDITIONS, BEAM_WIDTH = 3, 12
_Z = 1.959964


class Folds(NamedTuple):
    """The fold and the group of each pair, both of shape ``(pairs,)``."""

    fold: Ints
    group: Ints


def split_folds(labels: Sequence[str], group: Ints, folds: int, seed: int) -> Folds:
    """Split pairs into folds, stratified by label; InputError if there are too few groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    if (count := len(np.unique(group))) < folds:
        problem = f"{count} groups of pairs that share an image or a text cannot make {folds} folds"
        raise InputError(problem, field="--folds", fix="use fewer folds, or more data")
    target = np.unique(labels, return_inverse=True)[1]
    # Labels that are rarer than the folds cannot be stratified, and are merged.
    target = np.where(np.bincount(target)[target] < folds, target.max() + 1, target)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.zeros(len(target), dtype=np.int64)
    for i, (_, test) in enumerate(splitter.split(target, target, group)):
        fold[test] = i
    return Folds(fold, group)


def fit_probe(
    matrix: Any, unit: Ints, target: Ints, folds: Folds, permutations: int, seed: int
) -> dict[str, Any] | None:
    """Predict a target from an input's features alone, by logistic regression.

    Args:
        matrix, unit: Sparse features of shape ``(units, features)``, and the unit of each pair.
        target: The class of each pair, from 0; -1 excludes the pair.
        folds, seed: Of the cross-validation, and of permutations and bootstrap.
        permutations: How often the input is shuffled between its units, for the null.

    Returns:
        ``balanced_accuracy``, ``accuracy`` and ``macro_f1``, each a mapping of ``value`` and its
        95 % interval ``low, high``; ``majority``, the accuracy of the most frequent class; and
        ``null``, the balanced accuracy of shuffled inputs: ``mean``, ``high``, which 95 % of them
        do not exceed, and ``p``, the fraction that reaches the measured one (counted as well).
        None if fewer than two classes have :data:`RARE` pairs, or one fold holds all pairs.
    """
    from sklearn.metrics import balanced_accuracy_score

    used = target >= 0
    unit, target, fold, group = unit[used], target[used], folds.fold[used], folds.group[used]
    if (np.bincount(target) >= RARE).sum() < 2 or len(np.unique(fold)) < 2:
        return None
    result = _figures(target, _predict(matrix[unit], target, fold), group, seed)
    generator = np.random.default_rng(seed)
    null = []
    for _ in range(permutations):
        shuffled = generator.permutation(matrix.shape[0])[unit]
        predicted = _predict(matrix[shuffled], target, fold)
        null.append(balanced_accuracy_score(target, predicted))
    high = float(np.quantile(null, 0.95, method="higher"))
    p = float(np.mean([1, *(v >= result["balanced_accuracy"]["value"] for v in null)]))
    result["null"] = {"mean": float(np.mean(null)), "high": high, "p": p}
    result["majority"] = float(np.bincount(target).max() / len(target))
    return result


def _predict(x: Any, target: Ints, fold: Ints) -> Ints:
    """Predict each pair's class by a model trained on the other folds."""
    from sklearn.dummy import DummyClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    # Balanced as the measure is: otherwise a weak signal would never outweigh the majority class.
    # Few steps suffice: thresholds of one property are similar, so that convergence takes long.
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=30, tol=1e-3)
    if not x.shape[1] or any(len(np.unique(target[fold != i])) < 2 for i in np.unique(fold)):
        model = DummyClassifier()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(cross_val_predict(model, x, target, cv=PredefinedSplit(fold)))


def _figures(target: Ints, predicted: Ints, group: Ints, seed: int) -> dict[str, Any]:
    """All measures with intervals over resampled groups."""
    group = np.unique(group, return_inverse=True)[1]
    classes = np.eye(target.max() + 1)
    hits = (target == predicted)[:, None] * classes[target]
    counts = np.zeros((group.max() + 1, 3, len(classes)))
    np.add.at(counts, group, np.stack([hits, classes[predicted], classes[target]], axis=1))
    resampled = resampled_sums(counts.reshape(len(counts), -1), seed=seed)
    draws = _measures(resampled.reshape(-1, *counts.shape[1:]))
    figures = {}
    for name, value in _measures(counts.sum(axis=0)).items():
        low, high = percentile_interval(draws[name])
        figures[name] = {"value": float(value), "low": low, "high": high}
    return figures


def _measures(counts: Floats) -> dict[str, Floats]:
    """Measures from correct, predicted and gold counts, shape ``(..., 3, classes)``."""
    correct, predicted, gold = np.moveaxis(counts, -2, 0)
    present = np.where(gold > 0, gold, np.nan)  # a class that a resample lacks does not count
    return {
        "balanced_accuracy": np.nanmean(correct / present, axis=-1),
        "accuracy": correct.sum(axis=-1) / gold.sum(axis=-1),
        "macro_f1": np.nanmean(2 * correct / (predicted + present), axis=-1),
    }


def find_rules(
    features: FeatureMatrix, unit: Ints, is_relation: Ints, folds: Folds
) -> list[dict[str, Any]]:
    """Find the best rule for "a relation" and the best for "none", if any covers enough pairs.

    A probe's balanced accuracy can be low although an input gives a tenth of the labels away with
    certainty. A rule is chosen on the training folds and measured on the test fold.

    Returns:
        For each rule ``text`` and ``folds``: the conditions that were chosen most often, and how
        often; ``relation``: whether it predicts a relation or none; ``precision`` and its lower
        95 % bound ``low`` (Wilson, a group counts as one observation); ``coverage`` and ``rows``:
        the pairs that it covers; ``share``: the fraction of all pairs for which the prediction is
        right; and ``leak``.
    """
    x = features.matrix[unit].tocsc()
    texts = [text for column in zip(*features.conditions, strict=True) for text in column]
    rules = []
    for relation in (True, False):
        right = (is_relation == relation).astype(np.float64)
        covered = np.zeros(len(right), dtype=bool)
        chosen: Counter[tuple[int, ...]] = Counter()
        for i in np.unique(folds.fold):
            test = folds.fold == i
            if columns := _search(x[~test], right[~test]):
                chosen[columns] += 1
                covered |= test & _covers(x, columns)
        if not covered.any():
            continue
        columns, count = min(chosen.items(), key=lambda item: (-item[1], item[0]))
        precision, coverage, share = (float(v.mean()) for v in (right[covered], covered, right))
        low = float(wilson(precision, len(np.unique(folds.group[covered]))))
        # The bounds exclude rules of a few pairs, and rules that only name the frequent class.
        certain = precision >= MIN_PRECISION and low >= MIN_LOWER_BOUND and low > share
        rules.append(
            {
                "text": " and ".join(texts[column] for column in columns),
                "relation": relation,
                "folds": count,
                "precision": precision,
                "low": low,
                "coverage": coverage,
                "rows": int(covered.sum()),
                "share": share,
                "leak": certain and coverage >= MIN_COVERAGE,
            }
        )
    return rules


def wilson(share: Any, size: Any) -> Any:
    """Lower 95 % bound of a share that was observed ``size`` times."""
    spread = _Z * np.sqrt(share * (1 - share) / size + (_Z / (2 * size)) ** 2)
    return (share + _Z**2 / (2 * size) - spread) / (1 + _Z**2 / size)


def _search(x: Any, right: Floats) -> tuple[int, ...]:
    """Beam search for the conditions that are worth most; empty if none covers enough.

    A rule whose lower bound of precision reaches :data:`MIN_PRECISION` is worth 1 + its coverage,
    any other its bound. A column index past the width of ``x`` means the opposite condition.
    """
    beam: list[tuple[tuple[float, float], tuple[int, ...]]] = [((0.0, 0.0), ())]
    best = beam[0]
    for _ in range(MAX_CONDITIONS):
        longer = set()
        for _, columns in beam:
            covered = _covers(x, columns)
            held, hits = covered @ x, (covered * right) @ x
            size = np.concatenate([held, covered.sum() - held])
            correct = np.concatenate([hits, right[covered].sum() - hits])
            # A condition that holds for all covered pairs adds nothing.
            enough = np.flatnonzero((size >= MIN_COVERAGE * len(right)) & (size < covered.sum()))
            coverage = size[enough] / len(right)
            bound = wilson(correct[enough] / size[enough], size[enough])
            worth = np.where(bound >= MIN_PRECISION, 1 + coverage, bound)
            for i in np.lexsort((-enough, coverage, worth))[-BEAM_WIDTH:]:
                key = tuple(sorted((*columns, int(enough[i]))))
                longer.add(((float(worth[i]), float(coverage[i])), key))
        beam = sorted(longer)[-BEAM_WIDTH:]
        if beam and beam[-1][0] > best[0]:
            best = beam[-1]
    return best[1]


def _covers(x: Any, columns: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Shape ``(pairs,)``: where all conditions hold."""
    covered = np.ones(x.shape[0], dtype=bool)
    for column in columns:
        holds = x[:, [column % x.shape[1]]].toarray().ravel() > 0
        covered &= holds if column < x.shape[1] else ~holds
    return covered
