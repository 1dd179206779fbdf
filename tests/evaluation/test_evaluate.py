"""Metrics of an extractor against a count by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import schema_of
from rukh.errors import InputError
from rukh.evaluation.evaluate import error_analysis, evaluate_posts, predict_pairs
from rukh.evaluation.metrics import REVERSED, OrderedDecision
from rukh.extractor import Extractor
from rukh.modeling.model import RelationModel
from rukh.modeling.scorers import PairScores
from rukh.records import Pair, Post
from rukh.schema.schema import RelationSchema

Make = Callable[..., RelationModel]
CLOSED = schema_of(nota=None, relations=[r.model_dump() for r in schema_of().relations[1:]])


class TableExtractor(Extractor):
    """Takes (relation, probability) of each ordered pair from a table instead of its model."""

    table: dict[tuple[str, str], tuple[str, float]]

    def scores(self, posts: Any, pairs: Any) -> list[PairScores[float | None]]:
        out = []
        for post, some in zip(posts, pairs, strict=True):
            rows = torch.zeros(len(some), 1 + len(self.bank.names))
            for row, pair in zip(rows, some, strict=True):
                name, score = self.table[pair]
                row[self.bank.names.index(name) + 1] = score
                row[0] = 1 - score
            out.append(PairScores(rows.log(), torch.zeros(1), 0.5 if post.image else None))
        return out


def labelled(*pairs: tuple[str, str, str | None], name: str = "p", **more: Any) -> Post:
    entities = [{"id": c, "start": i, "end": i + 1, "type": "X"} for i, c in enumerate("abcd")]
    listed = [Pair(head=h, tail=t, relation=r) for h, t, r in pairs]
    return Post(id=name, text="abcd", entities=entities, pairs=listed, **more)


def test_metrics_by_hand(tiny_model: Make) -> None:
    extractor = TableExtractor(tiny_model(), threshold=0.5)
    extractor.table = {
        ("a", "b"): ("works_at", 0.9), ("b", "a"): ("employs", 0.6),   # right
        ("a", "c"): ("near", 0.7), ("c", "a"): ("near", 0.2),          # gold none: false positive
        ("b", "c"): ("near", 0.4), ("c", "b"): ("works_at", 0.8),      # forward none; backward
        ("c", "d"): ("lives_in", 0.3), ("d", "c"): ("lives_in", 0.1),  # gold none: right
        ("b", "d"): ("lives_in", 0.8), ("d", "b"): ("near", 0.1),      # gold near: wrong
    }  # fmt: skip
    posts = [
        labelled(("a", "b", "works_at"), ("a", "c", "none"), ("a", "d", None), image=b"x"),
        labelled(("b", "c", "employs"), ("c", "d", "none"), ("b", "d", "near"), name="q",
                 caption="dog"),
    ]  # fmt: skip
    found = evaluate_posts(extractor, iter(posts))
    # Predicted forward: works_at (right), near, lives_in; three pairs have a relation.
    assert found["micro_precision"] == pytest.approx(1 / 3)
    assert found["micro_recall"] == pytest.approx(1 / 3)
    assert found["micro_f1"] == pytest.approx(1 / 3)
    assert found["accuracy"] == pytest.approx(2 / 5)
    # Of both orders, (c, b) is works_at, which read from b to c is employs: right, too.
    assert found["micro_f1_order_free"] == pytest.approx(2 * 2 / (4 + 3))
    assert (found["pairs"], found["positives"], found["posts"]) == (5, 3, 2)
    assert found["mistakes"] == {
        "right": 2, "reversed": 0, "confused": 1, "missed": 0, "invented": 1,
        "invented_reversed": 0,
    }  # fmt: skip
    assert found["relation_accuracy"] == pytest.approx(2 / 3)
    # 0.9, 0.8 and 0.8 of the related against 0.7 and 0.3.
    assert found["relation_auroc"] == 1.0
    counted = ("unlabelled", "images_used", "captions_used", "images_missing", "images_broken")
    assert [found[key] for key in counted] == [1, 1, 1, 0, 0]
    json.dumps(found, allow_nan=False)
    pairs = predict_pairs(extractor, posts)
    assert pairs.post_ids == ["p", "p", "q", "q", "q"]
    assert [d.score for d in pairs.given] == pytest.approx([0.9, 0.7, 0.4, 0.3, 0.8])
    assert pairs.correct == [True, False, False, False, False]


@pytest.mark.parametrize(("schema", "expected"), [(schema_of(), "none"), (CLOSED, "works_at")])
def test_a_schema_without_nota_ignores_the_threshold(
    tiny_model: Make, schema: RelationSchema, expected: str
) -> None:
    extractor = TableExtractor(tiny_model(), threshold=0.5, schema=schema)
    extractor.table = {("a", "b"): ("works_at", 0.1), ("b", "a"): ("near", 0.05)}
    pairs = predict_pairs(extractor, [labelled(("a", "b", "near"))])
    assert [decision.relation for decision in pairs.forward] == [expected]


def test_a_known_direction_makes_the_scores_higher(tiny_model: Make) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update={"direction_mode": "joint"})
    posts = [labelled(("a", "b", "lives_in"))]
    either, directed = (predict_pairs(Extractor(model, directed=d), posts) for d in (False, True))
    assert directed.given[0].score > either.given[0].score
    assert directed.forward == either.forward == either.given


def test_unknown_and_missing_labels(tiny_model: Make) -> None:
    extractor = Extractor(tiny_model())
    with pytest.raises(InputError, match="'work_at'.*'works_at'"):
        evaluate_posts(extractor, [labelled(("a", "b", "work_at"))])
    for posts in ([], [labelled(("a", "b", None))], [labelled()]):
        with pytest.raises(InputError):
            evaluate_posts(extractor, posts)


def test_unreadable_images_are_counted_and_unknown_types_warned_of(
    tiny_model: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    posts = [
        labelled(("a", "b", "near"), name=name, image=tmp_path / name)
        for name in ("gone.png", "broken.png", "gone.png")
    ]
    found = evaluate_posts(Extractor(tiny_model(vision=True)), posts)
    counted = ("images_used", "images_missing", "images_broken")
    assert [found[key] for key in counted] == [0, 2, 1]
    assert sum("'X'" in record.getMessage() for record in caplog.records) == 1


def test_every_kind_of_mistake() -> None:
    schema = RelationSchema.load("mnre")
    peer, member = "/per/per/peer", "/per/org/member_of"
    gold = [peer, member, member, member, member, "None", "None", "None"]
    predicted = [peer, member, member + REVERSED, peer, "None", member, "None", member + REVERSED]
    scores = [0.9, 0.8, 0.7, 0.6, 0.1, 0.5, 0.2, 0.65]
    # The missed one's best relation would have been right.
    names = [peer, member, member + REVERSED, peer, member, member, peer, member]
    nearest = [OrderedDecision(n, s) for n, s in zip(names, scores, strict=True)]
    found = error_analysis(gold, predicted, nearest, schema)
    assert found["mistakes"] == {
        "right": 2, "reversed": 1, "confused": 1, "missed": 1, "invented": 2,
        "invented_reversed": 1,
    }  # fmt: skip
    assert found["relation_accuracy"] == 3 / 5
    # Of fifteen pairs of one with a relation and one without, eleven are in the right order.
    assert found["relation_auroc"] == pytest.approx(11 / 15)
    # An inverse names the reverse direction.
    found = error_analysis(["works_at"], ["employs"], nearest[:1], schema_of())
    assert found["mistakes"]["reversed"] == 1


@pytest.mark.parametrize(
    ("gold", "schema", "accuracy"),
    [("none", schema_of(), None), ("near", schema_of(), 1.0), ("near", CLOSED, 1.0)],
)
def test_what_is_undefined_is_none(
    gold: str, schema: RelationSchema, accuracy: float | None
) -> None:
    found = error_analysis([gold], [None], [OrderedDecision("near", 0.1)], schema)
    assert found["relation_accuracy"] == accuracy and found["relation_auroc"] is None
    assert found["mistakes"]["invented"] == 0
