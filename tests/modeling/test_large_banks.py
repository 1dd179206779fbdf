"""A schema of thousands of relations, from its file to triples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest

from rukh import extractor as extraction
from rukh.extractor import Extractor
from rukh.modeling.model import RelationModel
from rukh.records import Pair, Post
from rukh.schema.schema import RelationSchema

Make = Callable[..., RelationModel]


@pytest.mark.parametrize("order", ["both", "joint"])
@pytest.mark.parametrize("markers", ["post", "levitated"])
def test_pairs_that_are_scored_some_at_a_time_get_the_same_answers(
    tiny_model: Make,
    posts: list[Post],
    monkeypatch: pytest.MonkeyPatch,
    order: str,
    markers: str,
) -> None:
    model = tiny_model(vision=True, markers=markers)
    model.config = model.config.model_copy(update={"order": order})
    extractor = Extractor(model, threshold=0)
    # Named, each pair is answered as asked; else the better order is told, and of a symmetric
    # relation both are equally good but for rounding.
    posts = [
        post.model_copy(
            update={
                "pairs": tuple(
                    Pair(head=head.id, tail=tail.id)
                    for head, tail in permutations(post.arguments, 2)
                )
            }
        )
        for post in posts
    ]
    want = extractor.extract(posts, top_k=2)
    assert want
    sizes = []
    scores = extractor.scores

    def recorded(some, pairs):  # type: ignore[no-untyped-def]
        sizes.append(sum(map(len, pairs)))
        return scores(some, pairs)

    monkeypatch.setattr(extractor, "scores", recorded)
    monkeypatch.setattr(extraction, "MAX_SCORES", 20)
    got = extractor.extract(posts, top_k=2)
    assert len(sizes) > len(posts) and 0 < max(sizes) <= 4
    assert [(t.post_id, t.head, t.tail, t.relation) for t in got] == [
        (t.post_id, t.head, t.tail, t.relation) for t in want
    ]
    for a, b in zip(got, want, strict=True):
        assert a.score == pytest.approx(b.score, abs=2e-5)


def test_three_thousand_relations_end_to_end(
    tiny_model: Make, posts: list[Post], tmp_path: Path, cache: Path
) -> None:
    lines = ["name: big", "nota: none", "relations:", "- {name: none}"]
    for i in range(3000):
        turned = f", inverse: r{i ^ 1}" if i % 10 < 2 else ""
        lines.append(f"- {{name: r{i}, descriptions: [the head is {i}, near {i}]{turned}}}")
    (tmp_path / "big.yaml").write_text("\n".join(lines))
    schema = RelationSchema.load(tmp_path / "big.yaml")
    model = tiny_model()
    model.config = model.config.model_copy(update={"order": "joint"})
    extractor = Extractor(model, schema=schema, threshold=0)
    triples = extractor.extract(posts, top_k=3)
    assert triples and all(t.relation in schema.names for t in triples)
    for triple in triples:
        assert triple.description in schema.relation(str(triple.relation)).descriptions
        assert len(triple.ranking or ()) == 3
