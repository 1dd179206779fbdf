"""Metrics against slow, obvious references and against figures worked out by hand."""

from __future__ import annotations

import json
import random
import time
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
    confusion,
    evaluate_predictions,
    expected_threshold,
    macro_f1,
    micro,
    order_free,
    per_relation,
    take_better,
)
from rukh.schema.schema import RelationSchema

quick = settings(max_examples=60, deadline=None)

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

labels = st.sampled_from(LABELS)
pairs = st.lists(st.tuples(labels, labels), max_size=30)
# Few distinct scores, so that ties are common.
scores = st.sampled_from([0.0, 0.1, 0.25, np.nextafter(0.25, 1), 0.5, 0.9, 1.0])
decisions = st.builds(OrderedDecision, st.none() | labels, scores)


def field_eval(gold: list[str], predicted: list[str], nota: str | None) -> Micro:
    """The loop of OpenNRE's ``eval``, from which HVPNeT, MKGformer and MORE took theirs."""
    correct = correct_positive = predicted_positive = gold_positive = 0
    for g, p in zip(gold, predicted, strict=True):
        if g == p:
            correct += 1
            if g != nota:
                correct_positive += 1
        if g != nota:
            gold_positive += 1
        if p != nota:
            predicted_positive += 1

    def ratio(top: float, bottom: float) -> float:
        try:
            return top / bottom
        except ZeroDivisionError:
            return 0.0

    p, r = ratio(correct_positive, predicted_positive), ratio(correct_positive, gold_positive)
    return Micro(p, r, ratio(2 * p * r, p + r), ratio(correct, len(gold)))


@quick
@given(pairs, st.sampled_from(["none", "married", None]))
def test_micro_is_the_fields(both: list[tuple[str, str]], nota: str | None) -> None:
    gold, predicted = [g for g, _ in both], [p for _, p in both]
    assert micro(gold, predicted, nota) == pytest.approx(field_eval(gold, predicted, nota))


def test_micro_by_hand() -> None:
    gold = ["a", "a", "b", "none", "none", "b"]
    predicted = ["a", "b", "none", "none", "a", "b"]
    # Right positives 2, predicted positives 4, gold positives 4, right at all 3 of 6.
    assert micro(gold, predicted, "none") == Micro(0.5, 0.5, 0.5, 0.5)
    # Three gold, two of them found, one of those right.
    assert micro(["a", "b", "c"], ["a", "c", "none"], "none") == pytest.approx(
        (1 / 2, 1 / 3, 0.4, 1 / 3)
    )


def test_micro_without_nota_counts_every_label() -> None:
    assert micro(["a", "b"], ["a", "a"], None) == Micro(0.5, 0.5, 0.5, 0.5)
    # An unanswered pair is missed, but is no wrong positive.
    assert micro(["a", "b"], ["a", None], None) == pytest.approx((1.0, 0.5, 2 / 3, 0.5))


def test_none_stands_for_nota() -> None:
    gold = ["none", "a", "a"]
    assert micro(gold, [None, None, "a"], "none") == micro(gold, ["none", "none", "a"], "none")


@pytest.mark.parametrize("gold", [[], ["none"], ["a"]])
def test_division_by_zero_is_zero(gold: list[str]) -> None:
    found = micro(gold, ["none"] * len(gold), "none")
    assert (found.precision, found.recall, found.f1) == (0.0, 0.0, 0.0)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="zip"):
        micro(["a", "a"], ["a"], None)


@quick
@given(pairs)
def test_tables_against_loops(both: list[tuple[str, str]]) -> None:
    gold, predicted = [g for g, _ in both], [p for _, p in both]
    matrix = confusion(gold, predicted, LABELS)
    counted = Counter(both)
    assert {(g, p): matrix[i, j] for i, g in enumerate(LABELS) for j, p in enumerate(LABELS)} == {
        (g, p): counted[g, p] for g in LABELS for p in LABELS
    }

    rows = per_relation(matrix, LABELS, "none")
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


def test_confusion_names_a_foreign_label() -> None:
    with pytest.raises(InputError, match=r"'lkes'.*did you mean 'likes'"):
        confusion(["likes"], ["lkes"], LABELS)


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
    turned = {
        "none": "none",
        "married": "married",
        "employs": "employed_by",
        "employed_by": "employs",
        "likes": "likes reversed",
        "likes reversed": "likes",
    }
    assert there.relation is not None
    assert back.relation == turned[there.relation]


def test_wrong_direction_is_a_wrong_positive() -> None:
    none = OrderedDecision(None, 0.9)
    gold = ["likes", "likes", "married", "none"]
    forward = [OrderedDecision("likes", 0.8), none, none, none]
    backward = [none, OrderedDecision("likes", 0.8), OrderedDecision("married", 0.7), none]
    free = order_free(forward, backward, OPEN)
    assert free == ["likes", "likes reversed", "married", "none"]
    # Three predicted, three gold, two right; the reversed one is both a wrong and a missed one.
    assert micro(gold, free, "none") == pytest.approx((2 / 3, 2 / 3, 2 / 3, 3 / 4))


def test_closed_schema_may_leave_a_pair_unanswered() -> None:
    assert order_free([OrderedDecision(None, 0.5)], [OrderedDecision(None, 0.4)], CLOSED) == [None]


def test_bootstrap_against_a_loop() -> None:
    """The same draws, with the pairs themselves gathered instead of their counts."""
    chance = random.Random(1)
    gold = [chance.choice(LABELS) for _ in range(60)]
    predicted = [g if chance.random() < 0.5 else chance.choice(LABELS) for g in gold]
    posts = [f"p{chance.randrange(20)}" for _ in gold]
    names = list(dict.fromkeys(posts))
    generator = np.random.default_rng(7)
    f1s = []
    for _ in range(50):
        drawn = [names[i] for i in generator.integers(len(names), size=len(names))]
        chosen = [i for name in drawn for i, post in enumerate(posts) if post == name]
        f1s.append(field_eval([gold[i] for i in chosen], [predicted[i] for i in chosen], "none").f1)
    expected = np.quantile(f1s, [0.05, 0.95])
    found = bootstrap_f1(gold, predicted, posts, "none", draws=50, level=0.9, seed=7)
    assert found == pytest.approx(tuple(expected))


def test_bootstrap_resamples_posts_not_pairs() -> None:
    """All pairs of one post: no other post could have been drawn, so nothing is uncertain."""
    gold, predicted = ["likes"] * 10, ["likes"] * 5 + ["none"] * 5
    low, high = bootstrap_f1(gold, predicted, ["p"] * 10, "none")
    assert low == high == pytest.approx(2 / 3)
    apart = bootstrap_f1(gold, predicted, [str(i) for i in range(10)], "none")
    assert apart[0] < 2 / 3 < apart[1]


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    """Accuracy 0.6 on one-pair posts, all positive and all answered: F1 is a binomial share."""
    chance = np.random.default_rng(3)
    covered = 0
    for seed in range(60):
        right = chance.random(300) < 0.6
        predicted = ["likes" if r else "married" for r in right]
        low, high = bootstrap_f1(
            ["likes"] * 300, predicted, [str(i) for i in range(300)], "none", draws=200, seed=seed
        )
        covered += low <= 0.6 <= high
    assert 50 <= covered <= 60  # 57 expected; fewer than 50 has a probability below 1 in 1,000


def test_bootstrap_is_seeded_and_fast() -> None:
    size = 10_000
    chance = random.Random(0)
    gold = [chance.choice(LABELS) for _ in range(size)]
    predicted = [chance.choice(LABELS) for _ in range(size)]
    posts = [str(i) for i in range(size)]
    start = time.process_time()
    first = bootstrap_f1(gold, predicted, posts, "none")
    assert time.process_time() - start < 3
    assert first == bootstrap_f1(gold, predicted, posts, "none")
    assert first != bootstrap_f1(gold, predicted, posts, "none", seed=1)
    assert first[0] < micro(gold, predicted, "none").f1 < first[1]


def test_bootstrap_of_nothing() -> None:
    assert bootstrap_f1([], [], [], "none") == (0.0, 0.0)


@quick
@given(st.lists(scores, max_size=12), st.floats(0, 12))
def test_threshold_against_brute_force(values: list[float], positives: float) -> None:
    def expected(threshold: float) -> float:
        told = [value for value in values if value >= threshold]
        return 2 * sum(told) / (len(told) + positives) if told else 0.0

    threshold, f1 = expected_threshold(values, positives)
    assert 0 <= threshold <= 1
    assert f1 == pytest.approx(max([expected(value) for value in values], default=0.0))
    if f1:
        assert expected(threshold) == pytest.approx(f1)


def test_threshold_by_hand() -> None:
    # The first two: 2 * 1.7 / (2 + 2); a third would make it 2 * 1.9 / (3 + 2).
    assert expected_threshold([0.2, 0.9, 0.1, 0.8], 2.0) == pytest.approx((0.5, 0.85))


def test_threshold_does_not_part_equal_scores() -> None:
    threshold, _ = expected_threshold([0.5, 0.5, 0.1], 1.0)
    assert 0.1 < threshold <= 0.5


def test_the_threshold_of_calibrated_probabilities_is_half_of_what_they_reach() -> None:
    values = np.random.default_rng(0).beta(0.5, 1.5, 20_000)
    threshold, f1 = expected_threshold(values, float(values.sum()))
    assert threshold == pytest.approx(f1 / 2, abs=0.01)


def test_threshold_where_nothing_is_expected() -> None:
    assert expected_threshold([0.0, 0.0], 0.0) == (1.0, 0.0)
    assert expected_threshold([], 0.0) == (1.0, 0.0)


@pytest.mark.parametrize("score", [float("nan"), -0.1, 1.5])
def test_threshold_wants_probabilities(score: float) -> None:
    with pytest.raises(InputError, match=r"scores\[1\].*no probability"):
        expected_threshold([0.5, score], 1.0)


def test_evaluate_predictions_puts_it_together() -> None:
    none = OrderedDecision(None, 0.9)
    gold = ["likes", "likes", "married", "none"]
    forward = [OrderedDecision("likes", 0.8), none, none, OrderedDecision("none", 0.6)]
    backward = [none, OrderedDecision("likes", 0.8), OrderedDecision("married", 0.7), none]
    posts = ["p", "p", "q", "r"]
    result = evaluate_predictions(gold, forward, backward, posts, OPEN, draws=100, seed=5)

    given = ["likes", "none", "none", "none"]
    assert Micro(*(result[f"micro_{k}"] for k in ("precision", "recall", "f1")),
                 result["accuracy"]) == field_eval(gold, given, "none")  # fmt: skip
    assert result["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert result["micro_f1_order_free"] == pytest.approx(2 / 3)
    assert (result["pairs"], result["positives"], result["posts"]) == (4, 3, 3)
    interval = bootstrap_f1(gold, given, posts, "none", draws=100, seed=5)
    assert result["micro_f1_ci"] == list(interval)
    free = ["likes", "likes reversed", "married", "none"]
    interval = bootstrap_f1(gold, free, posts, "none", draws=100, seed=5)
    assert result["micro_f1_order_free_ci"] == list(interval)
    assert result["confusion"]["labels"] == list(LABELS)
    assert result["confusion"]["counts"][1][:2] == [1, 1]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_evaluate_predictions_on_a_closed_schema() -> None:
    forward = [OrderedDecision("likes", 0.8), OrderedDecision(None, 0.1)]
    result = evaluate_predictions(["likes", "likes"], forward, forward, ["p", "q"], CLOSED)
    assert result["positives"] == 2
    assert result["micro_recall"] == 0.5
    assert result["confusion"]["labels"] == [None, *CLOSED.labels]
    assert [row["relation"] for row in result["per_relation"]] == list(CLOSED.names)
