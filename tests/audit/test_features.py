"""Features of values: what each kind of value is told apart by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rukh.audit.features import MAX_PROPERTIES, FeatureMatrix, extract_features
from rukh.audit.inputs import ABSENT, AuditInput
from rukh.errors import InputError


def features_of(*values: Any) -> FeatureMatrix:
    return extract_features(AuditInput("x", "row", list(values), np.arange(len(values))))


def where(features: FeatureMatrix, text: str) -> list[int]:
    """For each value, whether the condition with these words holds."""
    column = [condition for condition, _ in features.conditions].index(text)
    return features.matrix.toarray()[:, column].astype(int).tolist()


def test_counts_and_presence() -> None:
    features = features_of(*([ABSENT] * 5 + [None] * 5 + [["u", "v"]] * 5 + [["u"]] * 5))
    assert where(features, "present") == [0] * 5 + [1] * 15
    assert where(features, "items >= 2") == [0] * 10 + [1] * 5 + [0] * 5
    assert ("items >= 2", "items < 2, or absent") in features.conditions
    assert ("present", "not present") in features.conditions


@pytest.mark.parametrize(
    ("one", "other", "condition"),
    [
        ("Word here", "word here", 'says "Word"'),
        (". same", "! same", 'says "!"'),
        (["a b", "c"], ["c", "a b"], 'says "a" in value[0]'),
        ({"head": {"s": 1}, "tail": {"s": 2}}, {"head": {"s": 2}, "tail": {"s": 1}}, "head.s >= 2"),
        ({"head": "man", "tail": "town"}, {"tail": "man", "head": "town"}, 'says "man" in head'),
        (["0.1", "0.9"], ["0.9", "0.1"], "value[0] >= 0.9"),
        ([None, 1], [1, None], "value[0]"),
        ([[0.5, 0.1], [0.5, 0.2]], [[0.5, 0.2], [0.5, 0.3]], "value[1] >= 0.25"),
        ("41e-2", "73e-2", "value >= 0.73"),
        ("41.5%", "73.2%", "value >= 73.2"),
        ("\u4eba\u5728\u8857", "\u7269\u5728\u8857", 'says "\u4eba"'),
        ({"": None}, {" ": None}, "has "),
        ("rel_cabdef", "not_cabdef", 'says "rel"'),
        ("type 3", "type 4", 'says "3"'),
        ({"x": [True, False]}, {"x": [False, True]}, "x[0]"),
        ([{"head": "a"}], [{"tail": "a"}], "has head"),
        ({"a": None, "b": 0}, {"a": None, "c": 0}, "has b"),
        ([[None] * 3, [None]], [[None]] * 2, "NoneType values >= 4"),
        ([], "", "list values"),
        (True, 1, "bool values"),
        ({"x": 1}, 1, "dict values"),
    ],
)
def test_similar_values_are_told_apart(one: Any, other: Any, condition: str) -> None:
    assert sum(where(features_of(*([one] * 9 + [other] * 9)), condition)) == 9


def test_names_of_files_do_not_identify_lines() -> None:
    assert not features_of(*[f"{i}_crop_{7 * i}.png" for i in range(200)]).conditions


def test_properties_that_are_not_used_are_counted() -> None:
    assert features_of(*([[0.5] * 200] * 9)).left_out > 0
    assert features_of(*([[0.5] * 50] * 9)).left_out == 0
    # What too few units have could not be learned anyway.
    assert features_of(*[{f"n{i}": 0.5} for i in range(MAX_PROPERTIES)]).left_out == 0


@pytest.mark.parametrize("numbers", [np.arange(100) + 100_000, np.arange(100) / 1e5 + 0.999])
def test_thresholds_are_as_fine_as_the_numbers(numbers: np.ndarray) -> None:
    features = features_of(*numbers.tolist())
    assert len({text for text, _ in features.conditions}) == 19
    assert any(45 <= column.sum() <= 55 for column in features.matrix.toarray().T)


def test_no_feature_repeats_another_or_holds_for_few() -> None:
    conditions = [text for text, _ in features_of(*["A Dog", "A Cat"] * 6).conditions]
    assert conditions == ['says "cat"', 'says "dog"']  # and not 'says "Dog"' or 'says "a dog"'
    features = features_of(*np.random.default_rng(0).normal(size=(300, 3)).tolist())
    columns = features.matrix.toarray().T
    assert len({column.tobytes() for column in columns}) == len(features.conditions)
    assert all(5 <= column.sum() <= 295 for column in columns)


def test_numbers_that_are_not_finite_count_as_none() -> None:
    features = features_of(*([float("nan"), 10**400, "inf"] * 5 + [1.0] * 5))
    assert where(features, "value") == [0] * 15 + [1] * 5


def test_values_that_cannot_be_examined() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    for value in (deep, b"x"):
        with pytest.raises(InputError, match="--aux x"):
            features_of(value)
