"""The contract of the three marker schemes, over posts that nobody would write."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rukh.modeling.markers import (
    END,
    PAIRS_A_ROW,
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
# Words, pieces of words, nothing at all after tokenizing, other scripts, emoji.
TEXT = st.lists(
    st.sampled_from(
        [
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
    ),
    max_size=40,
).map("".join)
PAIR_OF_BOXES = ((0.0, 0.0, 0.5, 0.5), (0.2, 0.1, 0.9, 0.8))


@pytest.fixture(scope="session")
def bert(tiny_text: str) -> TextEncoder:
    return TextEncoder.load(tiny_text)


@st.composite
def asked_posts(draw: Any) -> tuple[Post, list[tuple[str, str]]]:
    text = draw(TEXT)
    entities = []
    if text:
        for start in draw(st.lists(st.integers(0, len(text) - 1), max_size=6)):
            end = draw(st.integers(start + 1, len(text)))
            if text[start:end].strip():
                entities.append({"id": f"e{len(entities)}", "start": start, "end": end})
    boxes = draw(st.lists(st.sampled_from(PAIR_OF_BOXES), max_size=3))
    objects = [{"id": f"o{i}", "box": box, "label": "hat"} for i, box in enumerate(boxes)]
    caption = draw(st.none() | TEXT)
    post = Post(id="p", text=text, caption=caption, entities=entities, objects=objects)
    every = list(permutations([argument.id for argument in post.arguments], 2))
    pairs = draw(st.lists(st.sampled_from(every), max_size=12)) if every else []
    return post, pairs


def check_contract(
    post: TokenizedPost,
    pairs: list[tuple[str, str]],
    rows: list[MarkedSequence],
    scheme: Markers,
    limit: int,
) -> None:
    """Everything that a row promises, whatever the scheme."""
    assert sorted(ask.pair for row in rows for ask in row.asks) == list(range(len(pairs)))
    for row in rows:
        assert row.asks
        assert len(row) <= limit
        columns = (row.ids, row.roles, row.types, row.positions, row.segments, row.groups)
        assert {len(column) for column in (*columns, row.objects)} == {len(row)}
        words = [i for i, group in enumerate(row.groups) if group == 0]
        assert words == list(range(len(words)))  # markers that are seen by no word come last
        assert [row.positions[i] for i in words] == words
        names = {name for ask in row.asks for name in pairs[ask.pair]}
        if scheme == "pair":
            assert len(row.asks) == 1
        if scheme == "levitated":
            assert len({frozenset(pairs[ask.pair]) for ask in row.asks}) <= PAIRS_A_ROW
            assert all(row.roles[i] == WORD for i in words)
        else:
            assert max(row.groups) == 0
            texts = [name for name in names if post.arguments[name].object is None]
            marked = sum(role != WORD for role in row.roles)
            every = [name for name, one in post.arguments.items() if one.object is None]
            # Where there is room, scheme post marks what is not asked as well.
            whole = scheme == "post" and len(rows) == 1 and marked == 2 * len(every)
            assert whole or marked == 2 * len(texts)
        for ask in row.asks:
            for slot, name in zip((ask.head, ask.tail), pairs[ask.pair], strict=True):
                check_slot(post, row, slot, name, scheme)


def check_slot(
    post: TokenizedPost, row: MarkedSequence, slot: tuple[int, int], name: str, scheme: Markers
) -> None:
    located = post.arguments[name]
    ids = post.pieces.ids[located.start : located.end]
    if located.object is not None and scheme != "levitated":
        assert slot == (-1 - located.object,) * 2
        return
    start, end = slot
    assert row.roles[start] != WORD and row.roles[end] != WORD
    assert row.types[start] == row.types[end] == located.type
    if scheme != "levitated":
        inside = [row.ids[i] for i in range(start, end) if row.roles[i] == WORD]
        if is_whole(post, row):
            assert inside == ids
        else:  # some were cut away; what is left stands in its order
            left = iter(ids)
            assert all(id_ in left for id_ in inside)
        return
    assert row.groups[start] == row.groups[end] > 0
    assert (row.roles[start], row.roles[end]) == (START, END)
    wanted = -1 if located.object is None else located.object
    assert row.objects[start] == row.objects[end] == wanted
    if located.object is None and ids:
        first, last = row.positions[start], row.positions[end]
        assert row.roles[first] == row.roles[last] == WORD
        assert row.ids[first] in ids and row.ids[last] in ids
        assert first <= last
        if is_whole(post, row):
            assert (first, last) == (1 + located.start, located.end)


def is_whole(post: TokenizedPost, row: MarkedSequence) -> bool:
    """Whether no word was cut away."""
    words = zip(row.roles, row.segments, row.groups, strict=True)
    return sum(word == (WORD, 0, 0) for word in words) - 2 == len(post.pieces.ids)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(asked=asked_posts(), limit=st.sampled_from([64, 128]), caption=st.sampled_from([0, 50]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_contract(
    bert: TextEncoder,
    scheme: Markers,
    asked: tuple[Post, list[tuple[str, str]]],
    limit: int,
    caption: int,
) -> None:
    post, pairs = asked
    prepared = tokenize_post(post, bert, caption)
    rows = build_sequences(prepared, pairs, scheme, bert, limit)
    check_contract(prepared, pairs, rows, scheme, limit)


def many(count: int, text: str, width: int = 3) -> Post:
    """A post with ``count`` entities spread over a text."""
    step = max(1, (len(text) - width) // count)
    entities = [{"id": f"e{i}", "start": i * step, "end": i * step + width} for i in range(count)]
    return Post(id="many", text=text, entities=entities)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("limit", [64, 128, 512])
def test_long_texts_and_many_arguments(bert: TextEncoder, scheme: Markers, limit: int) -> None:
    long = many(6, "ann works at acme. " * 520)
    crowd = many(300, "abcd " * 300)
    wide = Post(
        id="wide",
        text="word " * 2000,
        entities=(
            {"id": "all", "start": 0, "end": 9999},
            {"id": "one", "start": 5000, "end": 5004},
        ),
    )
    for post, most in ((long, 30), (crowd, 700), (wide, 2)):
        pairs = list(permutations([entity.id for entity in post.entities], 2))[:most]
        prepared = tokenize_post(post, bert, 0)
        rows = build_sequences(prepared, pairs, scheme, bert, limit)
        check_contract(prepared, pairs, rows, scheme, limit)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_way_pairs_fill_a_row_only_to_its_bound(bert: TextEncoder, scheme: Markers) -> None:
    post = many(17, "ann " * 17)
    pairs = [(a, b) for a, b in permutations([e.id for e in post.entities], 2) if a < b]
    assert len(pairs) > 2 * PAIRS_A_ROW
    prepared = tokenize_post(post, bert, 0)
    rows = build_sequences(prepared, pairs, scheme, bert, 4096)
    check_contract(prepared, pairs, rows, scheme, 4096)


def test_a_cut_text_keeps_the_words_nearest_its_arguments(bert: TextEncoder) -> None:
    text = "boat " * 500 + "ann of rome" + " boat" * 500
    spans = ({"id": "a", "start": 2500, "end": 2503}, {"id": "r", "start": 2507, "end": 2511})
    prepared = tokenize_post(Post(id="p", text=text, entities=spans), bert, 0)
    (row,) = build_sequences(prepared, [("a", "r")], "post", bert, 64)
    kept = [i for i, role in zip(row.ids, row.roles, strict=True) if role == WORD][1:-1]
    assert len(kept) >= 50
    wanted = bert.tokenize("ann of rome").ids
    assert wanted == [i for i in kept if i != bert.tokenize("boat").ids[0]]


@pytest.mark.parametrize("scheme", ["post", "levitated"])
def test_a_normal_post_is_one_row(bert: TextEncoder, posts: list[Post], scheme: Markers) -> None:
    for post in posts:
        pairs = list(permutations([a.id for a in post.arguments], 2))
        assert len(build_sequences(tokenize_post(post, bert, 0), pairs, scheme, bert, 128)) == 1


def test_duplicates_share_their_markers(bert: TextEncoder, posts: list[Post]) -> None:
    prepared = tokenize_post(posts[0], bert, 0)
    (row,) = build_sequences(prepared, [("a", "r"), ("r", "a"), ("a", "r")], "levitated", bert, 128)
    assert sum(group > 0 for group in row.groups) == 4
    first, second, third = row.asks
    assert (first.head, first.tail) == (third.head, third.tail) == (second.tail, second.head)


def test_without_position_ids_levitated_is_post(tiny_mpnet: str, posts: list[Post]) -> None:
    mpnet = TextEncoder.load(tiny_mpnet)
    assert not mpnet.takes_positions
    prepared = tokenize_post(posts[0], mpnet, 0)
    pairs = [("a", "r"), ("org", "a")]
    levitated = build_sequences(prepared, pairs, "levitated", mpnet, 128)
    assert levitated == build_sequences(prepared, pairs, "post", mpnet, 128)
    assert max(levitated[0].groups) == 0


def test_nested_spans_nest_and_the_caption_stands_behind(bert: TextEncoder) -> None:
    post = Post(
        id="p",
        text="a b c",
        caption="hat boat dog",
        entities=({"id": "out", "start": 0, "end": 5}, {"id": "in", "start": 0, "end": 1}),
    )
    (row,) = build_sequences(tokenize_post(post, bert, 2), [("in", "out")], "post", bert, 64)
    assert row.roles == [0, START, START, 0, END, 0, 0, END, 0, 0, 0, 0]
    assert row.segments == [0] * 9 + [1] * 3
    hat, boat = bert.tokenize("hat boat").ids
    assert row.ids[9:] == [hat, boat, bert.end_id]


@pytest.mark.parametrize("scheme", SCHEMES)
@given(asked=asked_posts())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_caption_can_be_taken_away(
    bert: TextEncoder, scheme: Markers, asked: tuple[Post, list[tuple[str, str]]]
) -> None:
    post, pairs = asked
    rows = build_sequences(tokenize_post(post, bert, 50), pairs, scheme, bert, 512)
    plain = build_sequences(tokenize_post(post, bert, 0), pairs, scheme, bert, 512)
    assert [row.without_caption() for row in rows] == plain


def test_no_pairs_no_rows(bert: TextEncoder, posts: list[Post]) -> None:
    assert build_sequences(tokenize_post(posts[0], bert, 0), [], "post", bert, 128) == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_most_pairs_that_a_post_may_have(
    bert: TextEncoder, scheme: Markers, record_property: Callable[[str, object], None]
) -> None:
    post = many(256, "abcd " * 300)
    pairs = list(permutations([entity.id for entity in post.entities], 2))
    prepared = tokenize_post(post, bert, 0)
    rows = build_sequences(prepared, pairs, scheme, bert, 128)
    record_property("rows", len(rows))
    assert sum(len(row.asks) for row in rows) == len(pairs) == 65_280
