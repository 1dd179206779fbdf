"""Explanations: what is weighed, whether it adds up, and what is asked about changed posts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from rukh.errors import InputError
from rukh.explain import (
    Explanation,
    Method,
    add_reasons,
    embedding_map,
    explain,
    without_words,
)
from rukh.extractor import Extractor
from rukh.modeling.model import RelationModel
from rukh.records import Post, Triple, WordWeight

METHODS = get_args(Method)


@pytest.fixture(scope="module")
def opened() -> Extractor:
    return Extractor.from_pretrained("open")


@pytest.fixture
def tiny(tiny_model: Callable[..., RelationModel]) -> Extractor:
    return Extractor(tiny_model(vision=True), threshold=0)


def first(extractor: Extractor, text: str) -> tuple[Post, Triple]:
    ((post, (triple, *_)),) = extractor.stream_posts([text], top_k=2)
    return post, triple


@pytest.mark.parametrize("method", METHODS)
def test_the_reason_is_the_words_that_state_it(opened: Extractor, method: Method) -> None:
    for text, word in {
        "Ann Lee was born in Rome.": "born",
        "Yesterday Ann Lee married Bo Marsh.": "married",
    }.items():
        explanation = explain(opened, *first(opened, text), method=method)
        assert word in " ".join(one.text for one in explanation.reason)
        assert max(explanation.words, key=lambda one: one.weight).text == word
        for one in explanation.words:
            assert text[one.start : one.end] == one.text
        without = next(c for c in explanation.changes if word in c.what)
        assert without.before < explanation.triple.score / 2


def test_integrated_gradients_add_up_and_occlusion_need_not(opened: Extractor) -> None:
    post, triple = first(opened, "Ann Lee was born in Rome.")
    error = explain(opened, post, triple, method="integrated_gradients").error
    assert error is not None and error < 0.01
    assert explain(opened, post, triple).error is None


def test_descriptions_are_those_of_the_relation_the_matching_one_first(opened: Extractor) -> None:
    post, triple = first(opened, "Ann Lee was born in Rome.")
    explanation = explain(opened, post, triple, with_changes=False)
    texts = [text for text, _ in explanation.descriptions]
    assert texts[0] == triple.description
    assert {*texts} == {*opened.schema.relation("born in").descriptions}
    similarities = [value for _, value in explanation.descriptions]
    assert similarities == sorted(similarities, reverse=True)
    assert explanation.changes == ()


@pytest.mark.parametrize("method", METHODS)
def test_pictures_are_weighed_patch_by_patch(
    tiny: Extractor, posts: list[Post], method: Method
) -> None:
    post = next(one for one in posts if one.image is not None and one.text)
    (result,) = tiny.stream_posts([post])
    found = [explain(tiny, result.post, triple, method=method) for triple in result.triples]
    (image,) = tiny.visual_features([result.post])
    assert image is not None
    for explanation in found:
        boxes = [region.box for region in explanation.regions]
        assert torch.tensor(boxes).allclose(image.boxes)
        assert any(region.weight for region in explanation.regions)
        assert explanation.changes[0].what == "without the picture"
        assert len(explanation.words) >= 3


def test_a_post_without_picture_or_words(tiny: Extractor, posts: list[Post]) -> None:
    for post in posts:
        (result,) = tiny.stream_posts([post.model_copy(update={"image": None})])
        for triple in result.triples:
            assert explain(tiny, result.post, triple).regions == ()


def test_types_that_would_change_the_answer(opened: Extractor) -> None:
    post, triple = first(opened, "Ann Lee was born in Rome.")
    changes = {change.what: change for change in explain(opened, post, triple).changes}
    assert changes["with a tail of type TIME"].relation != "born in"
    assert "with a tail of type LOC" not in changes


def test_only_triples_of_the_post_and_the_schema(opened: Extractor) -> None:
    post, triple = first(opened, "Ann Lee was born in Rome.")
    with pytest.raises(InputError, match="relation None is not in schema 'general'"):
        explain(opened, post, triple.model_copy(update={"relation": None}))
    with pytest.raises(InputError, match="not one of post 'other'"):
        explain(opened, post.model_copy(update={"id": "other"}), triple)


def test_reasons_join_neighbours_and_leave_out_the_arguments() -> None:
    words = [("Ann", 0, 5.0), ("is", 4, 0.1), ("chief", 7, 2.0), ("cook", 13, 1.5), ("at", 18, 0.2)]
    words += [("Acme", 21, 4.0), ("!", 25, 3.0), ("not", 27, -2.0)]
    weights = [WordWeight(text=t, start=s, end=s + len(t), weight=w) for t, s, w in words]
    mentions = [
        {"id": t, "text": t, "start": s, "end": s + len(t)} for t, s, _ in (words[0], words[5])
    ]
    triple = Triple(
        post_id="1", head=mentions[0], tail=mentions[1], relation="works for", score=0.9
    )
    explanation = Explanation(triple, tuple(weights), (), (), (), None)
    assert [(w.text, w.weight) for w in explanation.reason] == [("chief cook", 3.5)]


def test_words_are_removed_with_their_offsets() -> None:
    entities = [
        {"id": "a", "start": 0, "end": 3},
        {"id": "r", "start": 16, "end": 20},
        {"id": "wide", "start": 0, "end": 20},
    ]
    post = Post(id="1", text="Ann was born in Rome", entities=entities)
    shorter = without_words(post, [(4, 7), (8, 12)])
    assert shorter.text == "Ann   in Rome"
    assert [shorter.surface(e.id) for e in shorter.entities] == ["Ann", "Rome", shorter.text]


def test_reasons_in_a_stream(opened: Extractor) -> None:
    texts = ["Ann Lee was born in Rome.", "Nothing here."]
    (one, two) = add_reasons(opened, opened.stream_posts(texts))
    assert [word.text for word in one.triples[0].reason or ()] == ["born"]
    assert two.triples == []
    assert json.loads(one.triples[0].model_dump_json())["reason"][0]["text"] == "born"


def test_the_map_has_similar_pairs_and_relations_near_each_other(opened: Extractor) -> None:
    texts = [
        "Ann Lee was born in Rome.",
        "Bo Marsh, born in Oslo.",
        "Nobody.",
        "Bo Marsh married Cy Dale.",
    ]
    results = list(opened.stream_posts(texts))
    pairs, relations = embedding_map(opened, results)
    assert len(pairs) == sum(len(one.triples) for one in results)
    assert len(relations) == len(opened.bank.names)
    (one, two, *others) = torch.tensor(pairs)
    assert (one - two).norm() < (one - others[-1]).norm()
    assert embedding_map(opened, []) == ([], relations)


def test_the_command(rukh: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    rows = [{"id": "1", "text": "Ann Lee was born in Rome."}, {"id": "2", "text": "Bo led Acme."}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = rukh("explain", path, "--post", "1").out
    assert "Ann Lee -- born in -> Rome" in text
    assert "words: 'born'" in text
    (line,) = rukh("explain", path, "--post", "1", "--out", "-").out.splitlines()
    row = json.loads(line)
    assert {"words", "regions", "descriptions", "changes", "reason"} <= row.keys()
    done = rukh("explain", path, "--post", "3")
    assert done.code == 2 and "no post has the id '3'" in done.err
    extracted = rukh("extract", path, "--explain", "--table").out
    assert "because of 'born'" in extracted
    done = rukh("extract", path, "--explain", "--out", tmp_path / "t.csv")
    assert done.code == 2 and "--explain" in done.err
