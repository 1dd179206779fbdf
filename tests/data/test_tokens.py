"""Tokens become characters and come back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.data import tokens

TOKENS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.just("\n "))


@settings(max_examples=80, deadline=None)
@given(TOKENS.filter(bool), st.data())
def test_tokens_and_spans_come_back(sentence: list[str], data: st.DataObject) -> None:
    text, offsets = tokens.join(sentence)
    assert tokens.split(text, offsets) == sentence
    first = data.draw(st.integers(0, len(sentence) - 1))
    last = data.draw(st.integers(first + 1, len(sentence)))
    start, end = tokens.to_characters(offsets, first, last)
    assert text[start:end] == " ".join(sentence[first:last])
    assert tokens.to_tokens(offsets, start, end) == (first, last)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=30), st.lists(st.integers(0, 30), max_size=4))
def test_words_hold_the_text_and_cross_no_edge(text: str, edges: list[int]) -> None:
    words = tokens.words(text, edges)
    assert "".join(tokens.split(text, words)) == "".join(text.split())
    assert not [(w, e) for w in words for e in edges if w[0] < e < w[1]]


def test_given_tokens_are_kept_and_cut_only_at_edges() -> None:
    text, offsets = tokens.join(["New York", "", "Ann-Lee"])
    assert tokens.words(text, [0, 8], offsets) == offsets
    cut = tokens.words(text, [13], offsets)
    assert tokens.split(text, cut) == ["New York", "", "Ann", "-Lee"]


def test_a_span_without_a_token_gives_none() -> None:
    assert tokens.to_tokens([(0, 3), (8, 11)], 4, 7) == (0, 0)
