"""Nothing that is there is lost to an output, and YAML means what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from rukh.errors import InputError
from rukh.utils.files import check_folder, check_output, check_outputs, parse_yaml


def test_an_output_is_a_file_of_its_own(tmp_path: Path) -> None:
    data, link = tmp_path / "data.json", tmp_path / "link.json"
    data.write_text("{}")
    link.symlink_to(data)
    check_output(None)
    check_output("-", data)
    check_output(tmp_path / "new" / "out.json", data, None, tmp_path / "gone")
    check_output(data, tmp_path / "gone")
    for out in (data, link):
        with pytest.raises(InputError, match="it is the input"):
            check_output(out, None, data)
    with pytest.raises(InputError, match="it is a folder"):
        check_output(tmp_path)
    for nowhere in (data / "below.json", Path("/proc/out.json")):
        with pytest.raises(InputError, match="cannot write there"):
            check_output(nowhere)
    assert {one.name for one in tmp_path.iterdir()} == {"data.json", "link.json"}


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.html"
    check_outputs((one, None, other, None))
    check_outputs((Path("-"), one))
    for pair in ((one, one), (one, tmp_path / "." / "one.json")):
        with pytest.raises(InputError, match="two outputs are the same"):
            check_outputs((None, *pair))
    with pytest.raises(InputError, match="it is the input"):
        one.write_text("{}")
        check_outputs((other, one), one)


def test_a_folder_is_replaced_only_where_it_holds_what_is_replaced(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", set())
    (tmp_path / "posts.jsonl").write_text("")
    check_folder(tmp_path, {"posts.jsonl", "schema.yaml"})
    for folder, why in (
        (tmp_path, "holds other files"),
        (tmp_path / "posts.jsonl", "is no folder"),
    ):
        with pytest.raises(InputError, match=why):
            check_folder(folder, {"schema.yaml"})


@pytest.mark.parametrize(
    ("text", "why"),
    [("a: 1\nb: 2\na: 3", "f:3: not YAML: key 'a' stands twice"), ("a: [", "f:1: not YAML: ")],
)
def test_yaml_that_is_none_is_told_with_its_line(text: str, why: str) -> None:
    with pytest.raises(InputError) as told:
        parse_yaml(text, "f")
    assert str(told.value).startswith(why)


def test_keys_that_are_merged_stand_once() -> None:
    told = parse_yaml("x: &x {a: 1}\ny: {<<: *x, b: 2e-3}", "f")
    assert told["y"] == {"a": 1, "b": 0.002}
