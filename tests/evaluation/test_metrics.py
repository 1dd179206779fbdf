"""Metrics against slow, obvious references and against figures worked out by hand."""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.errors import InputError
from rukh.evaluation.metrics import (
    Micro,
    OrderedDecision,
    bootstrap_f1,
    calibration_error,
    evaluate_predictions,
    expected_threshold,
    f1_from_counts,
    macro_f1,
    micro,
    order_free,
    per_relation,
    positive_counts,
    take_better,
)
from rukh.schema.schema import RelationSchema

quick = settings(max_examples=30, deadline=None)

LABELS = ("none", "likes", "married", "employs", "employed_by")
RELATIONS = [
    {"name": "likes", "descriptions": ["the head likes the tail"]},
    {"name": "married", "descriptions": ["the two are married"], "symmetric": True},
    {"name": "employs", "descriptions": ["the head employs the tail"]},
    # Declared on one side only: the other has to be found through it.
    {"name": "employed_by", "descriptions": ["the head works for the tail"], "inverse": "employs"},
]
OPEN = RelationSchema.parse(
    {"name": "open", "nota": "none", "relations": [{"name": "none"}, *RELATIONS]}
)
CLOSED = RelationSchema.parse({"name": "closed", "relations": RELATIONS})
NONE = OrderedDecision(None, 0.9)

labels = st.sampled_from(LABELS)
pairs = st.lists(st.tuples(labels, labels), min_size=1, max_size=30)
# Few distinct scores, so that ties are common.
scores = st.sampled_from([0.0, 0.1, 0.25, np.nextafter(0.25, 1), 0.5, 0.9, 1.0])
decisions = st.builds(OrderedDecision, st.none() | labels, scores)


def field_eval(gold: list[str], predicted: list[str], nota: str | None) -> Micro:
    """The loop of OpenNRE's ``eval``, from which HVPNeT, MKGformer and MORE took theirs."""
    correct = correct_positive = predicted_positive = gold_positive = 0
    for g, p in zip(gold, predicted, strict=True):
        correct += g == p
        correct_positive += g == p != nota
        gold_positive += g != nota
        predicted_positive += p != nota

    def ratio(top: float, bottom: float) -> float:
        return top / bottom if bottom else 0.0

    p, r = ratio(correct_positive, predicted_positive), ratio(correct_positive, gold_positive)
    return Micro(p, r, ratio(2 * p * r, p + r), ratio(correct, len(gold)))


@quick
@given(pairs, st.sampled_from(["none", "married", None]))
def test_micro_is_the_fields(both: list[tuple[str, str]], nota: str | None) -> None:
    gold, predicted = [g for g, _ in both], [p for _, p in both]
    found = micro(gold, predicted, nota)
    assert found == pytest.approx(field_eval(gold, predicted, nota))
    counts = positive_counts(gold, predicted, nota).sum(0)
    assert found.f1 == pytest.approx(float(f1_from_counts(counts)))


@pytest.mark.parametrize(
    ("gold", "predicted", "nota", "expected"),
    [
        # Right positives 2, predicted positives 4, gold positives 4, right at all 3 of 6.
        ("a a b none none b", "a b none none a b", "none", (0.5, 0.5, 0.5, 0.5)),
        # Three gold, two of them predicted, one of those right.
        ("a b c", "a c none", "none", (1 / 2, 1 / 3, 0.4, 1 / 3)),
        ("a b", "a a", None, (0.5, 0.5, 0.5, 0.5)),
        # A pair without a prediction is missed, but is no false positive.
        ("a b", "a -", None, (1.0, 0.5, 2 / 3, 0.5)),
        ("none a a", "- - a", "none", (1.0, 0.5, 2 / 3, 2 / 3)),
        ("", "", "none", (0, 0, 0, 0)),
        ("none", "none", "none", (0, 0, 0, 1)),
        ("a", "none", "none", (0, 0, 0, 0)),
    ],
)
def test_micro_by_hand(
    gold: str, predicted: str, nota: str | None, expected: tuple[float, ...]
) -> None:
    labels = [None if label == "-" else label for label in predicted.split()]
    assert micro(gold.split(), labels, nota) == pytest.approx(expected)


@quick
@given(pairs)
def test_relations_against_loops(both: list[tuple[str, str]]) -> None:
    gold, predicted = [g for g, _ in both], [p for _, p in both]
    rows = per_relation(gold, predicted, LABELS[1:])
    assert [row["relation"] for row in rows] == list(LABELS[1:])
    f1s = []
    for row in rows:
        # One relation against the rest is the micro figure of a world with that relation alone.
        only = row["relation"]
        alone = field_eval(
            [g if g == only else "none" for g in gold],
            [p if p == only else "none" for p in predicted],
            "none",
        )
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(alone[:3])
        assert (row["support"], row["predicted"]) == (gold.count(only), predicted.count(only))
        if only in gold:
            f1s.append(alone.f1)
    assert macro_f1(rows) == pytest.approx(sum(f1s) / len(f1s) if f1s else 0.0)
    forward = [OrderedDecision(label, 0.5) for label in predicted]
    result = evaluate_predictions(gold, forward, [NONE] * len(gold), ["p"] * len(gold), OPEN)
    counted = Counter(both)
    assert result["confusion"]["counts"] == [[counted[g, p] for p in LABELS] for g in LABELS]


@pytest.mark.parametrize(
    ("forward", "backward", "expected"),
    [
        (("likes", 0.6), ("none", 0.9), ("likes", 0.6)),  # a relation beats NOTA at any score
        (("none", 0.6), (None, 0.9), ("none", 0.9)),
        (("likes", 0.6), ("likes", 0.5), ("likes", 0.6)),
        (("likes", 0.5), ("likes", 0.6), ("likes reversed", 0.6)),
        (("none", 0.5), ("married", 0.6), ("married", 0.6)),  # symmetric
        (("likes", 0.5), ("employs", 0.6), ("employed_by", 0.6)),  # inverse, declared by the other
        (("likes", 0.5), ("employed_by", 0.6), ("employs", 0.6)),
        (("likes", 0.6), ("employed_by", 0.5), ("likes", 0.6)),
        (("likes", 0.5), ("likes", 0.5), ("likes reversed", 0.5)),  # blind to order: no credit
    ],
)
def test_take_better(
    forward: tuple[str, float], backward: tuple[str, float], expected: tuple[str, float]
) -> None:
    assert take_better(OrderedDecision(*forward), OrderedDecision(*backward), OPEN) == expected


@quick
@given(decisions, decisions)
def test_swapping_the_orders_reverses_the_label(a: OrderedDecision, b: OrderedDecision) -> None:
    """Nothing but a tie may depend on which order the data happened to list."""
    relations = {decision.relation for decision in (a, b)} - {None, "none"}
    if a.score == b.score and len(relations) > 0:
        return
    there, back = take_better(a, b, OPEN), take_better(b, a, OPEN)
    assert there.score == back.score
    swapped = {"none": "none", "married": "married", "employs": "employed_by"}
    swapped |= {"employed_by": "employs", "likes": "likes reversed", "likes reversed": "likes"}
    assert back.relation == swapped[str(there.relation)]


def test_bootstrap_against_a_loop() -> None:
    """The same draws, with the pairs themselves gathered instead of their counts."""
    chance = random.Random(1)
    gold = [chance.choice(LABELS) for _ in range(60)]
    predicted = [g if chance.random() < 0.5 else chance.choice(LABELS) for g in gold]
    posts = [f"p{chance.randrange(20)}" for _ in gold]
    names = list(dict.fromkeys(posts))
    generator = np.random.default_rng(0)
    f1s = []
    for _ in range(50):
        drawn = [names[i] for i in generator.integers(len(names), size=len(names))]
        chosen = [i for name in drawn for i, post in enumerate(posts) if post == name]
        f1s.append(field_eval([gold[i] for i in chosen], [predicted[i] for i in chosen], "none").f1)
    expected = np.quantile(f1s, [0.025, 0.975])
    found = bootstrap_f1(gold, predicted, posts, "none", draws=50)
    assert found == pytest.approx(tuple(expected))


def test_bootstrap_resamples_posts_not_pairs() -> None:
    """All pairs of one post: no other post could have been drawn, so nothing is uncertain."""
    gold, predicted = ["likes"] * 10, ["likes"] * 5 + ["none"] * 5
    low, high = bootstrap_f1(gold, predicted, ["p"] * 10, "none")
    assert low == high == pytest.approx(2 / 3)
    apart = bootstrap_f1(gold, predicted, [str(i) for i in range(10)], "none")
    assert apart[0] < 2 / 3 < apart[1]
    assert bootstrap_f1([], [], [], "none") == (0.0, 0.0)


@quick
@given(st.lists(scores, max_size=12), st.floats(0, 12))
def test_threshold_against_brute_force(values: list[float], positives: float) -> None:
    def expected(threshold: float) -> float:
        accepted = [value for value in values if value >= threshold]
        return 2 * sum(accepted) / (len(accepted) + positives) if accepted else 0.0

    threshold, f1 = expected_threshold(values, positives)
    assert 0 <= threshold <= 1
    assert f1 == pytest.approx(max([expected(value) for value in values], default=0.0))
    if f1:
        assert expected(threshold) == pytest.approx(f1)


def test_threshold_by_hand() -> None:
    # The first two: 2 * 1.7 / (2 + 2); a third would make it 2 * 1.9 / (3 + 2).
    assert expected_threshold([0.2, 0.9, 0.1, 0.8], 2.0) == pytest.approx((0.5, 0.85))
    threshold, _ = expected_threshold([0.5, 0.5, 0.1], 1.0)  # equal scores are not separated
    assert 0.1 < threshold <= 0.5
    assert expected_threshold([0.0, 0.0], 0.0) == expected_threshold([], 0.0) == (1.0, 0.0)


@pytest.mark.parametrize("score", [float("nan"), -0.1, 1.5])
def test_threshold_takes_probabilities_only(score: float) -> None:
    with pytest.raises(InputError):
        expected_threshold([0.5, score], 1.0)


def test_calibration_error_of_calibrated_scores_is_small() -> None:
    chance = np.random.default_rng(0)
    values = chance.uniform(size=20000)
    right = chance.uniform(size=20000) < values
    assert calibration_error(values.tolist(), right.tolist()) < 0.02
    assert calibration_error(values.tolist(), (~right).tolist()) > 0.3
    assert calibration_error([1.0, 1.0], [True, True]) == 0  # a score of 1 has a bin


def test_evaluate_predictions_puts_it_together() -> None:
    gold = ["likes", "likes", "married", "none"]
    forward = [OrderedDecision("likes", 0.8), NONE, NONE, OrderedDecision("none", 0.6)]
    backward = [NONE, OrderedDecision("likes", 0.8), OrderedDecision("married", 0.7), NONE]
    posts = ["p", "p", "q", "r"]
    result = evaluate_predictions(gold, forward, backward, posts, OPEN)
    given = ["likes", "none", "none", "none"]
    figures = [result[f"micro_{key}"] for key in ("precision", "recall", "f1")]
    assert (*figures, result["accuracy"]) == field_eval(gold, given, "none")
    assert result["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert result["micro_f1_order_free"] == pytest.approx(2 / 3)
    assert (result["pairs"], result["positives"], result["posts"]) == (4, 3, 3)
    assert result["micro_f1_ci"] == list(bootstrap_f1(gold, given, posts, "none"))
    free = order_free(forward, backward, OPEN)
    assert free == ["likes", "likes reversed", "married", "none"]
    assert result["micro_f1_order_free_ci"] == list(bootstrap_f1(gold, free, posts, "none"))
    assert result["confusion"]["labels"] == list(LABELS)
    assert result["confusion"]["counts"][1][:2] == [1, 1]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_evaluate_predictions_on_a_closed_schema() -> None:
    forward = [OrderedDecision("likes", 0.8), OrderedDecision(None, 0.1)]
    result = evaluate_predictions(["likes", "likes"], forward, forward, ["p", "q"], CLOSED)
    assert result["positives"] == 2 and order_free([NONE], [NONE], CLOSED) == [None]
    assert (result["micro_precision"], result["micro_recall"]) == (1.0, 0.5)
    assert result["confusion"]["labels"] == [None, *CLOSED.labels]
    assert result["micro_f1_ci"] == [0.0, 1.0]
    assert [row["relation"] for row in result["per_relation"]] == list(CLOSED.names)


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(InputError, match="'lkes'"):
        evaluate_predictions(["lkes"], [NONE], [NONE], ["p"], OPEN)
