"""Auxiliary files of the three keyings, and what the data itself says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers_audit import ENTITIES, instance, values_of
from rukh.audit.inputs import AuxFile, dataset_inputs, read_aux_input
from rukh.errors import InputError

INSTANCES = [instance(0, "a.jpg"), instance(1, "a.jpg"), instance(2, "b.jpg"), instance(3)]


def aux(folder: Path, value: object, keying: str | None = None, name: str = "aux.json") -> AuxFile:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return AuxFile("x", path, keying)


def test_each_keying_is_guessed(tmp_path: Path) -> None:
    by_row = read_aux_input(aux(tmp_path, {"0": "p", "3": "q", "x": "r"}), INSTANCES)
    assert (by_row.keying, by_row.keying_guessed) == ("row", True)
    assert (by_row.keys, by_row.keys_matched, by_row.coverage) == (3, 2, 0.5)
    assert values_of(by_row) == ["p", None, None, "q"]

    lines = "{'img_id': 'a.jpg', 'text': ' one '}\n{'img_id': 'inf.png', 'text': ''}\n"
    by_image = read_aux_input(aux(tmp_path, lines, name="captions.txt"), INSTANCES)
    assert (by_image.keying, by_image.keys, by_image.keys_matched) == ("image", 2, 1)
    assert values_of(by_image) == ["one", "one", None, None]
    assert by_image.unit[0] == by_image.unit[1]
    assert len(by_image.values) == 3  # two images, and a pair without

    crops = {"b_crop_10.jpg": 3, "b_crop_2.jpg": 2, "a_crop_0.jpg": 1, "z_crop_0.jpg": 0}
    by_crop = read_aux_input(aux(tmp_path, crops), INSTANCES)
    assert (by_crop.keying, by_crop.keys, by_crop.keys_matched) == ("crop", 4, 3)
    assert values_of(by_crop) == [[1], [1], [2, 3], None]


def test_a_given_keying_holds(tmp_path: Path) -> None:
    value = {"0": "p", "a": "q"}
    assert values_of(read_aux_input(aux(tmp_path, value), INSTANCES))[:2] == ["p", None]
    assert values_of(read_aux_input(aux(tmp_path, value, "image"), INSTANCES))[:2] == ["q", "q"]
    with pytest.raises(InputError, match="aux.json .--aux x.: none of its 2 keys is a crop"):
        read_aux_input(aux(tmp_path, value, "crop"), INSTANCES)


@pytest.mark.parametrize(
    ("numbers", "end"),
    [
        (range(40), None),
        (range(0, 39, 2), None),  # a file that has every second line
        (range(41), 40),
        (range(39), 38),
        (range(0, 16, 2), 14),
    ],
)
def test_line_numbers_of_other_data_are_doubted(
    tmp_path: Path, numbers: range, end: int | None
) -> None:
    file = aux(tmp_path, {str(n): n % 3 for n in numbers})
    doubt = read_aux_input(file, [instance(n) for n in range(40)]).doubt
    assert (doubt is None) == (end is None)
    assert doubt is None or f" {end}, the data's at 39" in doubt


def test_keys_that_match_two_ways_or_hardly_are_doubted(tmp_path: Path) -> None:
    instances = [instance(n, f"{n}.jpg") for n in range(40)]
    value = {str(n): n % 3 for n in range(40)}
    assert "row and image" in str(read_aux_input(aux(tmp_path, value), instances).doubt)
    for keying in ("row", "image"):
        assert read_aux_input(aux(tmp_path, value, keying), instances).doubt is None
    few = read_aux_input(aux(tmp_path, {"3.jpg": 1, "other.jpg": 2}), instances)
    assert "2.5 %" in str(few.doubt)


@pytest.mark.parametrize("value", [{"q": 1}, {}, [1], "{"])
def test_broken_files_are_named(tmp_path: Path, value: object) -> None:
    with pytest.raises(InputError) as caught:
        read_aux_input(aux(tmp_path, value), INSTANCES)
    assert str(caught.value).startswith(str(tmp_path / "aux.json"))


@pytest.mark.parametrize("name", ["gone.json", "gone.txt", "gone.pth", "latin.json"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "latin.json").write_bytes(b'{"0": "\xe9"}')
    with pytest.raises(InputError, match=name):
        read_aux_input(AuxFile("x", tmp_path / name), INSTANCES)


def test_order_and_number_of_pairs_are_always_examined() -> None:
    one = {"id": "o", "box": (0, 0, 1, 1)}
    instances = [
        instance(0, "a", "Ann Bob"),
        instance(1, "a", "Ann Bob", reverse=True),
        instance(2, entities=ENTITIES[:1], objects=(one,)),
    ]
    order, pairs = dataset_inputs(instances)[:2]
    assert values_of(order) == [{"head after tail": False}, {"head after tail": True}, None]
    assert values_of(pairs) == [{"pairs": 2}, {"pairs": 2}, {"pairs": 1}]
    assert [one.name for one in dataset_inputs(INSTANCES[:2])] == ["argument order", "pairs a post"]


def test_what_else_differs_is_examined() -> None:
    typed = ({**ENTITIES[0], "type": "PER"}, ENTITIES[1])
    thing = {"id": "o", "box": (0, 0, 1, 1)}
    instances = [
        instance(0, entities=typed),
        instance(1, "i.jpg", caption="a dog", objects=(thing,)),
    ]
    assert {one.name: values_of(one) for one in dataset_inputs(instances)[2:]} == {
        "argument types": [{"head": "PER", "tail": None}, None],
        "caption": [None, "a dog"],
        "image": [{"image": False}, {"image": True}],
        "arguments a post": [{"entities": 2, "objects": 0}, {"entities": 2, "objects": 1}],
    }


def test_posts_with_the_same_text_have_their_own_captions() -> None:
    instances = [instance(n, text="Ann Bob", caption=c) for n, c in enumerate("abc")]
    captions = dataset_inputs(instances)[-1]
    assert (captions.name, values_of(captions)) == ("caption", ["a", "b", "c"])
