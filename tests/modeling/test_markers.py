"""What every marked sequence guarantees, in both schemes and for posts that nobody would write."""

from __future__ import annotations

from itertools import permutations
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers_modeling import all_pairs
from rukh.modeling.markers import (
    END,
    START,
    WORD,
    MarkedSequence,
    Markers,
    TokenizedPost,
    build_sequences,
    tokenize_post,
)
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Post

SCHEMES = get_args(Markers)
# Words, parts of words, characters that the tokenizer drops, other scripts, emoji.
PARTS = [
    "Ann",
    " ",
    "works",
    ".",
    "xyz",
    "\u200b",
    "\u0301",
    "\r\n",
    "مر",
    "🙂",
    "é",
    "日本",
    "a-b",
]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=40).map("".join)
BOXES = ((0.0, 0.0, 0.5, 0.5), (0.2, 0.1, 0.9, 0.8))
Pairs = list[tuple[str, str]]


@pytest.fixture(scope="session")
def bert(tiny_text: str) -> TextEncoder:
    return TextEncoder.load(tiny_text)


@st.composite
def posts_with_pairs(draw: Any) -> tuple[Post, Pairs]:
    text = draw(TEXTS)
    entities = []
    if text:
        for start in draw(st.lists(st.integers(0, len(text) - 1), max_size=6)):
            end = draw(st.integers(start + 1, len(text)))
            if text[start:end].strip():
                entities.append({"id": f"e{len(entities)}", "start": start, "end": end})
    boxes = draw(st.lists(st.sampled_from(BOXES), max_size=3))
    objects = [{"id": f"o{i}", "box": box, "label": "hat"} for i, box in enumerate(boxes)]
    caption = draw(st.none() | TEXTS)
    post = Post(id="p", text=text, caption=caption, entities=entities, objects=objects)
    pairs = all_pairs(post)
    return post, draw(st.lists(st.sampled_from(pairs), max_size=12)) if pairs else []


def words(sequence: MarkedSequence, segment: int = 0) -> list[int]:
    """Token ids without markers, special tokens included."""
    positions = zip(sequence.ids, sequence.roles, sequence.segments, strict=True)
    return [id_ for id_, role, part in positions if role == WORD and part == segment]


def check_sequences(
    post: TokenizedPost, pairs: Pairs, sequences: list[MarkedSequence], scheme: str, limit: int
) -> None:
    assert sorted(pair.pair for one in sequences for pair in one.pairs) == [*range(len(pairs))]
    in_text = [name for name, span in post.arguments.items() if span.object is None]
    for sequence in sequences:
        columns = (sequence.ids, sequence.roles, sequence.types, sequence.segments)
        assert {len(column) for column in columns} == {len(sequence)}
        assert len(sequence) <= limit and sequence.pairs
        assert scheme == "post" or len(sequence.pairs) == 1
        names = {name for one in sequence.pairs for name in pairs[one.pair]}
        marked = sum(role != WORD for role in sequence.roles)
        # If there is room, scheme post also marks the arguments of no pair.
        all_marked = scheme == "post" and len(sequences) == 1 and marked == 2 * len(in_text)
        assert all_marked or marked == 2 * len(names & {*in_text})
        for one in sequence.pairs:
            for position, name in zip(one[1:], pairs[one.pair], strict=True):
                check_position(post, sequence, position, name)


def check_position(
    post: TokenizedPost, sequence: MarkedSequence, position: tuple[int, int], name: str
) -> None:
    span = post.arguments[name]
    if span.object is not None:
        assert position == (-1 - span.object,) * 2
        return
    start, end = position
    assert start < end and sequence.roles[start] != WORD != sequence.roles[end]
    assert sequence.types[start] == sequence.types[end] == span.type
    inside = [sequence.ids[i] for i in range(start, end) if sequence.roles[i] == WORD]
    ids = post.text.ids[span.start : span.end]
    if words(sequence)[1:-1] == post.text.ids:
        assert inside == ids
    else:  # truncated: some are missing, the others are in order
        rest = iter(ids)
        assert all(id_ in rest for id_ in inside)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(posts_with_pairs(), st.sampled_from([64, 128]), st.sampled_from([0, 50]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sequences_of_odd_posts(
    bert: TextEncoder, scheme: Markers, given_: tuple[Post, Pairs], limit: int, caption_words: int
) -> None:
    post, pairs = given_
    tokenized = tokenize_post(post, bert, caption_words)
    sequences = build_sequences(tokenized, pairs, scheme, bert, limit)
    check_sequences(tokenized, pairs, sequences, scheme, limit)
    if limit == 128:  # nothing is truncated
        plain = build_sequences(tokenize_post(post, bert, 0), pairs, scheme, bert, 512)
        captioned = build_sequences(tokenized, pairs, scheme, bert, 512)
        assert [one.without_caption() for one in captioned] == plain


def make_post(count: int, text: str, width: int = 3) -> Post:
    """A post with ``count`` entities spread over a text."""
    step = max(1, (len(text) - width) // count)
    entities = [{"id": f"e{i}", "start": i * step, "end": i * step + width} for i in range(count)]
    return Post(id="p", text=text, entities=entities)


WIDE = Post(
    id="wide",
    text="word " * 1000,
    entities=({"id": "all", "start": 0, "end": 4999}, {"id": "one", "start": 2500, "end": 2504}),
)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("limit", [64, 512])
@pytest.mark.parametrize(
    ("post", "num_pairs"),
    [
        (make_post(6, "ann works at acme. " * 300), 30),
        (make_post(300, "abcd " * 300), 400),
        (WIDE, 2),
    ],
)
def test_long_texts_and_many_arguments(
    bert: TextEncoder, scheme: Markers, limit: int, post: Post, num_pairs: int
) -> None:
    pairs = all_pairs(post)[:num_pairs]
    tokenized = tokenize_post(post, bert, 0)
    sequences = build_sequences(tokenized, pairs, scheme, bert, limit)
    check_sequences(tokenized, pairs, sequences, scheme, limit)


def test_a_truncated_text_keeps_the_words_nearest_to_its_arguments(bert: TextEncoder) -> None:
    text = "boat " * 500 + "ann of rome" + " boat" * 500
    entities = ({"id": "a", "start": 2500, "end": 2503}, {"id": "r", "start": 2507, "end": 2511})
    tokenized = tokenize_post(Post(id="p", text=text, entities=entities), bert, 0)
    (sequence,) = build_sequences(tokenized, [("a", "r")], "post", bert, 64)
    kept, boat = words(sequence)[1:-1], bert.tokenize("boat").ids[0]
    assert len(kept) >= 50
    assert [id_ for id_ in kept if id_ != boat] == bert.tokenize("ann of rome").ids


def test_nested_spans_nest_and_the_caption_is_last(bert: TextEncoder) -> None:
    post = Post(
        id="p",
        text="a b c",
        caption="hat boat dog",
        entities=({"id": "out", "start": 0, "end": 5}, {"id": "in", "start": 0, "end": 1}),
    )
    tokenized = tokenize_post(post, bert, 2)
    (sequence,) = build_sequences(tokenized, [("in", "out")], "post", bert, 64)
    assert sequence.roles == [0, START, START, 0, END, 0, 0, END, 0, 0, 0, 0]
    assert sequence.segments == [0] * 9 + [1] * 3
    assert words(sequence, 1) == [*bert.tokenize("hat boat").ids, bert.end_id]
    assert sequence.without_types().types == [None] * 12


def test_a_short_post_is_one_sequence(bert: TextEncoder, posts: list[Post]) -> None:
    for post in posts:
        tokenized = tokenize_post(post, bert, 0)
        assert len(build_sequences(tokenized, all_pairs(post), "post", bert, 128)) == 1
        assert build_sequences(tokenized, [], "post", bert, 128) == []


@pytest.mark.slow
def test_the_maximum_number_of_pairs(bert: TextEncoder) -> None:
    post = make_post(256, "abcd " * 300)
    pairs = list(permutations([entity.id for entity in post.entities], 2))
    sequences = build_sequences(tokenize_post(post, bert, 0), pairs, "post", bert, 128)
    assert sum(len(one.pairs) for one in sequences) == len(pairs) == 65_280
