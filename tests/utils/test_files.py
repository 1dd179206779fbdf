"""Outputs replace nothing that they should not, and YAML is parsed strictly."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rukh.errors import InputError
from rukh.utils.files import (
    FILE_LIMIT,
    atomic_folder,
    atomic_open,
    check_outputs,
    lock_folder,
    open_input,
    parse_yaml,
    read_json,
    write_json,
)


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("old")
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(KeyboardInterrupt), atomic_open(file) as stream:
        stream.write("new")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), atomic_folder(folder) as part:
        (part / "new").touch()
        raise KeyboardInterrupt
    assert file.read_text() == "old" and [path.name for path in folder.iterdir()] == ["old"]
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


def test_a_finished_write_replaces_what_was_there(tmp_path: Path) -> None:
    file, folder = tmp_path / "deep" / "file", tmp_path / "folder"
    for content in ("one", "two"):
        with atomic_open(file) as stream:
            stream.write(content)
        with atomic_folder(folder) as part:
            (part / content).touch()
    assert file.read_text() == "two" and [path.name for path in folder.iterdir()] == ["two"]
    for write in (atomic_open, atomic_folder):
        with pytest.raises(InputError), write(file / "below"):
            pass
    with pytest.raises(InputError), atomic_open(folder):
        pass


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_compressed_file_depends_on_its_content_only(tmp_path: Path, mode: str) -> None:
    for name in ("a.gz", "b.gz"):
        with atomic_open(tmp_path / name, mode) as stream:
            stream.write(b"one\n" if "b" in mode else "one\n")
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"one\n"
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    with open_input(tmp_path / "a.gz") as stream:
        assert stream.read() == b"one\n"


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "folder" / "target"
    link.symlink_to(Path("folder", "target"))
    for content in ("one", "two"):  # at first, there is no target
        check_outputs([link])
        with atomic_open(link) as stream:
            stream.write(content)
        assert link.is_symlink() and target.read_text() == content
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_only_pipes_and_character_devices_are_written_directly(tmp_path: Path) -> None:
    check_outputs([os.devnull, os.devnull], os.devnull)
    with atomic_open(Path(os.devnull)) as stream:
        stream.write("any")
    assert Path(os.devnull).is_char_device()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(InputError), atomic_open(tmp_path / "socket"):
            pass
        with pytest.raises(InputError):
            check_outputs([tmp_path / "socket"])
    os.mkfifo(tmp_path / "pipe")
    check_outputs([tmp_path / "pipe"])
    with pytest.raises(InputError):
        check_outputs([tmp_path / "pipe"], tmp_path / "pipe")


def test_json_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"a": [1, "ü"]}
    write_json(data, tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") == data
    write_json(data, "-")
    assert capsys.readouterr().out == (tmp_path / "a.json").read_text(encoding="utf-8")
    (tmp_path / "bad.json").write_text("{\n]")
    (tmp_path / "latin.json").write_bytes(b'"\xff"')
    with open(tmp_path / "big.json", "wb") as stream:
        stream.truncate(FILE_LIMIT + 1)
    for name in ("bad", "latin", "gone", "big"):
        with pytest.raises(InputError) as caught:
            read_json(tmp_path / f"{name}.json")
        assert caught.value.where == str(tmp_path / f"{name}.json")


def test_a_folder_has_one_user_at_a_time(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        with pytest.raises(InputError), lock_folder(tmp_path):
            pass
        # Not in this process only.
        code = "import sys; from pathlib import Path; from rukh.utils.files import lock_folder\n"
        code += "with lock_folder(Path(sys.argv[1])): pass"
        assert subprocess.run([sys.executable, "-c", code, tmp_path], stderr=-3).returncode == 1
    with lock_folder(tmp_path):
        pass


def test_an_output_is_a_file_of_its_own(tmp_path: Path) -> None:
    data, link = tmp_path / "data.json", tmp_path / "link.json"
    data.write_text("{}")
    link.symlink_to(data)
    check_outputs([None, "-", "-"], data)
    check_outputs([tmp_path / "new" / "out.json", tmp_path / "b"], data, None, tmp_path / "gone")
    check_outputs([data], tmp_path / "gone")
    for outputs in ([data], [tmp_path / "b", link], [tmp_path]):
        with pytest.raises(InputError):
            check_outputs(outputs, None, data)
    for nowhere in (data / "below.json", Path("/proc/out.json")):
        with pytest.raises(InputError, match="cannot write"):
            check_outputs([nowhere])
    one = tmp_path / "one.json"
    for same in (one, tmp_path / "." / "one.json"):
        with pytest.raises(InputError):
            check_outputs([None, one, same])
    assert {path.name for path in tmp_path.iterdir()} == {"data.json", "link.json"}


@pytest.mark.parametrize(
    ("text", "where", "fix"),
    [
        ("a: 1\nb: 2\na: 3", "f:3", ""),
        ("a: [", "f:1", ""),
        ("a: 2024-99-99", "f", ""),
        ("a: 1\nb: she said: no", "f:2", "quotes"),
    ],
    ids=["a repeated key", "an open bracket", "no date", "a text with a colon"],
)
def test_malformed_yaml_is_reported_with_its_line(text: str, where: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f")
    assert caught.value.where == where
    assert fix in (caught.value.fix or "")


def test_merged_keys_are_not_repeated_keys() -> None:
    data = parse_yaml("x: &x {a: 1}\ny: {<<: *x, b: 2e-3}", "f")
    assert data["y"] == {"a": 1, "b": 0.002}
