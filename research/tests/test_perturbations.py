"""Whatever befalls a post, it stays a valid post whose offsets point at the same arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from research.robustness.perturbations import TURNED, Edit, Others, rewrite

from rukh.records import Post
from rukh.registry import BUILTIN, resolve

NAMES = sorted(BUILTIN["perturbations"])
WORDS = st.lists(
    st.sampled_from(
        ["Ann", "Lee", "@ann", "#rome", "# tag", "RT @bob :", "https://x.y/z", "moved", "straße",
         "İstanbul", "❤️", "a", "ﬁlm", ",", "Acme's", "to  ", "\n"]
    ),
    min_size=1,
    max_size=12,
)  # fmt: skip


def post_of(words: list[str], spans: list[tuple[int, int]], name: str = "0") -> Post:
    """A post whose entities cover runs of words; nested, overlapping and equal ones among them."""
    text = " ".join(words)
    edges, at = [], 0
    for word in words:
        edges.append((at, at + len(word)))
        at += len(word) + 1
    entities = []
    for first, count in spans:
        start = edges[first % len(words)][0]
        end = edges[min(first % len(words) + count, len(words) - 1)][1]
        if text[start:end].strip():
            entities.append({"id": f"e{len(entities)}", "start": start, "end": end, "type": "PER"})
    objects = [{"id": "o", "box": (0.1, 0.2, 0.4, 0.9), "type": "hat"}]
    pairs = [{"head": e["id"], "tail": "o", "relation": "near"} for e in entities]
    return Post(
        id=name, text=text, caption="a photo", entities=entities, objects=objects, pairs=pairs
    )


SPANS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2)), max_size=4)
OTHER = Post(
    id="other",
    text="Cleo of Rome",
    caption="a drawing",
    entities=[
        {"id": "c", "start": 0, "end": 4, "type": "PER"},
        {"id": "r", "start": 8, "end": 12, "type": "LOC"},
    ],
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), WORDS, SPANS, st.integers(0, 3), st.integers(0, 10**6))
def test_every_perturbation_keeps_a_post_valid(
    name: str, words: list[str], spans: list[tuple[int, int]], severity: int, seed: int
) -> None:
    post = post_of(words, spans)
    others = Others([post, OTHER])

    def told() -> Post:
        found: Post = resolve("perturbations", name)(
            post, severity, np.random.default_rng(seed), others
        )
        return found

    after = told()
    assert after == told()  # the seed decides
    assert Post.model_validate(after.model_dump()) == after
    assert [a.id for a in after.arguments] == [a.id for a in post.arguments]
    assert len(after.pairs or ()) == len(post.pairs or ())
    if severity == 0:
        assert after == post
    for entity in post.entities:
        before, now = post.surface(entity.id), after.surface(entity.id)
        if name == "typos":
            assert abs(len(now) - len(before)) <= len(before.split())
            assert set(now) <= set(before)
        elif name == "casing":
            assert now.casefold() == before.casefold() or now.lower() == before.lower()
        elif name == "dropped-handles" or name == "emoji":
            assert now == before or "@" in before or "#" in before or "http" in before
        elif name == "entity-swap":
            # Itself, the other's, or itself with an entity swapped that lies in it.
            assert now.strip()
        else:
            assert now == before


@settings(max_examples=150, deadline=None)
@given(
    WORDS,
    SPANS,
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6), st.sampled_from(["", "x", "yyy "]))),
)
def test_rewriting_moves_every_offset_rightly(
    words: list[str], spans: list[tuple[int, int]], edits: list[tuple[int, int, str]]
) -> None:
    """Against a slow reference: every character of the text bears the entities that cover it."""
    post = post_of(words, spans)
    size = len(post.text)
    asked = [Edit(min(a, size), min(a + n, size), w) for a, n, w in edits]
    after = rewrite(post, asked)
    assert Post.model_validate(after.model_dump()) == after
    # What is outside of all edits is still there, in order, and in the same entities.
    touched = {i for e in asked for i in range(e.start, e.end)}
    for entity, now in zip(post.entities, after.entities, strict=True):
        kept = "".join(post.text[i] for i in range(entity.start, entity.end) if i not in touched)
        rest = iter(after.text[now.start : now.end])
        assert all(letter in rest for letter in kept)
        if not any(e.start < entity.end and e.end > entity.start for e in asked) and not any(
            entity.start < e.start < entity.end for e in asked
        ):
            assert after.surface(entity.id) == post.surface(entity.id)


def text_post(text: str, *spans: tuple[int, int]) -> Post:
    entities = [{"id": f"e{i}", "start": a, "end": b} for i, (a, b) in enumerate(spans)]
    return Post(id="1", text=text, entities=entities)


def perturb(name: str, post: Post, severity: int = 3, seed: int = 0, **others: Any) -> Post:
    found: Post = resolve("perturbations", name)(
        post, severity, np.random.default_rng(seed), Others([post, OTHER], **others)
    )
    return found


def test_edits_that_cannot_be_made_are_not() -> None:
    post = text_post("Ann in Rome", (0, 3), (7, 11))
    assert rewrite(post, [Edit(2, 5, "x")]) is post  # over an edge
    assert rewrite(post, [Edit(7, 11, " ")]) is post  # nothing would be left
    assert rewrite(post, [Edit(4, 6, "of"), Edit(5, 7, "zz")]).text == "Ann of Rome"
    told = rewrite(post, [Edit(0, 0, "! "), Edit(3, 3, "?"), Edit(11, 11, ".")])
    assert (told.text, told.surface("e0"), told.surface("e1")) == ("! Ann? in Rome.", "Ann", "Rome")


def test_handles_go_but_not_those_that_name_somebody() -> None:
    post = text_post("RT @fan : @ann sings #live in Rome https://t.co/x", (10, 14), (30, 34))
    told = perturb("dropped-handles", post)
    assert told.text == "@ann sings in Rome "
    assert [told.surface(e.id) for e in told.entities] == ["@ann", "Rome"]


def test_higher_severities_touch_what_lower_ones_do() -> None:
    text = "Several longer words that somebody might well misspell while hurrying along tonight"
    post = text_post(text)
    for seed in range(5):
        hit = [
            {i for i, word in enumerate(told.text.split()) if word != text.split()[i]}
            for told in (perturb("typos", post, s, seed) for s in range(4))
        ]
        assert hit[0] == set() and hit[1] <= hit[2] <= hit[3]
    assert hit[3]


def test_swaps_take_the_same_type_from_another_post() -> None:
    post = Post(
        id="1",
        text="Ann in Oslo",
        caption="x",
        entities=[
            {"id": "a", "start": 0, "end": 3, "type": "PER"},
            {"id": "o", "start": 7, "end": 11, "type": "LOC"},
        ],
    )
    assert perturb("entity-swap", post).text == "Cleo in Rome"
    assert perturb("caption-swap", post).caption == "a drawing"
    assert perturb("caption-removal", post).caption is None
    wrong = perturb("wrong-types", post)
    assert [e.type for e in wrong.entities] == ["LOC", "PER"]


def test_boxes_stay_in_the_picture_and_pairs_turn() -> None:
    post = Post(
        id="1",
        text="",
        objects=[{"id": "a", "box": (0, 0, 0.01, 1)}, {"id": "b", "box": (0.9, 0.9, 1, 1)}],
        pairs=[{"head": "a", "tail": "b", "relation": "near", "meta": {"k": 1}}],
    )
    for seed in range(20):
        moved = perturb("jittered-boxes", post, seed=seed)
        assert Post.model_validate(moved.model_dump()) and moved != post
    (pair,) = perturb("reversed-pairs", post).pairs or ()
    assert (pair.head, pair.tail, pair.relation) == ("b", "a", "near")
    assert pair.meta == {"k": 1, TURNED: True}


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_shares_are_about_what_they_say(severity: int) -> None:
    post = text_post("one two three")
    count = sum(perturb("emoji", post, severity, seed) != post for seed in range(400))
    assert count / 400 == pytest.approx((0, 0.25, 0.5, 1.0)[severity], abs=0.08)
