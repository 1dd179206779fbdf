from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.errors import InputError
from rukh.graph.names import Name, compatible
from rukh.graph.resolution import MergeRules, full_names, resolve

PEOPLE = [
    "Ann Lee",
    "Dr. Ann Lee",
    "A. Lee",
    "Lee",
    "Ann B. Lee",
    "Annna Leee",
    "@AnnLee",
    "Al Lee",
]
PLACES = ["New York", "#newyork", "Newyork", "Brandenburg", "Brandenberg", "Brandenbarg", "Lee"]
names = st.lists(
    st.one_of(
        st.builds(Name, st.sampled_from(PEOPLE), st.sampled_from(["PER", None])),
        st.builds(Name, st.sampled_from(PLACES), st.sampled_from(["LOC", "MISC", "WORK", None])),
    ),
    unique=True,
)


def entities(names: list[Name], **options: object) -> set[frozenset[Name]]:
    entity = resolve(names, **options).entity  # type: ignore[arg-type]
    return {frozenset(n for n, e in zip(names, entity, strict=True) if e == k) for k in {*entity}}


@settings(deadline=None)
@given(names, st.randoms())
def test_entities_have_compatible_types_and_do_not_depend_on_the_order(
    names: list[Name], random: object
) -> None:
    found = entities(names)
    for group in found:
        assert all(compatible(a.kind, b.kind) for a in group for b in group)
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert entities(shuffled) == found


@settings(deadline=None)
@given(names, names)
def test_every_merge_is_a_link_and_forbidden_ones_do_not_happen(
    names: list[Name], apart: list[Name]
) -> None:
    different = [
        [{"name": a.text, "type": a.type}, {"name": b.text, "type": b.type}]
        for a, b in pairwise(apart)
    ]
    rules = MergeRules.model_validate({"different": different})
    result = resolve(names, rules=rules)
    assert len(result.links) == len(names) - len({*result.entity})
    for group in entities(names, rules=rules):
        assert not any(rules.forbids(a, b) for a in group for b in group if a != b)


def people(*texts: str) -> list[Name]:
    return [Name(text, "PER") for text in texts]


def test_initials_need_one_person() -> None:
    assert resolve(people("J. Marsh", "Julia Marsh")).entity == [0, 0]
    found = resolve(people("J. Marsh", "Julia Marsh", "John Marsh"))
    assert found.entity == [0, 1, 2]
    assert found.ambiguous == [(0, (1, 2), "initials")]


def test_surnames_stand_for_a_person_of_the_same_post_only() -> None:
    assert resolve(people("Lee", "Ann Lee")).entity == [0, 1]
    assert full_names(people("Lee", "Ann Lee")) == {0: (1, "short name")}
    assert full_names(people("Lee", "Ann Lee", "Bo Lee")) == {}
    assert full_names(people("Lee", "Ann Lee", "Dr. Ann Lee")) == {0: (1, "short name")}


def test_mr_is_not_mrs() -> None:
    assert resolve(people("Mr. Lee", "Mrs. Lee", "Dr. Lee")).entity[:2] == [0, 1]


def test_an_acronym_with_two_meanings_stays_apart() -> None:
    office, ocean = Name("World Maritime Office", "ORG"), Name("World Marine Order", "ORG")
    short = Name("WMO", "ORG")
    assert full_names([short, office]) == {0: (1, "acronym")}
    assert full_names([short, office, ocean]) == {}
    assert resolve([short, office, ocean], acronyms=[(0, 1)]).entity == [0, 0, 2]
    assert resolve([short, office, ocean], acronyms=[(0, 1), (0, 2)]).entity == [0, 1, 2]


def test_a_vague_type_joins_the_only_name_that_fits() -> None:
    works = [Name("Ash", "WORK"), Name("Ash", "MISC"), Name("Ash", None)]
    assert resolve(works).entity == [0, 0, 0]
    assert resolve([*works, Name("Ash", "EVENT")]).entity == [0, 1, 2, 3]
    assert resolve([Name("Ash", "LOC"), Name("Ash", "PER"), Name("Ash", None)]).entity == [0, 1, 2]


def test_a_persons_rules_come_first(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("same: [[Ann Lee, The Boss]]\ndifferent:\n- [Ann Lee, {name: A. Lee}]\n")
    rules = MergeRules.load(path)
    found = resolve(people("Ann Lee", "A. Lee", "The Boss"), rules=rules)
    assert found.entity == [0, 1, 0]
    assert [link.rule for link in found.links] == ["a person's rule"]
    apart = MergeRules.model_validate({"different": [[{"name": "Lee"}, {"name": "Ann Lee"}]]})
    assert full_names(people("Lee", "Ann Lee"), apart) == {}
    place = [Name("Ann Lee", "PER"), Name("The Boss", "LOC")]
    assert resolve(place, rules=rules).entity == [0, 1]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("same: [[Ann Lee]]", r"same\[0\]"),
        ("same: Ann Lee", "same"),
        ("alike: []", "alike"),
        ("different: [[Ann Lee, 3]]", r"different\[0\]"),
    ],
)
def test_wrong_rules(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"rules.yaml: {field}.*lists of pairs"):
        MergeRules.load(path)
