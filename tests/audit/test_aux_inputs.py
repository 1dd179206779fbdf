"""Rows, auxiliary files of the three keyings, and the traits of their values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rukh.audit.aux_inputs import AuxFile, AuxInput, parse_aux, read_aux_input
from rukh.audit.features import Feature, FeatureMatrix, extract_features, ngrams
from rukh.audit.flatten import ABSENT
from rukh.audit.instances import Instance, find_nota, number_groups, number_posts, read_instances
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.records import Post


def row(number: int, picture: str | None = None, text: str = "", **changes: Any) -> Instance:
    given: dict[str, Any] = {
        "number": number,
        "text": text or f"text {number}",
        "picture": picture,
        "label": "None",
        "head": (0, 1),
        "tail": (2, 3),
        "names": ("a", "b"),
        "after": False,
    }
    return Instance(**given | changes)


ROWS = [row(0, "a.jpg"), row(1, "a.jpg"), row(2, "b.jpg"), row(3)]


def file(folder: Path, value: object, name: str = "aux.json") -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def told(evidence: AuxInput) -> list[Any]:
    """Each row's value, None where there is none."""
    values = [evidence.values[u] for u in evidence.unit]
    return [None if value is ABSENT else value for value in values]


def test_rows_are_numbered_by_line_and_unlabelled_pairs_are_passed_over(tmp_path: Path) -> None:
    entities = ({"id": "x", "start": 0, "end": 3}, {"id": "y", "start": 4, "end": 7})
    pairs = ({"head": "x", "tail": "y", "relation": "r"}, {"head": "y", "tail": "x"})
    posts = [
        Post(id="1", text="Ann Bob", entities=entities, pairs=pairs),
        Post(id="2", text="Ann BOB", entities=entities, pairs=pairs[:1] * 2, image=Path("i.jpg")),
        Post(id="3", text="Ann Bob"),
    ]
    write(posts, tmp_path / "posts.jsonl")
    rows = read_instances(tmp_path / "posts.jsonl", "jsonl")
    assert [(r.number, r.picture, r.after) for r in rows] == [
        (0, None, False), (1, "i.jpg", False), (1, "i.jpg", False)
    ]  # fmt: skip
    assert rows[1].names == ("ann", "bob")
    assert number_posts(rows).tolist() == [0, 1, 1]


def test_groups_share_no_picture_and_no_text() -> None:
    rows = [row(0, "a"), row(1, "a", "same"), row(2, "b", "same"), row(3, "c"), row(4), row(5)]
    groups = number_groups(rows).tolist()
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 4


def test_none_of_the_above_is_found_or_asked_for() -> None:
    some = [row(0), row(1, label="r"), row(2, label="NA")]
    assert find_nota(some[:2], None, "f") == "None"
    assert find_nota(some[:2], "r", "f") == "r"
    for rows, given, why in (
        (some, None, "both 'None' and 'NA'"),
        (some[1:2], None, "no label is a known name .*--nota; labels: r"),
        (some, "Nune", "no row has the label 'Nune'; did you mean 'None'"),
        (some[:1], None, "every row is 'None'"),
    ):
        with pytest.raises(InputError, match=f"f: relation: {why}"):
            find_nota(rows, given, "f")


def test_each_keying_is_guessed(tmp_path: Path) -> None:
    by_row = read_aux_input(AuxFile("x", file(tmp_path, {"0": "p", "3": "q", "9": "r"})), ROWS)
    assert (by_row.keying, by_row.guessed, by_row.keys, by_row.matched) == ("row", True, 3, 2)
    assert told(by_row) == ["p", None, None, "q"]
    assert by_row.coverage == 0.5

    lines = "{'img_id': 'a.jpg', 'text': ' one '}\n{'img_id': 'inf.png', 'text': ''}\n"
    by_image = read_aux_input(AuxFile("x", file(tmp_path, lines, "c.txt")), ROWS)
    assert (by_image.keying, by_image.matched, by_image.keys) == ("image", 1, 2)
    assert told(by_image) == ["one", "one", None, None]
    assert by_image.unit.tolist() == [0, 0, 1, 2]

    crops = {"b_crop_10.jpg": 3, "b_crop_2.jpg": 2, "a_crop_0.jpg": 1, "z_crop_0.jpg": 0}
    by_crop = read_aux_input(AuxFile("x", file(tmp_path, crops)), ROWS)
    assert (by_crop.keying, by_crop.matched, by_crop.keys) == ("crop", 3, 4)
    assert told(by_crop) == [[1], [1], [2, 3], None]


def test_a_given_keying_holds(tmp_path: Path) -> None:
    path = file(tmp_path, {"0": "p", "a": "q"})
    assert told(read_aux_input(AuxFile("x", path), ROWS))[:2] == ["p", None]
    assert told(read_aux_input(AuxFile("x", path, "image"), ROWS))[:2] == ["q", "q"]
    with pytest.raises(InputError, match="none of its 2 keys names a crop of the data"):
        read_aux_input(AuxFile("x", path, "crop"), ROWS)


@pytest.mark.parametrize(
    ("numbers", "rows", "why"),
    [
        (range(40), 40, None),
        (range(0, 39, 2), 40, None),  # one in two says nothing
        (range(41), 40, "1 of its 41 row numbers lie beyond the data's last row, 39; is"),
        (range(39), 40, "its row numbers end at 38, the data's at 39; is it the file of"),
        (range(0, 16, 2), 40, "its row numbers end at 14, the data's at 39; is it the"),
    ],
)
def test_row_numbers_of_other_data_are_doubted(
    tmp_path: Path, numbers: range, rows: int, why: str | None
) -> None:
    path = file(tmp_path, {str(n): n % 3 for n in numbers})
    doubt = read_aux_input(AuxFile("x", path), [row(n) for n in range(rows)]).doubt
    assert doubt is None if why is None else str(doubt).startswith(why)


def test_keys_that_fit_two_ways_or_hardly_are_doubted(tmp_path: Path) -> None:
    rows = [row(n, f"{n}.jpg") for n in range(40)]
    path = file(tmp_path, {str(n): n % 3 for n in range(40)})
    doubt = read_aux_input(AuxFile("x", path), rows).doubt
    assert doubt is not None and doubt.startswith("its keys fit row and image alike, and were read")
    for keying in ("row", "image"):
        assert read_aux_input(AuxFile("x", path, keying), rows).doubt is None
    few = file(tmp_path, {"3.jpg": 1, "other.jpg": 2}, "few.json")
    assert "its keys belong to 2.5 % of the rows" in str(
        read_aux_input(AuxFile("x", few), rows).doubt
    )


def test_how_an_input_is_named(tmp_path: Path) -> None:
    path = file(tmp_path, {}, "a:row")
    assert parse_aux(f"x={path}") == AuxFile("x", path)  # a file may be called so
    assert parse_aux(f"x={path}:crop") == AuxFile("x", path, "crop")
    with pytest.raises(InputError, match="no keying 'rows'; did you mean 'row'"):
        parse_aux(f"x={path}:rows")
    for text in ("x", "=f", "x="):
        with pytest.raises(InputError, match="is not NAME=FILE"):
            parse_aux(text)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"q": 1}, "none of its 1 keys names a row number, picture or crop of the data"),
        ({}, "holds no entry"),
        ([1], "not a JSON object"),
        ("{", "not JSON"),
        ('{"0": 1, "0": 2}', "stands twice"),
        ('{"0": NaN}', "not a finite number"),
        ('{"0": "\\ud800"}', "surrogate"),
        ('{"0": ' + "[" * 99_000 + "]" * 99_000 + "}", "not readable JSON"),
    ],
)
def test_broken_files_are_told_by_name(tmp_path: Path, value: object, why: str) -> None:
    path = file(tmp_path, value)
    with pytest.raises(InputError, match=why) as caught:
        read_aux_input(AuxFile("x", path), ROWS)
    assert str(caught.value).startswith(str(path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b'{"0": "\xe9"}')
    for name, why in (("gone.json", "cannot read"), ("gone.txt", "cannot read"),
                      ("latin.json", "not UTF-8"), ("gone.pth", "cannot read")):  # fmt: skip
        with pytest.raises(InputError, match=why):
            read_aux_input(AuxFile("x", tmp_path / name), ROWS)


def traits_of(*values: Any) -> FeatureMatrix:
    return extract_features(AuxInput("x", "row", list(values), np.arange(len(values))))


def held(traits: FeatureMatrix, text: str) -> list[int]:
    """Where the condition with these words holds."""
    column = [condition.text() for condition in traits.conditions].index(text)
    return traits.holds.toarray()[:, column].astype(int).tolist()


def test_counts_and_presence() -> None:
    traits = traits_of(*([ABSENT] * 5 + [None] * 5 + [["u", "v"]] * 5 + [["u"]] * 5))
    assert traits.numbers["items"].tolist() == [0] * 10 + [2] * 5 + [1] * 5
    assert held(traits, "present") == [0] * 5 + [1] * 15
    assert held(traits, "items >= 2") == [0] * 10 + [1] * 5 + [0] * 5
    assert held(traits, 'says "u"') == [0] * 10 + [1] * 10


def test_numbers_are_summed_up_and_vectors_taken_apart() -> None:
    boxes = [[[0.1, i], [0.3, -i]] for i in range(10)]
    traits = traits_of(*boxes)
    assert traits.numbers["greatest value[1]"].tolist() == list(range(10))
    assert traits.numbers["mean value[0]"] == pytest.approx([0.2] * 10)
    scores = traits_of(*([{"score": 0.5, "labels": ["cat"]}] * 5 + [{"score": None}] * 5))
    assert scores.numbers["score"].tolist()[:5] == [0.5] * 5
    assert np.isnan(scores.numbers["score"][5:]).all()


def test_names_of_files_know_no_row() -> None:
    names = [f"{i}_crop_{7 * i}.png" for i in range(200)]
    words = ("0", "crop", "0", "png", "0 crop", "crop 0", "0 png", ".")
    assert {tuple(ngrams(name)) for name in names} == {words}
    assert not traits_of(*names).conditions


@pytest.mark.parametrize(
    ("one", "other", "condition"),
    [
        ("Word here", "word here", 'says "Word"'),
        (". same", "! same", 'says "!"'),
        (["a b", "c"], ["c", "a b"], 'says "a (in the first text)"'),
        ({"head": {"s": 1}, "tail": {"s": 2}}, {"head": {"s": 2}, "tail": {"s": 1}}, "head.s >= 2"),
        (
            {"head": "man", "tail": "town"},
            {"tail": "man", "head": "town"},
            'says "man (in "head")"',
        ),
        (["0.1", "0.9"], ["0.9", "0.1"], "value[0] >= 0.9"),
        ([None, 1], [1, None], "value[0]"),
        (["img", 0.1, 0.9], ["img", 0.9, 0.1], "value[1] >= 0.9"),
        ("41e-2", "73e-2", "value >= 0.73"),
        ("41.5%", "73.2%", "value >= 73.2"),
        ("\u4eba\u5728\u8857", "\u7269\u5728\u8857", 'says "\u4eba"'),
        ({"": None}, {" ": None}, "key \"''\""),
        (["x", "a b", "c"], ["x", "c", "a b"], 'says "a (in the second text)"'),
        ("rel_cabdef", "not_cabdef", 'says "rel"'),
        ("type 3", "type 4", 'says "3"'),
        ("13", "14", "value >= 14"),
        ([0, 1, 0], [0, 0, 1], "value[1]"),
        ({"x": [True, False]}, {"x": [False, True]}, "x[0]"),
        ([{"head": "a"}], [{"tail": "a"}], 'key "head"'),
        ({"r": None}, {"s": None}, 'key "r"'),
        ({"a": None, "b": None}, {"a": None}, 'key "b"'),
        ([[None] * 3, [None]], [[None]] * 2, "nulls >= 4"),
        ([None], [""], "empty texts"),
        ([], "", "an empty list"),
        (None, "", "null"),
        (True, 1, "a flag"),
        ({"x": 1}, 1, "a mapping"),
    ],
)
def test_values_that_look_alike_are_told_apart(one: Any, other: Any, condition: str) -> None:
    traits = traits_of(*([one] * 9 + [other] * 9))
    assert sum(held(traits, condition)) == 9


def test_a_key_may_be_called_as_a_trait_is() -> None:
    traits = traits_of(*([[{"items": 1}, {}]] * 9 + [[{"items": 2}]] * 9))
    assert sum(held(traits, "items >= 2")) == 9
    assert traits.numbers["items"].tolist() == [2] * 9 + [1] * 9
    assert traits.numbers['"items"'].tolist() == [1] * 9 + [2] * 9


def test_what_is_not_looked_at_is_counted() -> None:
    assert traits_of(*([[0.5] * 70] * 9)).left_out == 6
    assert traits_of(*([[0.5] * 64] * 9)).left_out == 0
    named = [{f"n{i}": 0.5 for i in range(130)}] * 9
    assert traits_of(*named).left_out >= 2
    assert traits_of(*([{f"n{i}": None for i in range(130)}] * 9)).left_out >= 2
    # What too few units have says nothing anyway.
    assert traits_of(*[{f"n{i}": 0.5} for i in range(200)]).left_out == 0


def test_thresholds_are_as_fine_as_the_numbers() -> None:
    for numbers in ([100_000 + i for i in range(100)], [0.999 + i / 1e5 for i in range(100)]):
        traits = traits_of(*numbers)
        assert len(traits.conditions) > 10
        assert any(48 <= sum(held(traits, c.text())) <= 52 for c in traits.conditions)


def test_what_a_gram_says_again_is_left_out() -> None:
    texts = [["A dog", "Rome"], ["A cat", "Oslo"]] * 6
    said = {c.text() for c in traits_of(*texts).conditions}
    assert {'says "dog"', 'says "rome"'} <= said
    assert not any("Rome" in text or "dog (" in text for text in said)


def test_conditions_part_units_and_none_stands_twice() -> None:
    generator = np.random.default_rng(0)
    traits = traits_of(*[[float(x) for x in generator.normal(size=3)] for _ in range(300)])
    columns = traits.holds.toarray().T
    assert len({column.tobytes() for column in columns}) == len(columns) == len(traits.conditions)
    assert all(5 <= column.sum() <= 295 for column in columns)
    for condition, column in zip(traits.conditions, columns, strict=True):
        assert condition.least is not None
        assert (traits.numbers[condition.trait] >= condition.least).tolist() == column.tolist()


def test_conditions_in_words() -> None:
    assert Feature("items", 3, whole=True).text() == "items >= 3"
    assert Feature("items", 3, whole=True).text(False) == "items <= 2"
    assert Feature("score", 0.5).text(False) == "score < 0.5, or none"
    assert Feature("a b", ngram=True).text(False) == 'does not say "a b"'
    assert Feature("late").text(False) == "not late"


def test_values_that_cannot_be_looked_at() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    for value, why in ((float("inf"), "not finite"), (10**400, "not finite"), (deep, "nested"),
                       (b"x", "is a bytes")):  # fmt: skip
        with pytest.raises(InputError, match=f"x: .*{why}"):
            traits_of(value)
