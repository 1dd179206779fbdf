"""Rules: at most three conditions under which a row nearly always is, or is not, a relation.

A model's balanced accuracy can be low where an input gives away a tenth of the rows for certain, so
such rules are sought by themselves. A rule is chosen on the training folds and measured on the fold
that was held out; what is reported is the sum over the folds, that is, of the choosing.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rukh.audit.features import Feature
from rukh.audit.instances import Ints
from rukh.audit.linear_probe import Floats

PRECISION = 0.98
COVERAGE = 0.05
LEAST = 0.90
BEAM = 12
LENGTH = 3
_Z = 1.959964


class Rule(NamedTuple):
    """A rule and how it fared on rows that it was not chosen on.

    Attributes:
        text: Its conditions in words: those chosen most often over the folds.
        relation: Whether it says that the row is a relation, or that it is none.
        folds: In how many folds just these conditions were chosen.
        precision: Out-of-fold share of the covered rows of which it is right.
        low: Lower 95 % bound of that (Wilson), a group of rows counted as one observation.
        coverage: Share of all rows that it covers.
        rows: How many rows that is.
        share: Share of all rows of which saying it always would be right.
        leak: Whether it gives rows away: precision 0.98 or more on 5 % of rows or more. The lower
            bound has to reach 0.90 and to pass ``share``, so that neither a handful of rows nor a
            rare class makes a leak.
    """

    text: str
    relation: bool
    folds: int
    precision: float
    low: float
    coverage: float
    rows: int
    share: float
    leak: bool


class _Chosen(NamedTuple):
    """A candidate: columns of the doubled matrix, and what it is worth in training."""

    columns: tuple[int, ...]
    worth: tuple[float, float]


def find_rules(
    conditions: list[Feature], holds: Any, unit: Ints, relation: Ints, groups: Ints, fold: Ints
) -> list[Rule]:
    """The best rule for "a relation" and the best for "none", where any covers enough rows.

    Args:
        conditions: What the columns of ``holds`` say.
        holds: Sparse, shape ``(units, conditions)``.
        unit, groups, fold: Shape ``(rows,)``.
        relation: Shape ``(rows,)``; 1 where the row is a relation.
    """
    x = holds.tocsr()[unit]
    rules = []
    for wanted in (1, 0):
        right = (relation == wanted).astype(np.float64)
        covered = np.zeros(len(right), dtype=bool)
        chosen: Counter[tuple[int, ...]] = Counter()
        for held in np.unique(fold):
            seen, asked = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
            best = _search(x[seen], right[seen])
            if best is not None:
                chosen[best.columns] += 1
                covered[asked] = _covers(x[asked], best.columns)
        if covered.any():
            columns, folds = min(chosen.items(), key=lambda item: (-item[1], item[0]))
            text = " and ".join(
                conditions[c % len(conditions)].text(c < len(conditions)) for c in columns
            )
            rules.append(_measure(text, bool(wanted), folds, covered, right, groups))
    return rules


def _measure(
    text: str,
    relation: bool,
    folds: int,
    covered: npt.NDArray[np.bool_],
    right: Floats,
    groups: Ints,
) -> Rule:
    precision, coverage = float(right[covered].mean()), float(covered.mean())
    low = float(wilson(precision, len(np.unique(groups[covered]))))
    share = float(right.mean())
    leak = precision >= PRECISION and coverage >= COVERAGE and low >= LEAST and low > share
    rows = int(covered.sum())
    return Rule(text, relation, folds, precision, low, coverage, rows, share, leak)


def wilson(share: Any, size: Any) -> Any:
    """Lower 95 % bound of a share that was observed ``size`` times.

    Example:
        >>> round(wilson(1.0, 100), 3)
        0.963
    """
    middle = share + _Z**2 / (2 * size)
    spread = _Z * np.sqrt(share * (1 - share) / size + (_Z / (2 * size)) ** 2)
    return (middle - spread) / (1 + _Z**2 / size)


def _search(x: Any, right: Floats) -> _Chosen | None:
    """A beam search for the rule worth most on these rows; None where none covers enough.

    A rule whose lower bound of precision reaches 0.98 is worth its coverage, and more than any
    other; below that, rules are worth their bound. Longer rules must be worth more than shorter.
    """
    beam: list[_Chosen] = [_Chosen((), (0.0, 0.0))]
    best: _Chosen | None = None
    for _ in range(LENGTH):
        grown: dict[tuple[int, ...], _Chosen] = {}
        for start in beam:
            rows = np.flatnonzero(_covers(x, start.columns))
            for candidate in _extend(x[rows], right[rows], start, len(right)):
                grown.setdefault(candidate.columns, candidate)
        beam = sorted(grown.values(), key=lambda c: (c.worth, [-i for i in c.columns]))[-BEAM:]
        if not beam:
            break
        if best is None or beam[-1].worth > best.worth:
            best = beam[-1]
    return best


def _extend(x: Any, right: Floats, start: _Chosen, rows: int) -> list[_Chosen]:
    """A rule with one more condition, or its opposite: the best of those that cover enough."""
    width = x.shape[1]
    held, hit = np.asarray(x.sum(axis=0)).ravel(), np.asarray(x.T @ right).ravel()
    size = np.concatenate([held, len(right) - held])
    correct = np.concatenate([hit, right.sum() - hit])
    # One that covers all of these rows adds nothing.
    enough = np.flatnonzero((size >= COVERAGE * rows) & (size < len(right)))
    bound = wilson(correct[enough] / size[enough], size[enough])
    coverage = size[enough] / rows
    sure = bound >= PRECISION
    worth = list(zip(np.where(sure, 1.0 + coverage, bound), coverage, strict=True))
    order = sorted(range(len(enough)), key=lambda i: (worth[i], -i))[-BEAM:]
    found = []
    for i in order:
        column = int(enough[i])
        if column % width not in {c % width for c in start.columns}:
            columns = tuple(sorted((*start.columns, column)))
            found.append(_Chosen(columns, (float(worth[i][0]), float(worth[i][1]))))
    return found


def _covers(x: Any, columns: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Shape ``(rows,)``: where all conditions hold; columns past the width mean the opposite."""
    covered = np.ones(x.shape[0], dtype=bool)
    for column in columns:
        held = x[:, [column % x.shape[1]]].toarray().ravel() > 0
        covered &= held if column < x.shape[1] else ~held
    return covered
