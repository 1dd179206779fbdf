"""Cross-validated predictions of a target from features: a linear probe, and short rules.

Pairs that share an image or a text are in the same fold and are resampled together. Therefore, no
test pair shares its image or text with a training pair.
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
"""Minimum precision, coverage and lower bound of precision of a rule that counts as a leak."""
MAX_CONDITIONS, BEAM_WIDTH = 3, 12
_Z = 1.959964


class Folds(NamedTuple):
    """The fold and the group of each pair, both of shape ``(pairs,)``."""

    fold: Ints
    group: Ints


def split_folds(labels: Sequence[str], group: Ints, folds: int, seed: int) -> Folds:
    """Split pairs into folds stratified by label. Raises InputError if there are too few groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    if (count := len(np.unique(group))) < folds:
        problem = f"{count} groups of pairs that share an image or a text cannot make {folds} folds"
        raise InputError(problem, field="--folds", fix="use fewer folds, or more data")
    target = np.unique(labels, return_inverse=True)[1]
    # Labels with fewer pairs than folds cannot be stratified; treat them as one label.
    target = np.where(np.bincount(target)[target] < folds, target.max() + 1, target)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.zeros(len(target), dtype=np.int64)
    for i, (_, test) in enumerate(splitter.split(target, target, group)):
        fold[test] = i
    return Folds(fold, group)


def fit_probe(
    matrix: Any, unit: Ints, target: Ints, folds: Folds, permutations: int, seed: int
) -> dict[str, Any] | None:
    """Predict a target from the features of one input by logistic regression.

    Args:
        matrix, unit: Sparse features ``(units, features)``, and the index of each pair's unit.
        target: Class index of each pair; pairs with -1 are excluded.
        folds: Cross-validation folds.
        permutations: Number of times the units are shuffled, to get the null distribution.
        seed: Random seed of the permutations and the bootstrap.

    Returns:
        ``balanced_accuracy``, ``accuracy`` and ``macro_f1``, each with its ``value`` and its 95 %
        interval ``low, high``; ``majority``, the accuracy of always predicting the most frequent
        class; and ``null``, the null distribution of balanced accuracy: its ``mean``, its 95th
        percentile ``high``, and the p-value ``p`` of the measured value.
        None if fewer than two classes have :data:`RARE` pairs, or one fold holds all pairs.
    """
    from sklearn.metrics import balanced_accuracy_score
    from threadpoolctl import threadpool_limits

    used = target >= 0
    unit, target, fold, group = unit[used], target[used], folds.fold[used], folds.group[used]
    if (np.bincount(target) >= RARE).sum() < 2 or len(np.unique(fold)) < 2:
        return None
    generator = np.random.default_rng(seed)
    null = []
    # The problems are too small for several threads, which wait for each other on a busy machine.
    with threadpool_limits(1):
        result = _figures(target, _predict(matrix[unit], target, fold), group, seed)
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
    """Predict the class of each pair with a model trained on the other folds."""
    from sklearn.dummy import DummyClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    # The class weights match balanced accuracy: without them, a weak signal would never outweigh
    # the majority class. Convergence is slow with correlated features, and few steps suffice.
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=30, tol=1e-3)
    if not x.shape[1] or any(len(np.unique(target[fold != i])) < 2 for i in np.unique(fold)):
        model = DummyClassifier()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(cross_val_predict(model, x, target, cv=PredefinedSplit(fold)))


def _figures(target: Ints, predicted: Ints, group: Ints, seed: int) -> dict[str, Any]:
    """Compute all measures, each with a 95 % interval from a bootstrap over groups."""
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
    """Compute measures from the correct, predicted and gold counts, ``(..., 3, classes)``."""
    correct, predicted, gold = np.moveaxis(counts, -2, 0)
    present = np.where(gold > 0, gold, np.nan)  # ignore classes that a resample lacks
    return {
        "balanced_accuracy": np.nanmean(correct / present, axis=-1),
        "accuracy": correct.sum(axis=-1) / gold.sum(axis=-1),
        "macro_f1": np.nanmean(2 * correct / (predicted + present), axis=-1),
    }


def find_rules(
    features: FeatureMatrix, unit: Ints, is_relation: Ints, folds: Folds
) -> list[dict[str, Any]]:
    """Find the best rule that predicts "a relation", and the best that predicts "none".

    An input can reveal a tenth of the labels with certainty although the balanced accuracy of the
    probe is low; rules find this. Each rule is chosen on the training folds and measured on the
    test fold. A rule that covers too few pairs is not returned.

    Returns:
        For each rule: ``text``, the conditions chosen most often; ``folds``, the number of folds
        that chose them; ``relation``, whether the rule predicts a relation; ``precision`` and its
        lower 95 % bound ``low`` (Wilson, over groups); ``coverage`` and ``rows``, the fraction and
        number of covered pairs; ``share``, the precision of predicting the same for all pairs; and
        ``leak``, whether the rule counts as a leak.
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
        # Exclude rules that cover few pairs, and rules no better than a constant prediction.
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
    """Return the lower bound of the 95 % Wilson interval of a share of ``size`` observations."""
    spread = _Z * np.sqrt(share * (1 - share) / size + (_Z / (2 * size)) ** 2)
    return (share + _Z**2 / (2 * size) - spread) / (1 + _Z**2 / size)


def _search(x: Any, right: Floats) -> tuple[int, ...]:
    """Find the conjunction of conditions with the highest score by beam search.

    The score is the lower bound of precision or, if that reaches :data:`MIN_PRECISION`, 1 plus the
    coverage. A column index beyond the columns of ``x`` stands for the negated condition. The
    result is empty if no rule covers enough pairs.
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
    """Return whether all conditions hold for each pair, shape ``(pairs,)``."""
    covered = np.ones(x.shape[0], dtype=bool)
    for column in columns:
        holds = x[:, [column % x.shape[1]]].toarray().ravel() > 0
        covered &= holds if column < x.shape[1] else ~holds
    return covered
