"""Offsets of tokens and characters."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rukh.data.tokens import Tokens
from rukh.errors import InputError
from rukh.records import Post, TextEntity

WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.just("\n "))


@settings(max_examples=40, deadline=None)
@given(WORDS.filter(bool), st.data())
def test_tokens_and_spans_are_converted_without_loss(words: list[str], data: st.DataObject) -> None:
    tokens = Tokens.join(words)
    assert tokens.words == words
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first + 1, len(words)))
    surface = " ".join(words[first:last])
    assume(surface.strip())
    start, end = tokens.to_characters([first, last], "pos")
    assert tokens.text[start:end] == surface
    assert tokens.to_tokens(TextEntity(id="e", start=start, end=end)) == (first, last)


def test_tokens_of_the_source_are_kept_and_cut_only_at_entities() -> None:
    text, offsets = Tokens.join(["New York", "", "Ann-Lee"])
    whole, part = TextEntity(id="a", start=0, end=8), TextEntity(id="b", start=10, end=13)
    post = Post(id="1", text=text, tokens=offsets, entities=(whole,))
    assert Tokens.of_post(post).offsets == offsets
    cut = Tokens.of_post(post.model_copy(update={"entities": (whole, part)}))
    assert cut.words == ["New York", "", "Ann", "-Lee"]


def test_an_entity_without_a_token_is_an_error() -> None:
    with pytest.raises(InputError) as caught:
        Tokens("Ann met Bob", ((0, 3), (8, 11))).to_tokens(TextEntity(id="e", start=4, end=7))
    assert caught.value.field == "tokens"
