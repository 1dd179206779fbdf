"""The extractor: which pairs are predicted, in which order, and independent of what."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conftest import schema_of
from rukh import extractor as extraction
from rukh.arguments.candidates import PostPart, candidate_pairs
from rukh.errors import InputError
from rukh.extractor import Extractor, PostQuery
from rukh.modeling.directions import best_direction_only
from rukh.modeling.model import RelationModel
from rukh.modeling.scorers import PairScores
from rukh.records import EntityMention, ObjectMention, Pair, Post, TextEntity, Triple
from rukh.schema.schema import RelationSchema

Make = Callable[..., RelationModel]


def with_pairs(post: Post, *pairs: tuple[str, str]) -> Post:
    listed = tuple(Pair(head=head, tail=tail) for head, tail in pairs)
    return post.model_copy(update={"pairs": listed})


def ids(triples: list[Triple]) -> list[tuple[str, str, str]]:
    return [(t.post_id, t.head.id, t.tail.id) for t in triples]


def assert_close(one: list[Triple], other: list[Triple]) -> None:
    assert ids(one) == ids(other)
    for a, b in zip(one, other, strict=True):
        assert a.relation == b.relation and a.description == b.description
        assert a.score == pytest.approx(b.score, abs=2e-5)
        assert (a.gate is None) == (b.gate is None)


@pytest.fixture
def extractor(tiny_model: Make) -> Extractor:
    return Extractor(tiny_model(vision=True))


def test_listed_pairs_are_predicted_in_their_order(extractor: Extractor, posts: list[Post]) -> None:
    pairs = [("r", "a"), ("a", "r"), ("r", "a"), ("a", "org")]
    found = extractor.extract([with_pairs(posts[0], *pairs)])
    assert [(head, tail) for _, head, tail in ids(found)] == pairs
    assert found[0] == found[2] != found[1]
    assert extractor.extract([with_pairs(posts[0])]) == []


def test_triples_can_be_read_without_their_post(extractor: Extractor, posts: list[Post]) -> None:
    extractor.threshold = 0
    mentions = {m.id: m for t in extractor.extract(posts[:2]) for m in (t.head, t.tail)}
    assert mentions["a"] == EntityMention(id="a", text="Ann Lee", start=0, end=7, type="PER")
    assert mentions["hat"] == ObjectMention(id="hat", box=(0.1, 0.1, 0.4, 0.5), label="hat")
    assert len(mentions) == 6


def test_direction_is_known_only_of_listed_pairs(tiny_model: Make, posts: list[Post]) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update={"direction_mode": "joint"})
    listed = with_pairs(posts[0], ("r", "a"), ("a", "org"))
    undirected, directed = (Extractor(model, threshold=0, directed=d) for d in (False, True))
    for a, b in zip(undirected.extract([listed]), directed.extract([listed]), strict=True):
        assert b.relation == a.relation and b.score > a.score
    assert directed.extract([posts[0]]) == undirected.extract([posts[0]])


def test_types_are_normalized_to_the_schemas_names(tiny_model: Make, posts: list[Post]) -> None:
    def typed(*names: str) -> Post:
        entities = zip(posts[0].entities, names, strict=True)
        return posts[0].model_copy(
            update={"entities": tuple(e.model_copy(update={"type": n}) for e, n in entities)}
        )

    extractor = Extractor(tiny_model(), threshold=0)
    want = extractor.assign_types([typed("PER", "ORG", "LOC")])
    assert extractor.assign_types([typed("person", "ORGANIZATION", "GPE")]) == want
    relation = {"name": "x", "descriptions": ["y"], "tail": ["GPE"]}
    own = schema_of(relations=[{"name": "none"}, relation])
    (found,) = Extractor(tiny_model(), schema=own).assign_types([typed("PERSON", "ORG", "GPE")])
    assert [entity.type for entity in found.entities] == ["PER", "ORG", "GPE"]


def test_without_listed_pairs_each_two_arguments_get_one_triple(
    extractor: Extractor, posts: list[Post]
) -> None:
    extractor.threshold = 0
    found = extractor.extract(posts)
    pairs = {(post, frozenset(pair)) for post, *pair in ids(found)}
    # near allows every type, so that all pairs are candidates, but for two mentions of one name.
    assert len(pairs) == len(found) == sum(len(candidate_pairs(p, None)) // 2 for p in posts)
    # If all are listed in both orders, the triple without lists is that of the better order.
    both = [with_pairs(p, *candidate_pairs(p, None)) for p in posts]
    listed = extractor.extract(both)
    scores = dict(zip(ids(listed), [t.score for t in listed], strict=True))
    for triple in found:
        relation = extractor.schema.relation(triple.relation or "")
        assert triple.description in relation.descriptions
        post, head, tail = ids([triple])[0]
        assert scores[post, head, tail] == triple.score >= scores[post, tail, head]


@pytest.mark.parametrize("nota", ["none", None])
def test_the_threshold(tiny_model: Make, posts: list[Post], nota: str | None) -> None:
    schema = schema_of()
    if nota is None:
        schema = schema_of(nota=None, relations=[r.model_dump() for r in schema.relations[1:]])
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


@pytest.mark.parametrize(
    ("option", "value"),
    [("threshold", 2), ("threshold", float("nan")), ("threshold", "0.2"),
     ("type_constraints", "sfot")],
)  # fmt: skip
def test_invalid_options_are_errors(tiny_model: Make, option: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        Extractor(tiny_model(), **{option: value})
    assert caught.value.field == option


def test_rankings(extractor: Extractor, posts: list[Post]) -> None:
    post = with_pairs(posts[0], ("a", "r"))
    (plain,) = extractor.extract([post])
    assert plain.ranking is None
    (three,) = extractor.extract([post], top_k=3)
    (all_,) = extractor.extract([post], top_k=99)
    assert three.ranking is not None and all_.ranking is not None
    assert len(three.ranking) == 3 and three.ranking == all_.ranking[:3]
    assert {one.relation for one in all_.ranking} == set(extractor.schema.labels)
    scores = [one.score for one in all_.ranking]
    assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1, abs=1e-4)
    assert plain.score in scores


def test_triples_of_known_scores(
    extractor: Extractor, posts: list[Post], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NOTA, near (two descriptions), works_at, employs, lives_in."""
    logits = torch.tensor([[0.2, 0.7, 0.05, 0.05, 0.0], [0.6, 0.1, 0.1, 0.2, 0.0]]).log()
    best = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]])
    monkeypatch.setattr(extractor, "scores", lambda *_: [PairScores(logits, best, 0.25)])
    parts = [PostPart(posts[0], [("a", "r"), ("r", "a")])]
    query = PostQuery(posts[0], parts, pairs_given=True)
    extractor.threshold = 0.5
    ((near, none),) = extractor.predict([query], top_k=2)
    assert (near.relation, near.score, near.gate) == ("near", 0.7, 0.25)
    assert near.description == "head and tail are in a place"
    assert (none.relation, none.score, none.description) == ("none", 0.6, None)
    assert [one.relation for one in near.ranking or ()] == ["near", "none"]
    assert best_direction_only([none, near], "none") == [near]
    better = none.model_copy(update={"relation": "employs", "score": 0.8})
    assert best_direction_only([near, better], "none") == [better]
    assert best_direction_only([near.model_copy(update={"relation": None})], None) == []


def test_keys_of_a_row(extractor: Extractor, posts: list[Post]) -> None:
    post = with_pairs(posts[1], ("b", "hat"))
    keys = ["post_id", "head", "tail", "relation", "score", "description", "gate"]
    for top_k, more in ((0, []), (1, ["ranking"])):
        (triple,) = extractor.extract([post], top_k=top_k)
        row = triple.model_dump()
        assert list(row) == [*keys, *more, "schema_id"]
        assert list(row["head"]) == ["id", "text", "start", "end", "type"]
        assert list(row["tail"]) == ["id", "box", "type", "label"]
        assert Triple.model_validate_json(triple.model_dump_json()) == triple
        written = json.loads(triple.model_dump_json())
        assert triple.to_dict() == written and list(triple.to_dict()) == list(written)
        assert Triple.model_validate(triple.to_dict()) == triple


@pytest.mark.parametrize("size", [3, None])
def test_a_progress_bar_on_request(
    extractor: Extractor,
    posts: list[Post],
    capsys: pytest.CaptureFixture[str],
    size: int | None,
) -> None:
    extractor.extract(posts[:3])  # loads the vision encoder, which has a bar of its own
    capsys.readouterr()
    want = extractor.extract(posts[:3])
    assert capsys.readouterr().err == ""
    found = extractor.extract(posts[:3] if size else iter(posts[:3]), progress=True)
    shown = capsys.readouterr().err
    assert found == want and ("0/3" if size else "0post") in shown


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
    with pytest.raises(InputError):
        Extractor(tiny_model(relation={"scorer": "classification"}), schema=unseen)


def test_unreadable_images_are_recorded(
    extractor: Extractor, posts: list[Post], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    stream = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(stream, "PNG")
    images: list[Any] = [None, tmp_path / "gone.png", tmp_path / "broken.png", stream.getvalue()]
    post = with_pairs(posts[1], ("b", "hat"))
    copies = [post.model_copy(update={"id": str(i), "image": x}) for i, x in enumerate(images)]
    none, gone, broken, inline = extractor.extract(copies)
    assert none.gate is gone.gate is broken.gate is None
    assert inline.gate is not None and 0 < inline.gate < 1
    assert_close([none.model_copy(update={"post_id": "1"})], [gone])
    assert_close([none.model_copy(update={"post_id": "2"})], [broken])
    assert extractor.features is not None
    assert list(extractor.features.missing) == [str(tmp_path / "gone.png")]
    assert list(extractor.features.broken) == [str(tmp_path / "broken.png")]


def test_a_model_without_vision_reads_no_image(tiny_model: Make, posts: list[Post]) -> None:
    extractor = Extractor(tiny_model(), threshold=0)
    found = extractor.extract(posts)
    assert extractor.features is None and all(t.gate is None for t in found)


def test_posts_without_arguments_have_no_triples(
    extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    assert extractor.extract([]) == [] and not caplog.records
    assert list(extractor.stream(iter([Post(id="1", text=""), Post(id="2", text="x")]))) == [[], []]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and record.args == (2,)


@pytest.mark.parametrize("unknown", [1, 2])
def test_mostly_unknown_types_are_warned_of_once(
    tiny_model: Make, posts: list[Post], caplog: pytest.LogCaptureFixture, unknown: int
) -> None:
    entities = [e.model_copy(update={"type": "Wizard"}) for e in posts[0].entities[:unknown]]
    mixed = (*entities, *posts[0].entities[unknown:])
    mixed_posts = [posts[0].model_copy(update={"entities": mixed})] * 3
    Extractor(tiny_model(), type_constraints="off").extract(mixed_posts)
    assert not caplog.records
    Extractor(tiny_model()).extract(mixed_posts)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == unknown - 1 and all("'Wizard'" in message for message in messages)


@pytest.mark.parametrize("markers", ["post", "pair"])
def test_any_text_can_be_processed(tiny_model: Make, markers: str) -> None:
    extractor = Extractor(tiny_model(markers=markers))
    emoji, long = ["🙂🙂 works at 🏢", "e\u0301te\u0301 a\u200b"], ["Ann " * 2500, "x" * 10_000]
    for text in (*emoji, *long, "مرحبا في القاهرة", "Ann\r\nat\r\nAcme", "\u200b\u200b"):
        last = len(text.rstrip())
        entities = [{"id": "a", "start": 0, "end": 1}, {"id": "b", "start": last - 1, "end": last}]
        post = Post(id="p", text=text, entities=entities)
        (found,) = extractor.extract([with_pairs(post, ("a", "b"))])
        assert 0 <= found.score <= 1


@pytest.mark.parametrize("markers", ["post", "pair"])
def test_results_do_not_depend_on_the_other_posts(
    tiny_model: Make, posts: list[Post], monkeypatch: pytest.MonkeyPatch, markers: str
) -> None:
    extractor = Extractor(tiny_model(vision=True, markers=markers), threshold=0.2)
    long = Post(id="long", text="Ann " * 200, entities=posts[0].entities[:1])
    many = [*posts, long, *(p.model_copy(update={"id": p.id + "2"}) for p in posts)]
    together = extractor.extract(many)
    assert together
    monkeypatch.setattr(extraction, "CHUNK_SIZE", 2)
    assert_close(extractor.extract(many), together)


def test_streaming_reads_one_chunk_ahead(extractor: Extractor, posts: list[Post]) -> None:
    def endless() -> Iterator[Post]:
        while True:
            yield posts[0]

    stream = extractor.stream(endless())
    assert next(stream) == next(stream)


class Table:
    """Like a table of pandas or polars, which iterates over its columns."""

    columns = ["text"]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


@pytest.mark.parametrize(
    "wrong", ["a text", Post(id="1", text="one post"), {"text": "one post"}, Table()]
)
def test_posts_must_be_an_iterable_of_posts(extractor: Extractor, wrong: Any) -> None:
    for call in (extractor.extract, lambda posts: list(extractor.stream(posts))):
        with pytest.raises(InputError, match=f"not a {type(wrong).__name__}; pass a list"):
            call(wrong)


def test_posts_dictionaries_and_texts_may_be_mixed(extractor: Extractor, posts: list[Post]) -> None:
    extractor.threshold = 0
    full = with_pairs(posts[0], ("a", "r"))
    row = full.model_dump(exclude={"id", "image"}, exclude_defaults=True)
    named = {"id": "mine", **row, "entities": list(full.entities)}
    found = list(extractor.stream(iter([full, row, "Ann", named, "Bob"])))
    assert [[one.post_id for one in triples] for triples in found] == [
        [full.id],
        ["1"],
        [],
        ["mine"],
        [],
    ]
    (want,), (of_row,), _, (of_named,), _ = found
    assert_close([want.model_copy(update={"post_id": "1"})], [of_row])
    assert_close([want.model_copy(update={"post_id": "mine"})], [of_named])
    assert_close(extractor.extract([full, row]), [want, of_row])


def test_images_of_dictionaries(extractor: Extractor, posts: list[Post], tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(stream, "PNG")
    data, file = stream.getvalue(), tmp_path / "red.png"
    file.write_bytes(data)
    row = with_pairs(posts[1], ("b", "hat")).model_dump(exclude={"image", "id"})
    encoded = {"base64": base64.b64encode(data).decode()}
    images = [file, str(file), data, encoded]
    gates = [one.gate for one in extractor.extract([{**row, "image": image} for image in images])]
    assert gates[0] is not None and gates == pytest.approx([gates[0]] * 4)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (5, None),
        (None, None),
        ({"txt": "Ann"}, "txt"),
        ({}, "text"),
        ({"text": "Ann", "id": 5.5}, "id"),
        ({"text": "Ann", "entities": [{"id": "a", "start": 0, "end": 0}]}, "entities[0].end"),
        ({"text": "Ann", "image": "https://example.org/a.jpg"}, "image"),
        ({"text": "Ann", "image": {"base64": "?"}}, "image"),
        ("x" * 100_001, "text"),
    ],
)
def test_an_invalid_item_is_named_by_its_position(
    extractor: Extractor, wrong: Any, field: str | None
) -> None:
    with pytest.raises(InputError) as error:
        list(extractor.stream(iter(["Ann", "Bob", wrong])))
    assert (error.value.where, error.value.field) == ("posts[2]", field)


def test_a_list_is_checked_before_it_is_processed(
    extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "CHUNK_SIZE", 1)
    monkeypatch.setattr(extractor, "prepare", lambda _: pytest.fail("a post was processed"))
    items: list[Any] = ["Ann", {"text": 5}]
    with pytest.raises(InputError, match=r"posts\[1\]: text"):
        extractor.extract(items)


def test_own_types_accept_detected_entities_or_are_named(
    tiny_model: Make, caplog: pytest.LogCaptureFixture
) -> None:
    schema = schema_of(
        relations=[
            {"name": "none"},
            {"name": "near", "head": ["athlete"], "tail": ["Zzz"], "descriptions": ["x y"]},
        ],
        types={},
    )
    with caplog.at_level(logging.WARNING):
        extractor = Extractor(tiny_model(), schema=schema)
    assert extractor.schema.relation("near").head == ("athlete", "PER")
    # The tiny random encoder may take any word for near, so the tail is mapped or named.
    assert len(extractor.schema.relation("near").tail) == 2 or "Zzz" in caplog.text


def test_relations_that_only_have_a_name_are_named_once(
    tiny_model: Make, posts: list[Post], caplog: pytest.LogCaptureFixture
) -> None:
    relations = [
        {"name": "none"},
        {"name": "near", "descriptions": ["The head is near the tail."]},
        {"name": "works_at", "descriptions": ["Works at."]},
        {"name": "/per/loc/lives_in", "descriptions": ["lives in", "/per/loc/lives_in"]},
        {"name": "sees", "descriptions": ["sees", "The head looks at the tail."]},
    ]
    schema = schema_of(relations=relations)
    Extractor(tiny_model(), schema=schema).extract(posts)
    (record,) = (one for one in caplog.records if "description" in one.getMessage())
    assert record.levelname == "WARNING"
    assert ": 'works_at', '/per/loc/lives_in'; " in record.getMessage()
    caplog.clear()
    Extractor(tiny_model(relation={"label_names": True}), schema=schema)  # it reads names only
    Extractor(tiny_model(), schema=schema_of())
    Extractor(tiny_model(schema=schema))  # its training has warned
    assert not caplog.records


def test_an_open_tagger_is_asked_for_the_types_of_the_schema(tiny_model: Make) -> None:
    class Recorder:
        asked: Mapping[str, str] = {}

        def detect_entities(self, texts: Sequence[str]) -> list[list[TextEntity]]:
            return [[] for _ in texts]

        def assign_types(self, posts: Sequence[Post]) -> list[Post]:
            return list(posts)

        def with_types(self, types: Mapping[str, str]) -> Recorder:
            self.asked = types
            return self

    near = {"name": "near", "head": ["athlete"], "tail": ["PER"], "descriptions": ["x y"]}
    schema = schema_of(relations=[{"name": "none"}, near], types={"athlete": "player of a sport"})
    tagger = Recorder()
    assert Extractor(tiny_model(), tagger=tagger, schema=schema).schema == schema
    assert tagger.asked == {"athlete": "player of a sport", "PER": "person"}


def test_the_default_schema_of_a_model(tiny_model: Make) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update={"default_schema": "mnre"})
    assert Extractor(model).schema == RelationSchema.load("mnre")
    assert Extractor(model, schema=model.schema).schema == model.schema


def test_the_vision_encoder_is_not_loaded_for_texts(tiny_model: Make) -> None:
    model = tiny_model(vision=True)
    Extractor(model).extract([Post(id="1", text="Ann")])
    assert "vision" not in vars(model)
