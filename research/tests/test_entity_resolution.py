"""The labelled pairs of names, and what the rules make of them."""

from __future__ import annotations

from collections import Counter

import pytest
from research.entity_resolution.measure import Counts, measure, read_pairs

from rukh.graph.names import Name, compatible


@pytest.mark.parametrize("half", ["dev", "test"])
def test_few_merges_are_wrong_and_most_are_found(half: str) -> None:
    counts, wrong = measure(half)
    assert counts.precision >= 0.98
    assert counts.recall >= 0.8
    assert counts.wrong + counts.missed == len(wrong)


def test_the_pairs_are_balanced_and_the_halves_have_the_same_kinds() -> None:
    dev, test = (list(read_pairs(half)) for half in ("dev", "test"))
    for half in (dev, test):
        assert Counter(pair["same"] for pair in half) == {True: 75, False: 75}
    assert {pair["kind"] for pair in dev} == {pair["kind"] for pair in test}
    texts = [
        {pair[key]["text"].casefold() for pair in half for key in "ab"} for half in (dev, test)
    ]
    assert not texts[0] & texts[1]
    for pair in dev + test:
        kinds = [Name(pair[key]["text"], pair[key]["type"]).kind for key in "ab"]
        assert not pair["same"] or compatible(*kinds) or pair["kind"] == "hashtag"


def test_shares() -> None:
    assert Counts(right=3, wrong=1, missed=2).precision == 0.75
    assert Counts(right=3, wrong=1, missed=2).recall == 0.6
    assert Counts(0, 0, 0).precision == Counts(0, 0, 0).recall == 0
