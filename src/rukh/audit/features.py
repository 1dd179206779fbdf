"""Generic traits of any value: form, presence, counts, lengths, numbers, keys, words, their places.

Every trait becomes *conditions*, each true or false of a value: ``items >= 3``, ``says "person"``.
A linear model over them can follow any step, and a rule made of them can be read. Nothing here
looks at a label, so traits may be computed once for all folds.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from rukh.audit.aux_inputs import AuxInput
from rukh.audit.flatten import ABSENT, Flattener, form
from rukh.errors import InputError, MissingDependency

MAX_EDGES = 20
"""The most thresholds of one numeric trait."""
MAX_PATHS = 128
"""The most differently named numbers in one input, and the most keys; the rarest beyond are left
out."""
MAX_NGRAMS = 2000
MIN_UNITS = 5
"""An n-gram or a condition that fewer units have cannot be learnt from."""
PLACES = ("first", "second", "third")
"""Of several texts, those whose words are also looked at by where they stand."""

# Scripts without spaces are read sign by sign.
_SIGNS = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_SIGNS}]|[^\W_{_SIGNS}]+")
_MARK = re.compile(r"[^\w\s]")
_DIGITS = re.compile(r"\d+")
_SHORT = re.compile(r"(?<!\w)\d{1,3}(?!\w)")


@dataclass(frozen=True)
class Feature:
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
            return f"{self.trait} >= {self.least:.12g}"
        if self.whole:
            return f"{self.trait} <= {self.least - 1:.12g}"
        return f"{self.trait} < {self.least:.12g}, or none"


@dataclass(frozen=True)
class FeatureMatrix:
    """The conditions of one input and where they hold.

    Attributes:
        conditions: What the columns of ``holds`` say.
        holds: Sparse, shape ``(units, conditions)``, of zeros and ones.
        numbers: Numeric traits by name, each of shape ``(units,)``, NaN where there is none.
        left_out: How many numbers or keys were not looked at, because there are too many.
    """

    conditions: list[Feature]
    holds: Any
    numbers: dict[str, npt.NDArray[np.float64]]
    left_out: int = 0


def extract_features(evidence: AuxInput) -> FeatureMatrix:
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
    leaves = [_leaves(evidence, value) for value in evidence.values]
    traits = _numeric(evidence.values, leaves)
    conditions: list[Feature] = []
    columns: list[npt.NDArray[np.bool_]] = []
    seen: set[bytes] = set()
    for name, column in traits.items():
        for condition, held in _steps(name, column):
            # One column a partition: "present" and "items >= 1" are often the same.
            parts = MIN_UNITS <= int(held.sum()) <= size - MIN_UNITS
            if parts and held.tobytes() not in seen:
                seen.add(held.tobytes())
                conditions.append(condition)
                columns.append(held)
    dense = np.array(columns, dtype=np.float64).reshape(len(columns), size).T
    holds = csc_array(dense)
    documents = _documents(leaves)
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
        conditions += [Feature(str(gram), ngram=True) for gram in counter.get_feature_names_out()]
    left_out = max(
        _beyond(one.numbers for one in leaves),
        _beyond(one.pieces for one in leaves),
        *(one.left_out for one in leaves),
    )
    return FeatureMatrix(conditions, holds, traits, left_out)


def _leaves(evidence: AuxInput, value: Any) -> Flattener:
    leaves = Flattener()
    if value is not ABSENT:
        try:
            leaves.collect(value)
        except InputError as error:
            where, name = evidence.file, evidence.name
            raise InputError(error.problem, where=where, field=name, fix=error.fix) from None
    return leaves


def ngrams(text: str) -> list[str]:
    """Words and pairs of neighbouring words in lower case, marks, and words with capitals as they
    stand; every number is written as 0, and one of at most three digits that is a word also as it
    stands.

    A file's name such as ``12_crop_3.png`` holds a row's number, and an n-gram of it would know
    single rows by heart.

    Example:
        >>> ngrams("7 Ann_12.png")
        ['0', 'ann', '0', 'png', '0 ann', 'ann 0', '0 png', '.', 'Ann', '7']
    """
    cased = _WORD.findall(_DIGITS.sub("0", text))
    words = [word.lower() for word in cased]
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    capitals = [word for word in cased if word != word.lower()]
    return words + pairs + _MARK.findall(text) + capitals + _SHORT.findall(text)


def _documents(leaves: Sequence[Flattener]) -> list[set[str]]:
    """The n-grams of each unit; words also by the key that they stand under, and those of the first
    of several texts by their place. One that stands wherever its plain form does says nothing
    more, and is left out.
    """
    documents: list[set[str]] = []
    plain: dict[str, str] = {}
    for one in leaves:
        found = {gram for text in one.texts for gram in ngrams(text)}
        plain |= {gram: gram.lower() for gram in found if gram != gram.lower()}
        plain |= {gram: "0" for gram in found if gram.isdecimal() and gram != "0"}
        placed = [(f'in "{name}"', text) for name, text in one.named]
        if len(one.texts) > 1:
            firsts = zip(PLACES, one.texts, strict=False)
            placed += [(f"in the {place} text", text) for place, text in firsts]
        for where, text in placed:
            words = {f"{word} ({where})": word for word in _WORD.findall(_normal(text))}
            plain |= words
            found |= {*words}
        documents.append(found)
    counts = Counter(gram for found in documents for gram in found)
    same = {gram for gram, form in plain.items() if counts[gram] == counts[form]}
    return [found - same for found in documents]


def _normal(text: str) -> str:
    return _DIGITS.sub("0", text.lower())


def _numeric(
    values: Sequence[Any], leaves: Sequence[Flattener]
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
    texts = [[_normal(text) for text in one.texts] for one in leaves]
    words = [sum(len(_WORD.findall(text)) for text in told) for told in texts]
    traits = {
        "present": [float(value is not ABSENT) for value in values],
        "items": items,
        "words": [float(count) for count in words],
        "characters": [float(sum(map(len, told))) for told in texts],
    }
    forms = [form(value) for value in values]
    for name in sorted({*forms} - {"absent"}):
        traits[name] = [float(other == name) for other in forms]

    def add(name: str, column: list[float]) -> None:
        while name in traits:  # a key may be called "items" too
            name = f'"{name}"'
        traits[name] = column

    for path in _commonest(one.numbers for one in leaves):
        found = [one.numbers.get(path, []) for one in leaves]
        if max(map(len, found)) == 1:
            add(path, [x[0] if x else math.nan for x in found])
            continue
        for name, reduce in (("least", min), ("greatest", max), ("sum of", math.fsum)):
            add(f"{name} {path}", [reduce(x) if x else math.nan for x in found])
        add(f"mean {path}", [math.fsum(x) / len(x) if x else math.nan for x in found])
    for piece in _commonest(one.pieces for one in leaves):
        add(piece, [float(one.pieces[piece]) for one in leaves])
    return {name: np.array(column) for name, column in traits.items()}


def _commonest(named: Iterable[Iterable[str]]) -> list[str]:
    """The names that most units have, in order."""
    counted = Counter(name for names in named for name in names)
    return sorted(name for name, _ in counted.most_common(MAX_PATHS))


def _beyond(named: Iterable[Iterable[str]]) -> int:
    """How many names :func:`_commonest` leaves out that enough units have to learn from."""
    counted = Counter(name for names in named for name in names)
    return max(0, sum(count >= MIN_UNITS for count in counted.values()) - MAX_PATHS)


def _steps(
    name: str, column: npt.NDArray[np.float64]
) -> list[tuple[Feature, npt.NDArray[np.bool_]]]:
    """The conditions of a numeric trait: a flag, or thresholds at values or at quantiles."""
    known = column[~np.isnan(column)]
    if not known.size:
        return []
    if set(known.tolist()) <= {0.0, 1.0} and name != "items":
        return [(Feature(name), column == 1)]
    whole = bool((known == np.floor(known)).all()) and known.size == column.size
    edges = np.unique(known)
    if edges.size > MAX_EDGES:
        exact = np.unique(np.quantile(known, np.linspace(0, 1, MAX_EDGES + 1)[1:-1]))
        # Rounded before use, so that the rule that is printed is the rule that was tried; no more
        # than tells them apart.
        for digits in range(3, 13):
            edges = np.unique([float(f"{edge:.{digits}g}") for edge in exact])
            if edges.size == exact.size:
                break
        if whole:
            edges = np.unique(np.round(edges))
    return [(Feature(name, float(edge), whole), column >= edge) for edge in edges]
