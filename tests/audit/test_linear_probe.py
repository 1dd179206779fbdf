"""Figures, intervals, nulls and rules, each against something slow or known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csc_array

from rukh.audit.features import Feature
from rukh.audit.linear_probe import ProbeResult, fit_probe, split_folds
from rukh.audit.rules import find_rules, wilson
from rukh.errors import InputError

SIZE = 600


def world(seed: int = 0) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray]:
    """A generator, a target of two classes, groups of two rows, and folds."""
    generator = np.random.default_rng(seed)
    target = generator.integers(2, size=SIZE)
    groups = np.arange(SIZE) // 2
    return generator, target, groups, split_folds(target, groups, 5, seed)


def answer(columns: np.ndarray, seed: int = 0, permutations: int = 19) -> ProbeResult:
    _, target, groups, fold = world(seed)
    unit = np.arange(SIZE)
    return fit_probe(
        csc_array(columns.astype(float)), unit, target, groups, fold,
        permutations=permutations, seed=seed,
    )  # fmt: skip


def test_folds_keep_groups_whole_and_classes_even() -> None:
    _, target, groups, fold = world()
    assert all(len(set(fold[groups == group])) == 1 for group in range(SIZE // 2))
    shares = [target[fold == i].mean() for i in range(5)]
    assert max(shares) - min(shares) < 0.03
    with pytest.raises(InputError, match="--folds: 2 groups .* cannot make 5 folds"):
        split_folds(np.array([0, 1, 0]), np.array([0, 0, 1]), 5, 0)


def test_a_copy_of_the_target_is_found_and_noise_is_not() -> None:
    generator, target, *_ = world()
    copy, noise = answer(target[:, None]), answer(generator.integers(2, size=(SIZE, 20)))
    assert copy.balanced_accuracy == (1, 1, 1)
    assert copy.null.high < 0.6
    assert copy.null.p == 1 / 20
    assert noise.balanced_accuracy.low < noise.null.high
    assert copy.majority == pytest.approx(max(target.mean(), 1 - target.mean()))


def test_figures_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

    from rukh.audit.linear_probe import _figures

    generator = np.random.default_rng(1)
    gold, said = generator.integers(4, size=200), generator.integers(4, size=200)
    said[:100] = gold[:100]
    figures = _figures(gold, said, np.arange(200) // 4, generator)
    assert figures["accuracy"].value == pytest.approx(accuracy_score(gold, said))
    assert figures["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(gold, said))
    assert figures["macro_f1"].value == pytest.approx(f1_score(gold, said, average="macro"))
    assert all(f.low < f.value < f.high for f in figures.values())


def test_intervals_widen_with_groups() -> None:
    from rukh.audit.linear_probe import _figures

    generator = np.random.default_rng(2)
    right = np.repeat(generator.random(50) < 0.7, 20)  # all rows of a group share their fate
    gold = np.arange(1000) % 2
    said = np.where(right, gold, 1 - gold)
    alone = _figures(gold, said, np.arange(1000), generator)["accuracy"]
    grouped = _figures(gold, said, np.arange(1000) // 20, generator)["accuracy"]
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)


def test_nothing_to_look_at_is_chance() -> None:
    assert answer(np.zeros((SIZE, 0))).balanced_accuracy.value == 0.5


def test_wilson_against_the_textbook() -> None:
    assert wilson(0.5, 10) == pytest.approx(0.2366, abs=1e-4)
    assert wilson(1.0, 36) > 0.90 > wilson(1.0, 34)


def rules(columns: dict[str, np.ndarray], target: np.ndarray, seed: int = 0) -> dict[bool, object]:
    groups = np.arange(len(target)) // 2
    fold = split_folds(target, groups, 5, seed)
    found = find_rules(
        [Feature(name) for name in columns],
        csc_array(np.array(list(columns.values()), dtype=float).T),
        np.arange(len(target)), target, groups, fold,
    )  # fmt: skip
    return {rule.relation: rule for rule in found}


def test_a_rule_of_two_conditions_is_found_and_measured() -> None:
    generator = np.random.default_rng(0)
    a, b, c = generator.integers(2, size=(3, 2000))
    target = np.where((a == 1) & (b == 0), 1, generator.integers(2, size=2000))
    rule = rules({"a": a, "b": b, "c": c}, target)[True]
    assert (rule.text, rule.leak, rule.precision, rule.folds) == ("a and not b", True, 1, 5)
    assert rule.coverage == pytest.approx(((a == 1) & (b == 0)).mean())


def test_a_rule_of_too_few_rows_is_no_leak() -> None:
    generator = np.random.default_rng(0)
    target = generator.integers(2, size=2000)
    rare = (target == 1) & (generator.random(2000) < 0.08)  # 4 % of rows
    found = rules({"rare": rare.astype(int)}, target)
    assert not any(rule.leak for rule in found.values())


def test_a_rare_class_makes_no_leak() -> None:
    generator = np.random.default_rng(0)
    target = (generator.random(4000) < 0.01).astype(int)  # "none" is right on 99 % of any rows
    found = rules({str(i): x for i, x in enumerate(generator.integers(2, size=(8, 4000)))}, target)
    assert found[False].precision >= 0.98
    assert not found[False].leak


def test_five_lucky_rows_are_no_leak() -> None:
    target = np.arange(60) % 2
    found = rules({"x": ((np.arange(60) < 10) & (target == 1)).astype(int)}, target)
    assert found[True].precision == 1
    assert found[True].coverage >= 0.05
    assert not found[True].leak
