"""A committed line survives; an uncommitted one does not."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from rukh.errors import InputError
from rukh.utils.resumable_output import ResumableOutput


def test_resumes_after_the_last_commit(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    first = ResumableOutput(out, {"a": 1})
    first.commit(["one", "zwei ü"], 5, 2)
    first._stream.write(b"half a li")
    first.close()
    assert not out.exists()
    second = ResumableOutput(out, {"a": 1})
    assert (second.done, second.count) == (5, 2)
    second.commit([], 9)
    second.commit(["three"], 10)
    second.finish()
    assert out.read_text(encoding="utf-8") == "one\nzwei ü\nthree\n"
    assert list(out.parent.iterdir()) == [out]


def test_a_compressed_output_is_resumed(tmp_path: Path) -> None:
    out = tmp_path / "out.gz"
    first = ResumableOutput(out, {})
    first.commit(["one"], 1)
    first._stream.write(b"half")
    first.close()
    second = ResumableOutput(out, {})
    assert second.done == 1
    second.commit(["two"], 2)
    second.finish()
    assert gzip.decompress(out.read_bytes()) == b"one\ntwo\n"
    ResumableOutput(out, {}).finish()
    assert out.stat().st_size and gzip.decompress(out.read_bytes()) == b""


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_a_header_is_written_once(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    for line in (None, "one", "two"):  # the first run is killed before its first commit
        output = ResumableOutput(out, {}, "header")
        if line:
            output.commit([line], output.done + 1)
        output.close()
    ResumableOutput(out, {}, "header").finish()
    data = out.read_bytes()
    assert (gzip.decompress(data) if name.endswith("gz") else data) == b"header\none\ntwo\n"
    ResumableOutput(out, {}, "header").finish()
    data = out.read_bytes()
    assert (gzip.decompress(data) if name.endswith("gz") else data) == b"header\n"


def test_the_target_of_a_link_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    output = ResumableOutput(tmp_path / "link", {})
    output.commit(["one"], 1)
    output.finish()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "one\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_leaves_what_was_committed(tmp_path: Path) -> None:
    output = ResumableOutput(tmp_path / "out", {})
    output.commit(["one"], 1)
    with open("/dev/full", "ab") as full:
        descriptor = os.dup(output._stream.fileno())
        os.dup2(full.fileno(), output._stream.fileno())
        with pytest.raises(OSError, match="No space") as caught:
            output.commit(["two"], 2)
        os.close(descriptor)
    assert caught.value.filename == str(tmp_path / "out")
    output.close()
    assert ResumableOutput(tmp_path / "out", {}).done == 1


def test_another_identity_or_a_short_part_file_starts_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for identity, cut in (({"a": 2}, None), ({"a": 1}, 2)):
        output = ResumableOutput(out, {"a": 1})
        output.commit(["one"], 1)
        output.close()
        if cut is not None:
            output.part.write_bytes(output.part.read_bytes()[:cut])
        again = ResumableOutput(out, identity)
        assert again.done == 0 and again.part.stat().st_size == 0
        again.close()
        again.part.unlink()


def test_a_path_stands_for_its_content(tmp_path: Path) -> None:
    for content, done in (("one", 0), ("one", 1), ("two", 0)):
        (tmp_path / "input").write_text(content)
        output = ResumableOutput(tmp_path / "out", {"input": tmp_path / "input"})
        assert output.done == done
        output.commit(["line"], 1)
        output.close()


def test_a_finished_file_stays_until_the_next_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("old")
    output = ResumableOutput(out, {})
    output.commit(["new"], 1)
    assert out.read_text() == "old"
    output.finish()
    assert out.read_text() == "new\n"
    output = ResumableOutput(out, {})
    assert output.done == 0
    output.finish()
    assert out.read_text() == ""


def test_a_kill_between_the_rename_and_the_removal_of_the_state_is_harmless(tmp_path: Path) -> None:
    output = ResumableOutput(tmp_path / "out", {})
    output.commit(["one"], 1)
    state = output.state.read_text()
    output.finish()
    output.state.write_text(state)
    assert ResumableOutput(tmp_path / "out", {}).done == 0


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    output = ResumableOutput(tmp_path / "out", {})
    output.commit(["one"], 1)
    with pytest.raises(InputError, match="another process"):
        ResumableOutput(tmp_path / "out", {})
    output.close()
    assert ResumableOutput(tmp_path / "out", {}).done == 1


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "out"):
        with pytest.raises(InputError, match="cannot write"):
            ResumableOutput(out, {})
