from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.graph.names import (
    Name,
    broad_type,
    compatible,
    is_acronym,
    is_short_name,
    misspelt,
    same_person_by_initials,
    spelling_keys,
)

TYPES = ("PER", "ORG", "LOC", "EVENT", "WORK", "PRODUCT", "MISC", "TIME", None)


@pytest.mark.parametrize(
    ("text", "type_", "words"),
    [
        ("NEW YORK", "LOC", "new york"),
        ("#NewYork", "LOC", "new york"),
        ("@anna_lee", "PER", "anna lee"),
        ("The Guardian's", "ORG", "guardian"),
        ("Acme, Inc.", "ORG", "acme"),
        ("Prof. Dr. Łukasz Ønskov", "PER", "lukasz onskov"),
        ("J.R.R. Tolkien", "PER", "j r r tolkien"),
        ("U.S.A.", "LOC", "usa"),
        ("St. Mary's", "LOC", "saint mary"),
        ("Ashdown & Pike", "ORG", "ashdown and pike"),
        ("Feb 3", "TIME", "february 3"),
        ("The", "WORK", "the"),
        ("Ltd", "ORG", "ltd"),
        ("???", None, "???"),
    ],
)
def test_words(text: str, type_: str | None, words: str) -> None:
    assert Name(text, type_).words == tuple(words.split())


@settings(deadline=None)
@given(st.text(), st.sampled_from(TYPES))
def test_any_text_has_words_and_no_rule_fails_on_it(text: str, type_: str | None) -> None:
    name, other = Name(text, type_), Name("Ann Lee", "PER")
    assert name.words and all(name.words)
    is_acronym(name, other), is_short_name(name, other), list(spelling_keys(name))
    assert not misspelt(name, name)


def test_broad_type() -> None:
    assert [broad_type(name) for name in ("GPE", "company", "politicians", "Zorb", None)] == [
        "LOC",
        "ORG",
        "PER",
        "zorb",
        None,
    ]


@settings(deadline=None)
@given(st.sampled_from(TYPES), st.sampled_from(TYPES))
def test_compatible_is_symmetric(one: str | None, two: str | None) -> None:
    assert compatible(one, two) == compatible(two, one)
    assert compatible(one, one)


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("j marsh", "julia marsh", True),
        ("j r marsh", "julia r marsh", True),
        ("julia marsh", "julia r marsh", True),
        ("julia marsh", "julia rose marsh", False),
        ("j marsh", "karl marsh", False),
        ("marsh", "julia marsh", False),
        ("julia t marsh", "julia r marsh", False),
    ],
)
def test_initials(one: str, two: str, same: bool) -> None:
    assert same_person_by_initials(one.split(), two.split()) is same
    assert same_person_by_initials(two.split(), one.split()) is same


@pytest.mark.parametrize(
    ("one", "two", "type_", "same"),
    [
        ("Brandenburg Gate", "Brandenberg Gate", "LOC", True),
        ("Eckhartmann Foods", "Eckhartman Foods", "ORG", True),
        ("Harbour Rovers", "Harbour Rover", "ORG", False),
        ("Phillipp Marsh", "Philipp Marsh", "PER", True),
        ("Peterson", "Petersen", "PER", False),
        ("Slovakia", "Slovenia", "LOC", False),
        ("Boeing 7370000", "Boeing 7470000", "PRODUCT", False),
        ("Northern Line", "Northem Line", "LOC", False),
        ("Harbour Rovers", "Harbour Town", "ORG", False),
    ],
)
def test_misspelt(one: str, two: str, type_: str, same: bool) -> None:
    a, b = Name(one, type_), Name(two, type_)
    assert misspelt(a, b) is misspelt(b, a) is same


letters = st.text("abcdn", min_size=4, max_size=9)


@settings(deadline=None)
@given(st.lists(letters, min_size=1, max_size=2), letters, st.sampled_from(["PER", "LOC"]))
def test_misspelt_names_share_a_key(words: list[str], other: str, type_: str) -> None:
    one = Name(" ".join(words), type_)
    two = Name(" ".join([*words[:-1], other]), type_)
    if misspelt(one, two, threshold=0):
        assert not set(spelling_keys(one)).isdisjoint(spelling_keys(two))


def test_accounts_and_words_that_name_nobody() -> None:
    assert Name("AnnLee", "PER").handle and not Name("McKay", "LOC").handle
    assert [Name(text, "PER").generic for text in ("Dr.", "she", "Dr. Lee", "Sister")] == [
        True, True, False, True
    ]  # fmt: skip
    assert not Name("It", "WORK").generic


def test_acronyms() -> None:
    museum = Name("Museum of Modern Art", "ORG")
    assert is_acronym(Name("MoMA", "ORG"), museum)
    assert is_acronym(Name("M.M.A.", "ORG"), museum)
    assert not is_acronym(Name("MoMA", "PER"), museum)
    assert not is_acronym(Name("MOA", "ORG"), museum)
