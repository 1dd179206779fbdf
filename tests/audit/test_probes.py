"""Folds, figures, intervals, nulls and rules, each against a slow or known reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from rukh.audit.features import FeatureMatrix
from rukh.audit.probes import Folds, _figures, find_rules, fit_probe, split_folds, wilson
from rukh.errors import InputError

SIZE = 600


def binary_target(seed: int = 0) -> tuple[np.random.Generator, np.ndarray, Folds]:
    """A generator, a target of two classes, and folds over groups of two pairs."""
    generator = np.random.default_rng(seed)
    target = generator.integers(2, size=SIZE)
    return (
        generator,
        target,
        split_folds(target.astype(str).tolist(), np.arange(SIZE) // 2, 5, seed),
    )


def probe(columns: np.ndarray) -> dict[str, Any]:
    _, target, folds = binary_target()
    matrix = csr_array(columns.astype(float))
    result = fit_probe(matrix, np.arange(SIZE), target, folds, permutations=19, seed=0)
    assert result is not None
    return result


def test_folds_keep_groups_whole_and_classes_even() -> None:
    _, target, (fold, group) = binary_target()
    assert all(len(set(fold[group == i])) == 1 for i in range(SIZE // 2))
    shares = [target[fold == i].mean() for i in range(5)]
    assert max(shares) - min(shares) < 0.03
    with pytest.raises(InputError, match="--folds"):
        split_folds(["a", "b", "a"], np.array([0, 0, 1]), 5, 0)


def test_a_copy_of_the_target_is_found_and_noise_is_not() -> None:
    generator, target, _ = binary_target()
    copy, noise = probe(target[:, None]), probe(generator.integers(2, size=(SIZE, 20)))
    assert copy["balanced_accuracy"] == {"value": 1, "low": 1, "high": 1}
    assert copy["null"]["high"] < 0.6
    assert copy["null"]["p"] == 1 / 20
    assert noise["balanced_accuracy"]["low"] < noise["null"]["high"]
    assert copy["majority"] == pytest.approx(max(target.mean(), 1 - target.mean()))


def test_without_features_or_classes() -> None:
    assert probe(np.zeros((SIZE, 0)))["balanced_accuracy"]["value"] == 0.5
    _, target, folds = binary_target()
    few = np.where(np.arange(SIZE) < SIZE - 9, 0, 1)  # nine pairs of a class are too few
    matrix = csr_array(target[:, None].astype(float))
    assert fit_probe(matrix, np.arange(SIZE), few, folds, permutations=1, seed=0) is None
    hidden = np.where(folds.fold == 0, target, -1)  # one fold holds all pairs
    assert fit_probe(matrix, np.arange(SIZE), hidden, folds, permutations=1, seed=0) is None


def test_figures_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    gold, predicted = generator.integers(4, size=(2, 200))
    predicted[:100] = gold[:100]
    figures = _figures(gold, predicted, np.arange(200) // 4, 0)
    assert {name: figure["value"] for name, figure in figures.items()} == pytest.approx(
        {
            "accuracy": accuracy_score(gold, predicted),
            "balanced_accuracy": balanced_accuracy_score(gold, predicted),
            "macro_f1": f1_score(gold, predicted, average="macro"),
        }
    )
    assert all(figure["low"] < figure["value"] < figure["high"] for figure in figures.values())


def test_intervals_widen_with_groups() -> None:
    right = np.repeat(np.random.default_rng(2).random(50) < 0.7, 20)  # alike within a group
    gold = np.arange(1000) % 2
    predicted = np.where(right, gold, 1 - gold)
    alone, grouped = (
        _figures(gold, predicted, np.arange(1000) // size, 0)["accuracy"] for size in (1, 20)
    )
    assert grouped["high"] - grouped["low"] > 3 * (alone["high"] - alone["low"])


def test_wilson_against_the_textbook() -> None:
    assert wilson(0.5, 10) == pytest.approx(0.2366, abs=1e-4)
    assert wilson(1.0, 100) == pytest.approx(0.963, abs=1e-3)


def rules(columns: dict[str, np.ndarray], target: np.ndarray) -> dict[bool, dict[str, Any]]:
    """The best rules by what they predict."""
    folds = split_folds(target.astype(str).tolist(), np.arange(len(target)) // 2, 5, 0)
    matrix = csr_array(np.array(list(columns.values()), dtype=float).T)
    features = FeatureMatrix(matrix, [(name, f"not {name}") for name in columns], 0)
    found = find_rules(features, np.arange(len(target)), target, folds)
    return {rule["relation"]: rule for rule in found}


def test_a_rule_of_two_conditions_is_found_and_measured() -> None:
    generator = np.random.default_rng(0)
    a, b, c = generator.integers(2, size=(3, 2000))
    target = np.where((a == 1) & (b == 0), 1, generator.integers(2, size=2000))
    rule = rules({"a": a, "b": b, "c": c}, target)[True]
    assert (rule["text"], rule["leak"], rule["precision"]) == ("a and not b", True, 1)
    assert (rule["folds"], rule["rows"]) == (5, ((a == 1) & (b == 0)).sum())


def test_a_rule_of_too_few_pairs_is_no_leak() -> None:
    generator = np.random.default_rng(0)
    target = generator.integers(2, size=2000)
    rare = (target == 1) & (generator.random(2000) < 0.08)  # 4 % of pairs
    assert not any(rule["leak"] for rule in rules({"rare": rare}, target).values())


def test_a_rare_class_makes_no_leak() -> None:
    generator = np.random.default_rng(0)
    target = (generator.random(4000) < 0.01).astype(int)  # "none" is right for 99 % of any pairs
    found = rules({str(i): x for i, x in enumerate(generator.integers(2, size=(8, 4000)))}, target)
    assert found[False]["precision"] >= 0.98
    assert not found[False]["leak"]


def test_five_lucky_pairs_are_no_leak() -> None:
    target = np.arange(60) % 2
    rule = rules({"x": (np.arange(60) < 10) & (target == 1)}, target)[True]
    assert (rule["precision"], rule["leak"]) == (1, False)
    assert rule["coverage"] >= 0.05
