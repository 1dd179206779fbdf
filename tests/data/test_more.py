"""MORE: objects of the image as arguments."""

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers_data import errors_of
from rukh.data.more import load_dictionary, to_corners
from rukh.data.readers import read, write
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


def write_boxes(folder: Path, kind: str = "json") -> Path:
    path = folder / f"ent_train_dict.{'json' if kind == 'json' else 'pth'}"
    if kind == "json":
        path.write_text(json.dumps(BOXES))
    elif kind == "pth":
        torch.save(BOXES, path)
    else:
        torch.save({"a.jpg": {"[OBJ0]": torch.tensor(BOXES["a.jpg"]["[OBJ0]"])}}, path)
    return path


def rewritten(post: Post, path: Path) -> Any:
    write([post], path, "more")
    return ast.literal_eval(path.read_text())


@pytest.mark.parametrize("kind", ["json", "pth", "tensors"])
def test_boxes_beside_the_file(kind: str, file: Path) -> None:
    write_boxes(file.parent, kind)
    (post,) = read(file, "more")
    assert post.entities == (TextEntity(id="h", start=0, end=3),)
    assert post.objects == (
        VisualObject(id="t", box=(0.25, 0.0, 0.75, 1.0), meta={"name": "[OBJ0]"}),
    )
    assert post.pairs == (Pair(head="h", tail="t", relation="present_in"),)
    assert rewritten(post, file.with_name("out.txt")) == RECORD


def test_boxes_elsewhere_and_labels(file: Path) -> None:
    (file.parent / "elsewhere").mkdir()
    boxes = write_boxes(file.parent / "elsewhere", "pth")
    (file.parent / "caption_dict.json").write_text(json.dumps({"a.jpg": {"[OBJ0]": "a woman"}}))
    (post,) = read(file, "more", boxes=boxes)
    assert post.surface("t") == "a woman"


def test_missing_boxes_name_object_and_image(file: Path) -> None:
    (error,) = errors_of(file, "more")
    assert error.field == "t" and "'[OBJ0]'" in error.problem and "'a.jpg'" in error.problem
    assert error.fix and "ent_train_dict.pth" in error.fix and "--boxes" in error.fix
    write_boxes(file.parent)
    lines = [
        RECORD | {"t": {"name": "[OBJ7]"}},
        RECORD | {"img_id": "b.jpg"},
        RECORD | {"t": {"name": "[OBJ1]"}},
        RECORD | {"t": {"name": "[OBJ0]", "pos": ["0.5", "0.5", "0", "1"]}},
    ]
    file.write_text("\n".join(map(repr, lines)))
    fields = [error.field for error in errors_of(file, "more")]
    assert fields == ["t", "t", "box of [OBJ1] in a.jpg", "t.pos"]


def test_a_position_of_none_is_written_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = RECORD | {"t": {"name": "[OBJ0]", "pos": None}}
    file.write_text(repr(record) + "\n")
    write_boxes(file.parent)
    (post,) = read(file, "more")
    assert rewritten(post, file.with_name("out.txt")) == record
    assert "ent_out_dict" in caplog.text


def test_objects_of_other_formats_are_written_with_their_boxes(tmp_path: Path) -> None:
    post = Post(
        id="1",
        text="",
        objects=(
            VisualObject(id="a", box=(0.0, 0.0, 0.5, 0.5), type="person"),
            VisualObject(id="b", box=(0.1, 0.2, 0.7, 1.0)),
        ),
        pairs=(Pair(head="b", tail="a"),),
    )
    write([post], tmp_path / "out.txt", "more")
    (back,) = read(tmp_path / "out.txt", "more")
    head, tail = back.argument("h"), back.argument("t")
    assert isinstance(head, VisualObject) and isinstance(tail, VisualObject)
    assert head.box == pytest.approx((0.1, 0.2, 0.7, 1.0))
    assert (head.meta["name"], tail.meta["name"], tail.type) == ("[OBJ1]", "[OBJ0]", "person")


@pytest.mark.parametrize(
    "box",
    [
        [0.5, 0.5, 1.01, 1.0],
        [50, 50, 20, 20],
        [0.5, 0.5, 0, 0.5],
        [0.5, 0.5, 0.5, -0.1],
        ["nan", "0.5", "0.2", "0.2"],
        ["0.5", "x", "1", "1"],
        [1, 2, 3],
        None,
        5,
    ],
)
def test_bad_boxes(box: Any) -> None:
    assert to_corners([0.5, 0.5, 1.001, 1.0], "t.pos") == (0.0, 0.0, 1.0, 1.0)  # is clipped
    with pytest.raises(InputError) as caught:
        to_corners(box, "t.pos")
    assert caught.value.field == "t.pos"


class Evil:
    """A pickle that runs code when it is loaded."""

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
    whole = write_boxes(tmp_path, "pth")
    data = whole.read_bytes()
    for damaged in (b"", data[: len(data) // 2], b"not a pickle", b"\x80\x02]q\x00."):
        whole.write_bytes(damaged)
        with pytest.raises(InputError) as caught:
            load_dictionary(whole)
        assert caught.value.where == str(whole)
    (tmp_path / "list.json").write_text("[]")
    for bad in ("nowhere.json", "nowhere.pth", "list.json"):
        with pytest.raises(InputError) as caught:
            load_dictionary(tmp_path / bad)
        assert caught.value.where == str(tmp_path / bad)
    monkeypatch.setattr("rukh.data.more.FILE_LIMIT", 1)
    with pytest.raises(InputError, match="larger"):
        load_dictionary(whole)
