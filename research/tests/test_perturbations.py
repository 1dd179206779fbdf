"""Every perturbation keeps a post valid, and its offsets at the same arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from research.robustness.perturbations import SWAPPED, Edit, Others, rewrite
from research.robustness.study import PERTURBATIONS

from rukh.records import Post

WORDS = st.lists(
    st.sampled_from(
        ["Ann", "Lee", "@ann", "#rome", "# tag", "RT @bob :", "https://x.y/z", "moved", "straße",
         "İstanbul", "❤️", "a", "ﬁlm", ",", "Acme's", "to  ", "\n"]
    ),
    min_size=1,
    max_size=12,
)  # fmt: skip
SPANS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2)), max_size=4)
EDITS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 6), st.sampled_from(["", "x", "yyy "]))
)
OTHER = Post(
    id="other",
    text="Cleo of Rome",
    caption="a drawing",
    entities=[
        {"id": "c", "start": 0, "end": 4, "type": "PER"},
        {"id": "r", "start": 8, "end": 12, "type": "LOC"},
    ],
)


def make_post(words: list[str], spans: list[tuple[int, int]]) -> Post:
    """A post whose entities cover runs of words, given as first word and number of further ones;
    nested, overlapping and equal ones among them.
    """
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
        id="0", text=text, caption="a photo", entities=entities, objects=objects, pairs=pairs
    )


def text_post(text: str, *spans: tuple[int, int]) -> Post:
    entities = [{"id": f"e{i}", "start": a, "end": b} for i, (a, b) in enumerate(spans)]
    return Post(id="1", text=text, entities=entities)


def perturb(name: str, post: Post, severity: int = 3, seed: int = 0) -> Any:
    others = Others([post, OTHER])
    return PERTURBATIONS[name](post, severity, np.random.default_rng(seed), others)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(PERTURBATIONS)), WORDS, SPANS, st.integers(0, 3), st.integers(0, 99))
def test_every_perturbation_keeps_a_post_valid(
    name: str, words: list[str], spans: list[tuple[int, int]], severity: int, seed: int
) -> None:
    post = make_post(words, spans)
    after = perturb(name, post, severity, seed)
    assert after == perturb(name, post, severity, seed)
    assert Post.model_validate(after.model_dump()) == after
    assert [a.id for a in after.arguments] == [a.id for a in post.arguments]
    assert len(after.pairs or ()) == len(post.pairs or ())
    if severity == 0:
        assert after == post
    for entity in post.entities:
        old, new = post.surface(entity.id), after.surface(entity.id)
        if name == "typos":
            assert abs(len(new) - len(old)) <= len(old.split())
            assert set(new) <= set(old)
        elif name == "casing":
            assert new.casefold() == old.casefold() or new.lower() == old.lower()
        elif name in ("dropped-handles", "emoji"):
            assert new == old or "@" in old or "#" in old or "http" in old
        elif name == "entity-swap":  # itself, another, or itself with a nested entity replaced
            assert new.strip()
        else:
            assert new == old


@settings(max_examples=150, deadline=None)
@given(WORDS, SPANS, EDITS)
def test_rewriting_keeps_what_is_outside_of_all_edits(
    words: list[str], spans: list[tuple[int, int]], edits: list[tuple[int, int, str]]
) -> None:
    post = make_post(words, spans)
    size = len(post.text)
    requested = [Edit(min(a, size), min(a + n, size), w) for a, n, w in edits]
    after = rewrite(post, requested)
    assert Post.model_validate(after.model_dump()) == after
    touched = {i for e in requested for i in range(e.start, e.end)}
    for old, new in zip(post.entities, after.entities, strict=True):
        kept = "".join(post.text[i] for i in range(old.start, old.end) if i not in touched)
        rest = iter(after.text[new.start : new.end])
        assert all(letter in rest for letter in kept)  # in order
        if not any(
            (e.start < old.end and e.end > old.start) or old.start < e.start < old.end
            for e in requested
        ):
            assert after.surface(old.id) == post.surface(old.id)


def test_impossible_edits_are_skipped() -> None:
    post = text_post("Ann in Rome", (0, 3), (7, 11))
    assert rewrite(post, [Edit(2, 5, "x")]) is post  # across an edge
    assert rewrite(post, [Edit(7, 11, " ")]) is post  # would leave nothing of an entity
    assert rewrite(post, [Edit(4, 6, "of"), Edit(5, 7, "zz")]).text == "Ann of Rome"
    after = rewrite(post, [Edit(0, 0, "! "), Edit(3, 3, "?"), Edit(11, 11, ".")])
    assert after.text == "! Ann? in Rome."
    assert [after.surface(e.id) for e in after.entities] == ["Ann", "Rome"]


def test_handles_that_are_entities_stay() -> None:
    post = text_post("RT @fan : @ann sings #live in Rome https://t.co/x", (10, 14), (30, 34))
    after = perturb("dropped-handles", post)
    assert after.text == "@ann sings in Rome "
    assert [after.surface(e.id) for e in after.entities] == ["@ann", "Rome"]


def test_higher_severities_change_what_lower_ones_do() -> None:
    text = "Several longer words that somebody might well misspell while hurrying along tonight"
    for seed in range(5):
        hit = [
            {
                i
                for i, (old, new) in enumerate(zip(text.split(), after.text.split(), strict=True))
                if old != new
            }
            for after in (perturb("typos", text_post(text), s, seed) for s in range(4))
        ]
        assert hit[0] == set() and hit[1] <= hit[2] <= hit[3] and hit[3]


def test_swaps_take_the_same_type_from_another_post() -> None:
    entities = [
        {"id": "a", "start": 0, "end": 3, "type": "PER"},
        {"id": "o", "start": 7, "end": 11, "type": "LOC"},
    ]
    post = Post(id="1", text="Ann in Oslo", caption="x", entities=entities)
    assert perturb("entity-swap", post).text == "Cleo in Rome"
    assert perturb("caption-swap", post).caption == "a drawing"
    assert perturb("caption-removal", post).caption is None
    assert [e.type for e in perturb("wrong-types", post).entities] == ["LOC", "PER"]


def test_boxes_stay_in_the_image_and_pairs_are_reversed() -> None:
    post = Post(
        id="1",
        text="",
        objects=[{"id": "a", "box": (0, 0, 0.01, 1)}, {"id": "b", "box": (0.9, 0.9, 1, 1)}],
        pairs=[{"head": "a", "tail": "b", "relation": "near", "meta": {"k": 1}}],
    )
    for seed in range(20):
        moved = perturb("jittered-boxes", post, seed=seed)
        assert Post.model_validate(moved.model_dump()) and moved != post
    (pair,) = perturb("reversed-pairs", post).pairs
    assert (pair.head, pair.tail, pair.relation) == ("b", "a", "near")
    assert pair.meta == {"k": 1, SWAPPED: True}


@pytest.mark.parametrize(("severity", "share"), [(1, 0.25), (2, 0.5), (3, 1.0)])
def test_severities_are_shares(severity: int, share: float) -> None:
    post = text_post("one two three")
    count = sum(perturb("emoji", post, severity, seed) != post for seed in range(400))
    assert count / 400 == pytest.approx(share, abs=0.08)
