"""MORE: objects of the picture as arguments."""

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from rukh.data.more import boxes_elsewhere, corners, load_dictionary
from rukh.data.readers import check, read, write
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity, VisualObject

RECORD: dict[str, Any] = {
    "token": ["Ann", "waves"],
    "h": {"name": "Ann", "pos": [0, 1]},
    "t": {"name": "[OBJ0]"},
    "img_id": "a.jpg",
    "relation": "present_in",
}
BOXES = {"a.jpg": {"[OBJ0]": (0.5, 0.5, 0.5, 1.0), "[OBJ1]": (0.9, 0.5, 0.4, 0.5)}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.txt"
    path.write_text(repr(RECORD) + "\n")
    return path


def boxes_as(kind: str, folder: Path) -> Path:
    path = folder / f"ent_train_dict.{kind}"
    if kind == "json":
        path.write_text(json.dumps(BOXES))
    elif kind == "pth":
        torch.save(BOXES, path)
    else:
        tensors = {"a.jpg": {"[OBJ0]": torch.tensor(BOXES["a.jpg"]["[OBJ0]"])}}
        path = path.with_suffix(".pth")
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("kind", ["json", "pth", "tensors"])
def test_boxes_beside_the_file(kind: str, file: Path) -> None:
    boxes_as(kind, file.parent)
    (post,) = read(file, "more")
    assert post.entities == (TextEntity(id="h", start=0, end=3),)
    assert post.objects == (
        VisualObject(id="t", box=(0.25, 0.0, 0.75, 1.0), meta={"name": "[OBJ0]"}),
    )
    assert post.pairs == (Pair(head="h", tail="t", relation="present_in"),)
    write([post], file.with_name("out.txt"), "more")
    assert ast.literal_eval(file.with_name("out.txt").read_text()) == RECORD


def test_boxes_by_name_and_labels(file: Path) -> None:
    (file.parent / "elsewhere").mkdir()
    boxes = boxes_as("pth", file.parent / "elsewhere")
    (file.parent / "caption_dict.json").write_text(json.dumps({"a.jpg": {"[OBJ0]": "a woman"}}))
    (post,) = read(file, "more", boxes=boxes)
    assert post.surface("t") == "a woman"


def test_missing_boxes_name_object_and_picture(file: Path) -> None:
    (problem,) = check(file, "more")
    assert problem.why == "no box dictionary for object '[OBJ0]' of picture 'a.jpg'"
    assert problem.fix and "ent_train_dict.pth" in problem.fix and "--boxes" in problem.fix
    boxes_as("json", file.parent)
    lines = [
        RECORD | {"t": {"name": "[OBJ7]"}},
        RECORD | {"img_id": "b.jpg"},
        RECORD | {"t": {"name": "[OBJ1]"}},
    ]
    file.write_text("\n".join(map(repr, lines)))
    assert [(problem.field, problem.why) for problem in check(file, "more")] == [
        ("t", "the box dictionary has no object '[OBJ7]' for picture 'a.jpg'"),
        ("t", "the box dictionary has no object '[OBJ0]' for picture 'b.jpg'"),
        ("box of [OBJ1] in a.jpg", "the box [0.9, 0.5, 0.4, 0.5] reaches past the picture"),
    ]


def test_a_place_that_is_said_to_be_none_is_written_again(file: Path) -> None:
    record = RECORD | {"t": {"name": "[OBJ0]", "pos": None}}
    file.write_text(repr(record) + "\n")
    boxes_as("json", file.parent)
    (post,) = read(file, "more")
    assert boxes_elsewhere(post) == 1
    write([post], file.with_name("out.txt"), "more")
    assert ast.literal_eval(file.with_name("out.txt").read_text()) == record


def test_objects_that_never_had_a_dictionary_are_written_whole(tmp_path: Path) -> None:
    post = Post(
        id="1",
        text="",
        objects=(
            VisualObject(id="a", box=(0.0, 0.0, 0.5, 0.5), type="person"),
            VisualObject(id="b", box=(0.1, 0.2, 0.7, 1.0)),
        ),
        pairs=(Pair(head="b", tail="a"),),
    )
    assert boxes_elsewhere(post) == 0
    write([post], tmp_path / "out.txt", "more")
    (back,) = read(tmp_path / "out.txt", "more")
    head, tail = back.argument("h"), back.argument("t")
    assert isinstance(head, VisualObject) and isinstance(tail, VisualObject)
    assert head.box == pytest.approx((0.1, 0.2, 0.7, 1.0))
    assert (head.meta["name"], tail.meta["name"], tail.type) == ("[OBJ1]", "[OBJ0]", "person")


def test_rounding_errors_are_clipped_and_no_more() -> None:
    assert corners([0.5, 0.5, 1.001, 1.0], "t.pos") == (0.0, 0.0, 1.0, 1.0)
    for values in ([0.5, 0.5, 1.01, 1.0], [50, 50, 20, 20]):
        with pytest.raises(InputError, match="reaches past the picture"):
            corners(values, "t.pos")
    for wrong in (["0.5", "x", "1", "1"], [1, 2, 3], None, 5):
        with pytest.raises(InputError, match="not four numbers"):
            corners(wrong, "t.pos")


def test_a_number_that_is_not_finite_is_told() -> None:
    with pytest.raises(InputError, match="not finite"):
        corners(["nan", "0.5", "0.2", "0.2"], "t.pos")


def test_an_empty_box_is_refused(file: Path) -> None:
    file.write_text(repr(RECORD | {"t": {"name": "[OBJ0]", "pos": ["0.5", "0.5", "0", "1"]}}))
    (problem,) = check(file, "more")
    assert problem.field == "t.pos" and "has no area" in problem.why


class Evil:
    """What a pickle must never be allowed to do."""

    def __reduce__(self) -> Any:
        return Path.mkdir, (Path("made-by-a-pickle"),)


def test_a_dictionary_that_runs_code_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ent_train_dict.pth"
    for save in (torch.save, lambda value, where: where.write_bytes(pickle.dumps(value, 2))):
        save({"a.jpg": Evil()}, path)
        with pytest.raises(InputError, match="without running code"):
            next(read(file, "more"))
    assert not Path("made-by-a-pickle").exists()


def test_damaged_dictionaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = boxes_as("pth", tmp_path)
    data = whole.read_bytes()
    for damaged in (b"", data[: len(data) // 2], b"not a pickle", b"\x80\x02]q\x00."):
        whole.write_bytes(damaged)
        with pytest.raises(InputError, match=r"ent_train_dict\.pth: not a"):
            load_dictionary(whole)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="not a mapping"):
        load_dictionary(tmp_path / "list.json")
    with pytest.raises(InputError, match="No such file"):
        load_dictionary(tmp_path / "nowhere.json")
    monkeypatch.setattr("rukh.data.more.DICTIONARY_LIMIT", 1)
    with pytest.raises(InputError, match="2 bytes, more than 1"):
        load_dictionary(tmp_path / "list.json")


@pytest.mark.parametrize("size", [(0, 0.5), (0.5, -0.1)])
def test_a_box_without_area_is_told_in_the_words_of_its_format(size: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"has no area.*\(cx, cy, w, h\)"):
        corners((0.5, 0.5, *size), "t.pos")
