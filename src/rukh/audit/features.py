"""Binary features of any JSON value, such as ``items >= 3`` or ``says "person"``.

With threshold features, a linear model can fit any step function of a value, and rules built from
the features are readable. The features do not use labels, so they are computed once for all folds.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from rukh.audit.inputs import ABSENT, AuditInput, Floats, Ints
from rukh.errors import InputError

MAX_PROPERTIES, MAX_THRESHOLDS, MAX_NGRAMS, MAX_DEPTH = 512, 20, 2000, 32
"""Maximum per input: numeric properties, thresholds per property, n-grams, and nesting depth."""
MIN_UNITS = 5
"""Minimum number of units with, and of units without, a feature; other features are dropped."""

# Chinese and Japanese text is split into characters, because it has no spaces.
_CHARACTERS = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_CHARACTERS}]|[^\W_{_CHARACTERS}]+")
_PUNCTUATION = re.compile(r"[^\w\s\ud800-\udfff]")
_SHORT_NUMBER = re.compile(r"(?<!\w)\d{1,3}(?!\w)")


class FeatureMatrix(NamedTuple):
    """The features of one input.

    Attributes:
        matrix: Sparse binary matrix of shape ``(units, features)``.
        conditions: Description of each feature and of its negation: ``items >= 3``, ``items < 3``.
        left_out: Number of numeric properties ignored because of :data:`MAX_PROPERTIES`.
    """

    matrix: Any
    conditions: list[tuple[str, str]]
    left_out: int


def extract_features(audit_input: AuditInput) -> FeatureMatrix:
    """Extract binary features from the values of an input. Identical features are kept only once.

    Raises InputError if a value is not of a JSON type, or is nested too deeply.
    """
    from scipy.sparse import csc_array

    size = len(audit_input.values)
    columns: dict[bytes, tuple[tuple[str, str], Ints]] = {}

    def add(condition: str, opposite: str, units: Ints) -> None:
        if MIN_UNITS <= len(units) <= size - MIN_UNITS:
            columns.setdefault(units.tobytes(), ((condition, opposite), units))

    try:
        contents = [_content(value) for value in audit_input.values]
    except InputError as error:
        raise error.at(f"{audit_input.file} (--aux {audit_input.name})") from None
    counts = Counter(name for properties, _ in contents for name in properties)
    names = [name for name, count in counts.most_common() if count >= MIN_UNITS]
    for name in names[:MAX_PROPERTIES]:
        column = np.array([properties.get(name, math.nan) for properties, _ in contents])
        for condition, opposite, units in _thresholds(name, column):
            add(condition, opposite, units)

    units_by_ngram: dict[str, list[int]] = defaultdict(list)
    for unit, (_, ngrams) in enumerate(contents):
        for ngram in ngrams:
            units_by_ngram[ngram].append(unit)
    # Most frequent n-grams first. Among identical features, prefer short and lowercase n-grams.
    order = sorted(units_by_ngram, key=lambda n: (-len(units_by_ngram[n]), len(n), n.swapcase()))
    max_columns = len(columns) + MAX_NGRAMS
    for ngram in order:
        if len(columns) < max_columns:
            add(f"says {ngram}", f"does not say {ngram}", np.array(units_by_ngram[ngram]))

    rows = np.concatenate([np.empty(0, np.int64), *(units for _, units in columns.values())])
    pointers = np.cumsum([0, *(len(units) for _, units in columns.values())])
    matrix = csc_array((np.ones(len(rows)), rows, pointers), shape=(size, len(columns))).tocsr()
    conditions = [condition for condition, _ in columns.values()]
    return FeatureMatrix(matrix, conditions, max(0, len(names) - MAX_PROPERTIES))


def _content(value: Any) -> tuple[dict[str, float], set[str]]:
    """Return the numeric properties of a value, and the n-grams of its strings."""
    if value is ABSENT:
        return {}, set()
    size = len(value) if isinstance(value, list | tuple) else value not in (None, "")
    properties: dict[str, float] = defaultdict(float, present=1, items=size, words=0, characters=0)
    numbers: dict[str, list[float]] = defaultdict(list)
    ngrams: set[str] = set()
    for node, paths in _nodes(value):
        properties[f"{type(node).__name__} values"] += 1
        properties[f"has {paths[-1]}"] += 1
        number = _as_number(node)
        if number is not None:
            for path in paths:
                numbers[path].append(number)
        if isinstance(node, str):
            # Mask digits: a line number in a file name such as 12_crop_3.png identifies pairs.
            text = re.sub(r"\d+", "0", node)
            words = _WORD.findall(text)
            lower = [word.lower() for word in words]
            properties["words"] += len(words)
            properties["characters"] += len(text)
            plain = {*lower, *words, *map(" ".join, pairwise(lower))}
            plain |= {*_PUNCTUATION.findall(text), *_SHORT_NUMBER.findall(node)}
            ngrams |= {f'"{ngram}"' for ngram in plain}
            ngrams |= {f'"{word}" in {path}' for word in lower for path in paths}
    for path, several in numbers.items():
        total = math.fsum(several)
        properties[path] = total / len(several)
        properties[f"least {path}"], properties[f"greatest {path}"] = min(several), max(several)
        properties[f"sum of {path}"] = total
    return properties, ngrams


def _nodes(
    value: Any, name: str = "value", paths: Sequence[str] = ("value",), depth: int = 0
) -> Iterator[tuple[Any, Sequence[str]]]:
    """Yield a value and all values nested in it, each with its paths (the keys that lead to it).

    A list item has two paths, without and with its index; in a list of lists, only the latter.
    """
    known = value is None or isinstance(value, str | int | float | list | tuple | dict)
    if not known or depth > MAX_DEPTH:
        problem = f"a value is a {type(value).__name__} or nested more than {MAX_DEPTH} deep"
        raise InputError(problem, fix="use strings, numbers, null, and lists and dicts of these")
    yield value, paths
    if isinstance(value, list | tuple):
        shared = () if paths[-1].endswith("]") else (name,)
        for i, item in enumerate(value):
            yield from _nodes(item, name, (*shared, f"{name}[{i}]"), depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            key = str(key).encode(errors="replace").decode()  # half a surrogate cannot be printed
            path = key if name == "value" else f"{name}.{key}"
            yield from _nodes(item, path, (path,), depth + 1)


def _as_number(value: Any) -> float | None:
    """Convert a finite number or a string such as ``"41 %"`` to a float; None for other values."""
    try:
        number = float(value.strip().rstrip("%") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _thresholds(name: str, column: Floats) -> Iterator[tuple[str, str, Ints]]:
    """Yield condition, negation and units of a binary property, or of each threshold of another."""
    known = column[~np.isnan(column)]
    edges = np.unique(known)
    if set(edges) <= {0.0, 1.0} and name != "items":
        yield name, f"not {name}", np.flatnonzero(column == 1)
        return
    absent = ", or absent" if len(known) < len(column) else ""
    if len(edges) > MAX_THRESHOLDS:
        quantiles = np.linspace(0, 1, MAX_THRESHOLDS + 1)[1:-1]
        edges = np.unique(np.quantile(known, quantiles, method="higher"))
    for edge in edges:
        units = np.flatnonzero(column >= edge)
        yield f"{name} >= {edge:.9g}", f"{name} < {edge:.9g}{absent}", units
