"""Generic traits of any value: form, presence, counts, lengths, numbers, words and their places.

Every trait becomes *conditions*, each true or false of a value: ``items >= 3``, ``says "person"``.
A linear model over them can follow any step, and a rule made of them can be read. Nothing here
looks at a label, so traits may be computed once for all folds.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from rukh.errors import InputError, MissingDependency
from rukh.studies.evidence import ABSENT, Evidence

MAX_EDGES = 20
"""The most thresholds of one numeric trait."""
MAX_PATHS = 64
"""The most differently named numbers in one input; the rarest beyond are left out."""
MAX_NGRAMS = 2000
MIN_UNITS = 5
"""An n-gram or a condition that fewer units have cannot be learnt from."""
MAX_DEPTH = 32

_WORD = re.compile(r"\w+")
_MARK = re.compile(r"[^\w\s]")
_FIRST = " (in the first text)"
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Condition:
    """One thing that is true or false of a value.

    Attributes:
        trait: The trait's name; of an n-gram, the n-gram.
        least: It holds where the trait is at least this; None for flags and n-grams.
        whole: Whether the trait has only whole numbers.
        ngram: Whether it is an n-gram.
    """

    trait: str
    least: float | None = None
    whole: bool = False
    ngram: bool = False

    def text(self, holds: bool = True) -> str:
        """The condition, or its opposite, in words.

        Example:
            >>> Condition("items", 3, whole=True).text(False)
            'items <= 2'
        """
        if self.ngram:
            return f'{"says" if holds else "does not say"} "{self.trait}"'
        if self.least is None:
            return self.trait if holds else f"not {self.trait}"
        if holds:
            return f"{self.trait} >= {self.least:g}"
        if self.whole:
            return f"{self.trait} <= {self.least - 1:g}"
        return f"{self.trait} < {self.least:g}, or none"


@dataclass(frozen=True)
class Traits:
    """The conditions of one input and where they hold.

    Attributes:
        conditions: What the columns of ``holds`` say.
        holds: Sparse, shape ``(units, conditions)``, of zeros and ones.
        numbers: Numeric traits by name, each of shape ``(units,)``, NaN where there is none.
    """

    conditions: list[Condition]
    holds: Any
    numbers: dict[str, npt.NDArray[np.float64]]


def find_traits(evidence: Evidence) -> Traits:
    """The traits of an input's values.

    Raises:
        InputError: A number is not finite, or values are nested too deeply.
        MissingDependency: scikit-learn is not installed.
    """
    try:
        from scipy.sparse import csc_array, hstack
        from sklearn.feature_extraction.text import CountVectorizer
    except ImportError:
        raise MissingDependency("scikit-learn", "study") from None

    size = len(evidence.values)
    texts: list[list[str]] = [[] for _ in range(size)]
    numbers: list[dict[str, list[float]]] = [{} for _ in range(size)]
    for i, value in enumerate(evidence.values):
        if value is not ABSENT:
            _Leaves(evidence, texts[i], numbers[i]).collect(value, "value")
    traits = _numeric(evidence.values, texts, numbers)
    conditions: list[Condition] = []
    columns: list[npt.NDArray[np.bool_]] = []
    for name, column in traits.items():
        for condition, held in _steps(name, column):
            # One column a partition: "present" and "items >= 1" are often the same.
            parts = MIN_UNITS <= int(held.sum()) <= size - MIN_UNITS
            if parts and not any(np.array_equal(held, other) for other in columns):
                conditions.append(condition)
                columns.append(held)
    dense = np.array(columns, dtype=np.float64).reshape(len(columns), size).T
    holds = csc_array(dense)
    documents = _documents(texts)
    common = Counter(gram for told in documents for gram in told)
    if any(MIN_UNITS <= count <= size - MIN_UNITS for count in common.values()):
        counter = CountVectorizer(
            analyzer=lambda grams: grams,
            binary=True,
            min_df=MIN_UNITS,
            max_df=size - MIN_UNITS,
            max_features=MAX_NGRAMS,
            dtype=np.float64,
        )
        holds = csc_array(hstack([holds, counter.fit_transform(documents)]))
        conditions += [Condition(str(gram), ngram=True) for gram in counter.get_feature_names_out()]
    return Traits(conditions, holds, traits)


def ngrams(text: str) -> list[str]:
    """Words and pairs of neighbouring words in lower case, marks, and words with capitals as they
    stand; every number is written as 0.

    A file's name such as ``12_crop_3.png`` holds a row's number, and an n-gram of it would know
    single rows by heart.

    Example:
        >>> ngrams("Ann_12.png")
        ['ann_0', 'png', 'ann_0 png', '.', 'Ann_0']
    """
    cased = _WORD.findall(_DIGITS.sub("0", text))
    words = [word.lower() for word in cased]
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    return words + pairs + _MARK.findall(text) + [word for word in cased if word != word.lower()]


def _documents(texts: Sequence[Sequence[str]]) -> list[set[str]]:
    """The n-grams of each unit, those of the first of its texts also by that place. One that stands
    wherever its plain form does says nothing more, and is left out.
    """
    documents: list[set[str]] = []
    plain: dict[str, str] = {}
    for told in texts:
        found = {gram for text in told for gram in ngrams(text)}
        plain |= {gram: gram.lower() for gram in found if gram != gram.lower()}
        if len(told) > 1:
            first = {word + _FIRST: word for word in _WORD.findall(_normal(told[0]))}
            plain |= first
            found |= {*first}
        documents.append(found)
    counts = Counter(gram for found in documents for gram in found)
    same = {gram for gram, form in plain.items() if counts[gram] == counts[form]}
    return [found - same for found in documents]


def _normal(text: str) -> str:
    return _DIGITS.sub("0", text.lower())


@dataclass(frozen=True)
class _Leaves:
    """The leaves of one value: its strings, and its numbers by where they stand in it."""

    evidence: Evidence
    texts: list[str]
    numbers: dict[str, list[float]]

    def collect(self, value: Any, path: str, depth: int = 0, listed: bool = False) -> None:
        """Add a value's leaves; ``listed`` says whether it stands in a list."""
        if depth > MAX_DEPTH:
            raise self._error(f"a value is nested more than {MAX_DEPTH} deep", "flatten it")
        if isinstance(value, str):
            if value.strip():
                self.texts.append(value)
        elif isinstance(value, dict):
            for key, item in value.items():
                # A key may be anything in a .pth, and half a surrogate could not be reported.
                name = str(key).encode("utf-8", "replace").decode("utf-8")
                self.collect(item, name, depth + 1, listed)
        elif isinstance(value, list | tuple):
            # A list of numbers in a list is a vector: each place in it has a meaning of its own.
            vector = listed and all(isinstance(item, int | float) for item in value)
            for place, item in enumerate(value):
                self.collect(item, f"{path}[{place}]" if vector else path, depth + 1, True)
        elif isinstance(value, int | float):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if not math.isfinite(number):
                raise self._error("a number is not finite", "write null where there is none")
            self.numbers.setdefault(path, []).append(number)
        elif value is not None:
            raise self._error(
                f"a value is a {type(value).__name__}",
                "values are strings, numbers, null, and lists and dicts of these",
            )

    def _error(self, problem: str, fix: str) -> InputError:
        return InputError(problem, where=self.evidence.file, field=self.evidence.name, fix=fix)


def _numeric(
    values: Sequence[Any], texts: list[list[str]], numbers: list[dict[str, list[float]]]
) -> dict[str, npt.NDArray[np.float64]]:
    """Numeric traits by name; those that say the same of all units are dropped later."""
    items = [
        0.0
        if value is ABSENT or value is None or value == ""
        else float(len(value))
        if isinstance(value, list | tuple)
        else 1.0
        for value in values
    ]
    words = [[_WORD.findall(_normal(text)) for text in told] for told in texts]
    traits = {
        "present": [float(value is not ABSENT) for value in values],
        "items": items,
        "words": [float(sum(map(len, told))) for told in words],
        "characters": [float(sum(len(_normal(text)) for text in told)) for told in texts],
    }
    forms = [_form(value) for value in values]
    for form in sorted({*forms} - {"absent"}):
        traits[form] = [float(other == form) for other in forms]
    counted = Counter(path for unit in numbers for path in unit)
    for path in sorted(path for path, _ in counted.most_common(MAX_PATHS)):
        found = [unit.get(path, []) for unit in numbers]
        if max(map(len, found)) == 1:
            traits[path] = [x[0] if x else math.nan for x in found]
            continue
        for name, reduce in (("least", min), ("greatest", max), ("sum of", math.fsum)):
            traits[f"{name} {path}"] = [reduce(x) if x else math.nan for x in found]
        traits[f"mean {path}"] = [math.fsum(x) / len(x) if x else math.nan for x in found]
    return {name: np.array(column) for name, column in traits.items()}


def _form(value: Any) -> str:
    """What a value is, apart from what it holds.

    Example:
        >>> [_form(value) for value in (None, "", [], 1, True, {"a": 1})]
        ['null', 'an empty text', 'an empty list', 'a number', 'a flag', 'a mapping']
    """
    if value is ABSENT:
        return "absent"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a flag"
    kinds = (("text", str), ("list", (list, tuple)), ("mapping", dict))
    for name, kind in kinds:
        if isinstance(value, kind):
            return f"a {name}" if value else f"an empty {name}"
    return "a number"


def _steps(
    name: str, column: npt.NDArray[np.float64]
) -> list[tuple[Condition, npt.NDArray[np.bool_]]]:
    """The conditions of a numeric trait: a flag, or thresholds at values or at quantiles."""
    known = column[~np.isnan(column)]
    if not known.size:
        return []
    if set(known.tolist()) <= {0.0, 1.0} and name != "items":
        return [(Condition(name), column == 1)]
    whole = bool((known == np.floor(known)).all()) and known.size == column.size
    edges = np.unique(known)
    if edges.size > MAX_EDGES:
        edges = np.quantile(known, np.linspace(0, 1, MAX_EDGES + 1)[1:-1])
        # Rounded before use, so that the rule that is printed is the rule that was tried.
        edges = np.unique([float(f"{edge:.3g}") for edge in edges])
        if whole:
            edges = np.unique(np.round(edges))
    return [(Condition(name, float(edge), whole), column >= edge) for edge in edges]
