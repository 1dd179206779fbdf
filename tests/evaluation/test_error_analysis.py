"""What became of every pair, against a count by hand."""

from __future__ import annotations

import pytest

from conftest import schema_of
from rukh.evaluation.error_analysis import error_analysis
from rukh.evaluation.metrics import REVERSED, OrderedDecision
from rukh.schema.schema import RelationSchema


def test_every_kind_of_mistake_is_told_apart() -> None:
    schema = RelationSchema.load("mnre")
    peer, member = "/per/per/peer", "/per/org/member_of"
    gold = [peer, member, member, member, member, "None", "None", "None"]
    told = [peer, member, member + REVERSED, peer, "None", member, "None", member + REVERSED]
    scores = [0.9, 0.8, 0.7, 0.6, 0.1, 0.5, 0.2, 0.65]
    # The missed one's best relation would have been right.
    names = [peer, member, member + REVERSED, peer, member, member, peer, member]
    nearest = [OrderedDecision(n, s) for n, s in zip(names, scores, strict=True)]
    found = error_analysis(gold, told, nearest, schema)
    assert found["mistakes"] == {
        "right": 2, "reversed": 1, "confused": 1, "missed": 1, "invented": 2,
        "invented_reversed": 1,
    }  # fmt: skip
    assert found["relation_accuracy"] == 3 / 5
    # Of fifteen pairs of one with a relation and one without, eleven are in the right order.
    assert found["relation_auroc"] == pytest.approx(11 / 15)


def test_an_inverse_told_the_other_way_round_is_reversed() -> None:
    schema = schema_of()
    best = [OrderedDecision("employs", 0.9)]
    assert error_analysis(["works_at"], ["employs"], best, schema)["mistakes"]["reversed"] == 1


def test_what_cannot_be_asked_is_none() -> None:
    schema = RelationSchema.load("mnre")
    none = error_analysis(["None"], ["None"], [OrderedDecision("/per/per/peer", 0.1)], schema)
    assert none["relation_accuracy"] is None and none["relation_auroc"] is None
    peer = [OrderedDecision("/per/per/peer", 0.1)]
    assert error_analysis(["/per/per/peer"], ["None"], peer, schema)["relation_auroc"] is None


def test_a_schema_without_nota_invents_nothing() -> None:
    schema = schema_of(nota=None, relations=[r.model_dump() for r in schema_of().relations[1:]])
    best = [OrderedDecision("near", 0.9), OrderedDecision("lives_in", 0.2)]
    found = error_analysis(["near", "near"], ["near", None], best, schema)
    assert found["mistakes"]["invented"] == 0 and found["mistakes"]["missed"] == 1
    assert found["relation_auroc"] is None
