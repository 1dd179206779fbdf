"""How well conditions predict a target: folds, a linear model, intervals, a permutation null.

The model is logistic regression over true-or-false conditions. Its penalty is fixed and was not
tuned. Everything is measured out of fold; folds and resampling keep whole groups together, so that
no figure rests on having seen the same picture before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rukh.audit.instances import Ints
from rukh.errors import InputError, MissingDependency

Floats: TypeAlias = npt.NDArray[np.float64]

STRENGTH = 0.1
"""Inverse strength of the penalty (``C`` of scikit-learn)."""
STEPS = 30
"""Steps of its solver, part of the model: thresholds of one trait are alike, and on them it would
go on for long without predicting better."""
DRAWS = 1000
LEVEL = 0.95


class Figure(NamedTuple):
    """One measured figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Null(NamedTuple):
    """What the same model reaches on inputs that were shuffled between units.

    Attributes:
        mean: Mean over the permutations.
        high: The value that 95 % of them do not pass; where it falls between two, the greater.
        p: Share of permutations that reach the measured figure, the measured one counted among
            them.
    """

    mean: float
    high: float
    p: float


class ProbeResult(NamedTuple):
    """How well an input predicts one target out of fold.

    Attributes:
        balanced_accuracy: Mean recall over the classes; chance and the majority have 1 / classes.
        accuracy, macro_f1: As always; F1 is averaged over all classes.
        null: Of ``balanced_accuracy``.
        majority: Accuracy of always saying the commonest class.
    """

    balanced_accuracy: Figure
    accuracy: Figure
    macro_f1: Figure
    null: Null
    majority: float


def split_folds(target: npt.NDArray[Any], groups: Ints, folds: int, seed: int) -> Ints:
    """Shape ``(rows,)``: each row's fold; groups stay whole, classes are spread evenly.

    Raises:
        InputError: There are fewer groups than folds.
        MissingDependency: scikit-learn is not installed.
    """
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError:
        raise MissingDependency("scikit-learn", "study") from None

    count = len(np.unique(groups))
    if count < folds:
        raise InputError(
            f"{count} groups of rows that share no picture cannot make {folds} folds",
            field="--folds",
            fix="give fewer folds, or more data",
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.zeros(len(target), dtype=np.int64)
    codes = np.unique(target, return_inverse=True)[1]
    # Classes rarer than the folds are spread as well as they can be; a warning helps nobody.
    merged = np.where(np.bincount(codes)[codes] < folds, codes.max() + 1, codes)
    for i, (_, held) in enumerate(splitter.split(np.zeros(len(target)), merged, groups)):
        fold[held] = i
    return fold


def fit_probe(
    holds: Any,
    unit: Ints,
    target: Ints,
    groups: Ints,
    fold: Ints,
    *,
    permutations: int,
    seed: int,
    rows: Ints | None = None,
) -> ProbeResult:
    """Predict a target from an input's conditions alone.

    Args:
        holds: Sparse, shape ``(units, conditions)``.
        unit: Shape ``(rows,)``, indices into ``holds``.
        target: Shape ``(rows,)``, class indices from 0.
        groups, fold: Shape ``(rows,)``.
        permutations: How often the input is shuffled between its units, for the null.
        seed: Of the shuffles and the bootstrap.
        rows: Indices of the rows to be asked; by default all.
    """
    asked = np.arange(len(target)) if rows is None else rows
    unit, target, groups, fold = unit[asked], target[asked], groups[asked], fold[asked]
    holds = holds.tocsr()
    generator = np.random.default_rng(seed)
    predicted = _predict(holds[unit], target, fold)
    shuffled = []
    for _ in range(permutations):
        order = generator.permutation(holds.shape[0])
        guess = _predict(holds[order[unit]], target, fold)
        shuffled.append(float(_balanced(*_tally(target, guess))[0]))
    figures = _figures(target, predicted, groups, generator)
    measured = figures["balanced_accuracy"].value
    reached = sum(value >= measured for value in shuffled)
    null = Null(
        mean=float(np.mean(shuffled)),
        high=float(np.quantile(shuffled, LEVEL, method="higher")),
        p=(1 + reached) / (1 + permutations),
    )
    majority = float(np.bincount(target).max() / len(target))
    return ProbeResult(**figures, null=null, majority=majority)


def _predict(x: Any, target: Ints, fold: Ints) -> Ints:
    """Each row's class, by a model that saw only the other folds."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    predicted = np.zeros_like(target)
    for held in np.unique(fold):
        seen, asked = fold != held, fold == held
        classes = np.unique(target[seen])
        if x.shape[1] == 0 or len(classes) == 1:
            predicted[asked] = np.bincount(target[seen]).argmax()
            continue
        # Balanced, for balanced accuracy is what is asked: else the majority would hide a weak
        # signal behind a threshold that no row passes.
        model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=STEPS, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the steps are bounded on purpose
            predicted[asked] = model.fit(x[seen], target[seen]).predict(x[asked])
    return predicted


def _tally(target: Ints, predicted: Ints) -> tuple[Floats, Floats, Floats]:
    """Right, predicted and gold rows of each class, each of shape ``(1, classes)``."""
    size = int(target.max()) + 1
    return tuple(  # type: ignore[return-value]
        np.bincount(codes, minlength=size)[None].astype(np.float64)
        for codes in (target[target == predicted], predicted, target)
    )


def _balanced(correct: Floats, _: Floats, gold: Floats) -> Floats:
    recall = np.full_like(gold, np.nan)
    np.divide(correct, gold, out=recall, where=gold > 0)
    return np.asarray(np.nanmean(recall, axis=-1))


def _accuracy(correct: Floats, _: Floats, gold: Floats) -> Floats:
    return np.asarray(correct.sum(axis=-1) / gold.sum(axis=-1))


def _macro_f1(correct: Floats, said: Floats, gold: Floats) -> Floats:
    f1s = np.full_like(gold, np.nan)  # a class that a resample lacks is not counted in it
    np.divide(2 * correct, said + gold, out=f1s, where=gold > 0)
    return np.asarray(np.nanmean(f1s, axis=-1))


_MEASURES: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "balanced_accuracy": _balanced,
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
}


def _figures(
    target: Ints, predicted: Ints, groups: Ints, generator: np.random.Generator
) -> dict[str, Figure]:
    """All measures with percentile intervals over resampled groups."""
    index = np.unique(groups, return_inverse=True)[1]
    count, size = int(index.max()) + 1, int(target.max()) + 1
    sums = np.zeros((3, count, size))
    hit = target == predicted
    for i, (codes, rows) in enumerate(
        ((target[hit], index[hit]), (predicted, index), (target, index))
    ):
        np.add.at(sums[i], (rows, codes), 1.0)
    drawn = np.stack(
        [np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(DRAWS)]
    ).astype(np.float64)
    resampled = [drawn @ part for part in sums]
    whole = _tally(target, predicted)
    tail = (1 - LEVEL) / 2
    figures = {}
    for name, measure in _MEASURES.items():
        low, high = np.quantile(measure(*resampled), [tail, 1 - tail])
        figures[name] = Figure(float(measure(*whole)[0]), float(low), float(high))
    return figures
