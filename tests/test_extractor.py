"""The extractor: which questions are answered, in which order, and independent of what."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import schema_of
from rukh import extractor as extraction
from rukh.extractor import Extractor
from rukh.modeling.model import RelationModel
from rukh.records import Pair, Post, Triple

Make = Callable[..., RelationModel]


def with_pairs(post: Post, *pairs: tuple[str, str]) -> Post:
    named = tuple(Pair(head=head, tail=tail) for head, tail in pairs)
    return post.model_copy(update={"pairs": named})


def close(one: list[Triple], other: list[Triple]) -> None:
    assert [(t.post_id, t.head, t.tail) for t in one] == [
        (t.post_id, t.head, t.tail) for t in other
    ]
    for a, b in zip(one, other, strict=True):
        assert a.relation == b.relation and a.description == b.description
        assert a.score == pytest.approx(b.score, abs=2e-5)
        assert (a.gate is None) == (b.gate is None)


@pytest.fixture
def extractor(tiny_model: Make) -> Extractor:
    return Extractor(tiny_model(vision=True))


def test_named_pairs_are_answered_in_their_order(extractor: Extractor, posts: list[Post]) -> None:
    asks = [("r", "a"), ("a", "r"), ("r", "a"), ("a", "org")]
    found = extractor.extract([with_pairs(posts[0], *asks)])
    assert [(t.head, t.tail) for t in found] == asks
    assert found[0] == found[2] != found[1]
    assert extractor.extract([with_pairs(posts[0])]) == []


def test_a_given_direction_is_for_named_pairs(tiny_model: Make, posts: list[Post]) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update={"order": "joint"})
    named = with_pairs(posts[0], ("r", "a"), ("a", "org"))
    either, given = (Extractor(model, threshold=0, direction=d) for d in ("either", "given"))
    for before, after in zip(either.extract([named]), given.extract([named]), strict=True):
        assert after.relation == before.relation and after.score > before.score
    found = posts[0].model_copy(update={"pairs": None})
    assert given.extract([found]) == either.extract([found])


def test_types_are_read_in_the_words_of_the_schemas(tiny_model: Make, posts: list[Post]) -> None:
    def typed(*names: str) -> Post:
        entities = zip(posts[0].entities, names, strict=True)
        return posts[0].model_copy(
            update={"entities": tuple(e.model_copy(update={"type": n}) for e, n in entities)}
        )

    model = tiny_model()
    want = Extractor(model, threshold=0).extract([typed("PER", "ORG", "LOC")])
    assert Extractor(model, threshold=0).extract([typed("person", "ORGANIZATION", "GPE")]) == want
    relation = {"name": "x", "descriptions": ["y"], "tail": ["GPE"]}
    own = schema_of(relations=[{"name": "none"}, relation])
    (found,) = Extractor(model, schema=own).typed([typed("PERSON", "ORG", "GPE")])
    assert [entity.type for entity in found.entities] == ["PER", "ORG", "GPE"]


def test_without_names_each_two_arguments_get_one_answer(
    extractor: Extractor, posts: list[Post]
) -> None:
    extractor.threshold = 0
    found = extractor.extract(posts)
    told = [(t.post_id, frozenset((t.head, t.tail))) for t in found]
    assert len(set(told)) == len(told)
    # near takes every type, so that all of them are asked.
    assert len(told) == sum(len(p.arguments) * (len(p.arguments) - 1) // 2 for p in posts)
    # Named, all of them in both orders: what is told is the better order.
    both = [with_pairs(p, *permutations([a.id for a in p.arguments], 2)) for p in posts]
    scores = {(t.post_id, t.head, t.tail): t.score for t in extractor.extract(both)}
    for triple in found:
        assert triple.relation in extractor.bank.names
        owner = extractor.schema.relation(triple.relation or "")
        assert triple.description in owner.descriptions
        there, back = ((triple.head, triple.tail), (triple.tail, triple.head))
        assert scores[triple.post_id, *there] == triple.score
        assert scores[triple.post_id, *back] <= triple.score


@pytest.mark.parametrize("nota", ["none", None])
def test_the_threshold(tiny_model: Make, posts: list[Post], nota: str | None) -> None:
    schema = schema_of() if nota else schema_of(nota=None, relations=SCHEMA_WITHOUT_NOTA)
    model = tiny_model(schema=schema)
    post = with_pairs(posts[0], ("a", "r"), ("org", "a"))
    everything = Extractor(model, threshold=0).extract([post])
    assert all(t.relation in schema.names and t.description for t in everything)
    nothing = Extractor(model, threshold=1).extract([post])
    assert [(t.relation, t.description) for t in nothing] == [(nota, None)] * 2
    assert Extractor(model, threshold=1).extract(posts) == []
    best = max(t.score for t in everything)
    just = Extractor(model, threshold=best - 1e-5).extract([post])
    assert sum(t.relation in schema.names for t in just) >= 1
    assert Extractor(model).threshold == model.config.threshold


SCHEMA_WITHOUT_NOTA = [
    {"name": "near", "descriptions": ["the head is near the tail"]},
    {"name": "holds", "descriptions": ["the head holds the tail"]},
]


def test_rankings(extractor: Extractor, posts: list[Post]) -> None:
    post = with_pairs(posts[0], ("a", "r"))
    (plain,) = extractor.extract([post])
    assert plain.ranking is None
    (three,) = extractor.extract([post], top_k=3)
    (all_,) = extractor.extract([post], top_k=99)
    assert three.ranking is not None and all_.ranking is not None
    assert len(three.ranking) == 3 and three.ranking == all_.ranking[:3]
    assert {s.relation for s in all_.ranking} == set(extractor.schema.labels)
    scores = [s.score for s in all_.ranking]
    assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1, abs=1e-4)
    assert plain.score in scores


def test_relations_that_training_never_saw(tiny_model: Make, posts: list[Post]) -> None:
    unseen = schema_of(
        name="new",
        nota=None,
        relations=[
            {"name": "holds", "descriptions": ["the head holds the tail"]},
            {"name": "fears", "descriptions": ["the head fears the tail", "it is afraid"]},
        ],
    )
    found = Extractor(tiny_model(), schema=unseen, threshold=0).extract(posts)
    assert {t.relation for t in found} <= {"holds", "fears"} and found


def test_pictures_that_cannot_be_read_are_counted(
    extractor: Extractor, posts: list[Post], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    stream = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(stream, "PNG")
    images: list[Any] = [None, tmp_path / "gone.png", tmp_path / "broken.png", stream.getvalue()]
    ask = with_pairs(posts[1], ("b", "hat"))
    asked = [ask.model_copy(update={"id": str(i), "image": x}) for i, x in enumerate(images)]
    none, gone, broken, inline = extractor.extract(asked)
    assert none.gate is gone.gate is broken.gate is None
    assert inline.gate is not None and 0 < inline.gate < 1
    close([none.model_copy(update={"post_id": "1"})], [gone])
    close([none.model_copy(update={"post_id": "2"})], [broken])
    assert extractor.features is not None
    assert list(extractor.features.missing) == [str(tmp_path / "gone.png")]
    assert list(extractor.features.broken) == [str(tmp_path / "broken.png")]


def test_a_model_without_eyes_looks_at_no_picture(tiny_model: Make, posts: list[Post]) -> None:
    extractor = Extractor(tiny_model(), threshold=0)
    found = extractor.extract(posts)
    assert extractor.features is None and all(t.gate is None for t in found)


def test_nothing_to_ask(extractor: Extractor) -> None:
    assert extractor.extract([]) == []
    assert extractor.extract([Post(id="1", text=""), Post(id="2", text="no arguments")]) == []
    assert list(extractor.stream(iter([Post(id="1", text="x")]))) == [[]]


@pytest.mark.parametrize(
    "text",
    [
        "🙂🙂 works at 🏢",
        "مرحبا في القاهرة",
        "Ann\r\nat\r\nAcme",
        "e\u0301te\u0301 a\u200b",
        "\u200b\u200b",
        "Ann " * 2500,
        "x" * 10_000,
    ],
)
@pytest.mark.parametrize("markers", ["post", "levitated", "pair"])
def test_any_text_is_answered(tiny_model: Make, text: str, markers: str) -> None:
    extractor = Extractor(tiny_model(markers=markers))
    last = len(text.rstrip())
    entities = [{"id": "a", "start": 0, "end": 1}, {"id": "b", "start": last - 1, "end": last}]
    post = Post(id="p", text=text, entities=entities)
    (found,) = extractor.extract([with_pairs(post, ("a", "b"))])
    assert 0 <= found.score <= 1


@pytest.mark.parametrize("markers", ["post", "levitated", "pair"])
def test_it_does_not_matter_which_posts_come_together(
    tiny_model: Make, posts: list[Post], monkeypatch: pytest.MonkeyPatch, markers: str
) -> None:
    extractor = Extractor(tiny_model(vision=True, markers=markers), threshold=0.2)
    long = Post(id="long", text="Ann " * 200, entities=posts[0].entities[:1])
    many = [*posts, long, *(p.model_copy(update={"id": p.id + "2"}) for p in posts)]
    together = extractor.extract(many)
    assert together
    monkeypatch.setattr(extraction, "CHUNK", 2)
    close(extractor.extract(many), together)


def test_streaming_reads_no_further_than_it_must(extractor: Extractor, posts: list[Post]) -> None:
    def endless() -> Any:
        while True:
            yield posts[0]

    stream = extractor.stream(endless())
    assert next(stream) == next(stream)
