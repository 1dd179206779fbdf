"""``rukh extract``: its outputs, its warnings, and that it can be resumed."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rukh import extractor
from rukh.data.readers import write
from rukh.modeling.model import RelationModel
from rukh.records import Post, Triple
from rukh.utils.resumable_output import ResumableOutput


@pytest.fixture
def extract(
    tiny_model: Callable[..., RelationModel],
    posts: list[Post],
    tmp_path: Path,
    rukh: Callable[..., Any],
) -> Callable[..., Any]:
    """Runs ``rukh extract`` on the shared posts, and one without arguments."""
    tiny_model(vision=True).save(tmp_path / "model", "")
    gone = posts[1].model_copy(update={"id": "gone", "image": tmp_path / "gone.png"})
    write([*posts, gone, Post(id="bare", text="no arguments")], tmp_path / "posts.jsonl")
    return lambda *arguments, source="posts.jsonl": rukh(
        "extract", tmp_path / source, "--model", tmp_path / "model", *arguments
    )


def test_triples_go_to_standard_output_or_a_file(
    extract: Callable[..., Any], tmp_path: Path
) -> None:
    done = extract("--threshold", 0)
    assert done.code == 0
    triples = [Triple.model_validate_json(line) for line in done.out.splitlines()]
    assert triples and "ranking" not in done.out
    assert f"7 posts, {len(triples)} relations" in done.err
    warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2 and any("gone.png" in line for line in warnings)
    without = extract("--images", tmp_path / "gone")
    assert without.code == 0 and f"warning: there is no folder {tmp_path / 'gone'}" in without.err
    again = extract("--threshold", 0, "--out", tmp_path / "out.jsonl", "--quiet")
    assert (again.code, again.out) == (0, "") and "warning" not in again.err
    assert (tmp_path / "out.jsonl").read_text() == done.out


def test_rankings_and_the_table(extract: Callable[..., Any]) -> None:
    lines = extract("--threshold", 0, "--top-k", 2).out.splitlines()
    assert all(len(json.loads(line)["ranking"]) == 2 for line in lines)
    table = extract("--threshold", 0, "--table").out
    assert "words Ann Lee works at Acme of Rome." in table
    assert table.count("description: ") == len(lines) and "image gate 0." in table
    assert "hat at 0.10, 0.10, 0.40, 0.50" in table


def test_directed_pairs_and_ignored_types(
    extract: Callable[..., Any], tiny_model: Callable[..., RelationModel], tmp_path: Path
) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update={"direction_mode": "joint"})
    model.save(tmp_path / "model", "")
    entities = [
        {"id": "a", "start": 0, "end": 3, "type": "PER"},
        {"id": "b", "start": 9, "end": 12, "type": "PER"},
    ]
    post = {"id": "1", "text": "Ann near Bob", "entities": entities}
    post["pairs"] = [{"head": "a", "tail": "b"}]
    (tmp_path / "pairs.jsonl").write_text(json.dumps(post))

    def scores(*options: str) -> list[float]:
        done = extract("--top-k", 9, *options, source="pairs.jsonl")
        assert done.code == 0
        return [row["score"] for row in json.loads(done.out)["ranking"]]

    assert scores() == scores("--undirected", "--type-constraints", "soft")
    assert scores() != scores("--directed")
    assert scores("--type-constraints", "hard") != scores("--type-constraints", "off")


@pytest.mark.parametrize(
    ("caption_words", "source", "image", "warned"),
    [
        (0, None, "1.jpg", "does not use captions"),
        (9, "llavanext", "2.jpg", "no caption"),
        (9, "llavanext", "1.jpg", "llavanext"),
        (9, "blip2", "1.jpg", None),
    ],
)
def test_warnings_about_captions_and_ids(
    extract: Callable[..., Any],
    tiny_model: Callable[..., RelationModel],
    tmp_path: Path,
    caption_words: int,
    source: str | None,
    image: str,
    warned: str | None,
) -> None:
    write([Post(id="same", text="Ann", image=tmp_path / "1.jpg")] * 2, tmp_path / "twice.jsonl")
    captions = tmp_path / "blip2.txt"
    captions.write_text(f"{{'img_id': '{image}', 'text': 'a dog'}}\n")
    model = tiny_model(caption_words=caption_words)
    model.config = model.config.model_copy(update={"caption_source": source})
    model.save(tmp_path / "model", "")
    done = extract("--captions", captions, "--images", tmp_path, source="twice.jsonl")
    assert done.code == 0
    assert "warning: 1 of 2 posts have the id of another" in done.err
    assert warned in done.err if warned else "caption" not in done.err


def test_a_part_file_of_other_options_is_discarded(
    extract: Callable[..., Any], tmp_path: Path
) -> None:
    output = ResumableOutput(tmp_path / "out", {"other": "run"})
    output.commit(["junk"], 5)
    output.close()
    done = extract("--threshold", 0, "--out", tmp_path / "out")
    assert done.code == 0 and "discarding an unfinished run" in done.err
    assert "junk" not in (tmp_path / "out").read_text()


def test_empty_and_bad_input(extract: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert extract("--out", tmp_path / "out", source="empty.jsonl").code == 0
    assert (tmp_path / "out").read_bytes() == b""
    (tmp_path / "bad.jsonl").write_text('{"id": "1", "text": "x"}\n{"id": 2}\n')
    done = extract("--out", tmp_path / "bad", source="bad.jsonl")
    assert done.code == 2 and "bad.jsonl:2" in done.err
    assert not (tmp_path / "bad").exists() and not list(tmp_path.glob(".bad*"))
    assert extract("--out", tmp_path / "posts.jsonl").code == 2
    assert (tmp_path / "posts.jsonl").read_text().count("\n") == 7
    assert extract("--out", tmp_path).code == 2


def serve(pipe: Path, data: bytes) -> Path:
    """Make a named pipe from which ``data`` can be read once."""
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True).start()
    return pipe


def test_a_pipe_and_standard_input_are_read_once(
    extract: Callable[..., Any],
    rukh: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    want = extract("--threshold", 0)
    data = (tmp_path / "posts.jsonl").read_bytes()
    serve(tmp_path / "pipe.jsonl", data)
    assert extract("--threshold", 0, source="pipe.jsonl").out == want.out
    monkeypatch.chdir(tmp_path)  # images are relative to the working folder
    out = tmp_path / "out.jsonl"
    for arguments in ((), ("--out", out)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        done = rukh("extract", "-", "--model", "model", "--threshold", 0, *arguments)
        assert done.code == 0 and "7 posts, " in done.err
    assert "cannot be resumed" in done.err
    assert out.read_text() == want.out and not list(tmp_path.glob(".out*"))


def test_a_bad_line_of_a_pipe_leaves_no_output(extract: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    serve(tmp_path / "pipe", b'{"id": "1", "text": "Ann"}\n{"id": "1"}\n')
    done = extract("--out", tmp_path / "out", source="pipe")
    assert done.code == 2 and f"{tmp_path / 'pipe'}:2: text" in done.err
    assert (tmp_path / "out").read_text() == "old" and not list(tmp_path.glob(".out*"))


def test_captions_from_a_pipe(
    extract: Callable[..., Any], tiny_model: Callable[..., RelationModel], tmp_path: Path
) -> None:
    tiny_model(caption_words=9).save(tmp_path / "model", "")
    write([Post(id="1", text="Ann", image=tmp_path / "1.jpg")], tmp_path / "one.jsonl")
    pipe = serve(tmp_path / "captions", b"{'img_id': '1.jpg', 'text': 'a dog'}\n")
    done = extract("--captions", pipe, "--out", tmp_path / "out", source="one.jsonl")
    assert done.code == 0 and "1 posts" in done.err and "no caption" not in done.err


def test_output_to_standard_output_a_link_and_compressed(
    extract: Callable[..., Any], tmp_path: Path
) -> None:
    want = extract("--threshold", 0)
    for name in ("-", "/dev/stdout"):
        done = extract("--threshold", 0, "--out", name)
        assert (done.code, done.out) == (0, want.out) and "7 posts" in done.err
    assert extract("--out", "-", "--table").code == 2
    link, target, packed = tmp_path / "link", tmp_path / "deep" / "target", tmp_path / "out.gz"
    target.parent.mkdir()
    link.symlink_to(target)
    assert extract("--threshold", 0, "--out", link).code == 0
    assert link.is_symlink() and target.read_text() == want.out
    data = (tmp_path / "posts.jsonl").read_bytes()
    (tmp_path / "posts.jsonl.gz").write_bytes(gzip.compress(data))
    done = extract("--threshold", 0, "--out", packed, source="posts.jsonl.gz")
    assert done.code == 0 and gzip.decompress(packed.read_bytes()).decode() == want.out


def test_devices_and_pipes_are_written_and_not_replaced(
    extract: Callable[..., Any], tmp_path: Path
) -> None:
    assert extract("--out", os.devnull).code == 0 and Path(os.devnull).is_char_device()
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    assert extract("--threshold", 0, "--out", tmp_path / "pipe").code == 0
    reader.join(60)
    assert read == [extract("--threshold", 0).out] and (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_error_line(extract: Callable[..., Any], tmp_path: Path) -> None:
    done = extract("--threshold", 0, "--out", "/dev/full")
    assert done.code == 1 and Path("/dev/full").is_char_device()
    assert done.err.splitlines()[-1] == "error: /dev/full: No space left on device"
    code = "import rukh.cli; rukh.cli.main()"
    command = ["extract", tmp_path / "posts.jsonl", "--model", tmp_path / "model"]
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-c", code, *map(str, command), "--threshold", "0"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1] == "error: No space left on device"


def test_a_post_with_too_many_arguments_is_an_error_before_any_prediction(
    extract: Callable[..., Any], tmp_path: Path
) -> None:
    entities = [{"id": str(i), "start": i, "end": i + 1} for i in range(300)]
    write([Post(id="many", text="x" * 300, entities=entities)], tmp_path / "many.jsonl")
    done = extract("--out", tmp_path / "out", source="many.jsonl")
    assert done.code == 2 and "'many'" in done.err and not list(tmp_path.glob(".out*"))


def test_a_killed_run_is_resumed_with_the_same_bytes(
    extract: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``kill -9`` in the middle, another run at the same time, then the same command again."""
    monkeypatch.setattr(extractor, "CHUNK_SIZE", 8)
    person = {"id": "a", "start": 0, "end": 3, "type": "PER"}
    rows = [
        Post(
            id=str(i),
            text="Ann of Rome works at Acme" + " in Rome" * (i % 5),
            entities=[person, {"id": "o", "start": 21, "end": 25}],
        )
        for i in range(200)
    ]
    write(rows, tmp_path / "posts.jsonl")
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert extract("--threshold", 0, "--out", whole).code == 0
    code = "import rukh.cli, rukh.extractor as e; e.CHUNK_SIZE = 8; rukh.cli.main()"
    command = ["extract", tmp_path / "posts.jsonl", "--model", tmp_path / "model"]
    command += ["--threshold", "0", "--out", torn]
    state = tmp_path / ".torn.part.json"
    running = subprocess.Popen([sys.executable, "-c", code, *map(str, command)])
    while running.poll() is None and not state.exists():
        time.sleep(0.002)
    running.send_signal(signal.SIGSTOP)
    assert extract("--threshold", 0, "--out", torn).code == 2  # another process is writing it
    running.kill()
    assert running.wait() == -signal.SIGKILL
    done = json.loads(state.read_text())["done"]
    assert not torn.exists() and 0 < done < 200
    resumed = extract("--threshold", 0, "--out", torn)
    assert resumed.code == 0 and f"after {done} posts" in resumed.err
    assert torn.read_bytes() == whole.read_bytes() and whole.stat().st_size > 10_000
    assert not list(tmp_path.glob(".torn*"))


def test_tables_in_and_out(extract: Callable[..., Any], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (tmp_path / "mine.csv").write_text("key,body\n7,Ann met Bob\n8,Cleo\n", encoding="utf-8")
    assert extract(source="mine.csv").code == 2  # there is no column "text"
    columns = ["--text-column", "body", "--id-column", "key", "--threshold", 0]
    entities = extract(*columns, "--show-entities", source="mine.csv")
    rows = [json.loads(line) for line in entities.out.splitlines()]
    assert [row["post_id"] for row in rows if "entities" in row] == ["7", "8"]
    lines = extract("--threshold", 0).out.splitlines()
    tables = []
    for name in ("out.csv", "out.parquet"):
        assert extract("--threshold", 0, "--out", tmp_path / name).code == 0
        read = pandas.read_csv if name.endswith("csv") else pandas.read_parquet
        tables.append(read(tmp_path / name))
        assert extract("--top-k", 2, "--out", tmp_path / name).code == 2  # no place for rankings
    for table in tables:
        assert table["score"].tolist() == [json.loads(line)["score"] for line in lines]
        assert list(table.columns) == list(tables[0].columns)


def test_refused_lines_are_skipped_on_request(extract: Callable[..., Any], tmp_path: Path) -> None:
    good = extract("--threshold", 0)
    lines = (tmp_path / "posts.jsonl").read_text(encoding="utf-8").splitlines()
    lines[2:2] = ["not json", '{"id": "1", "txet": "misspelt"}']
    (tmp_path / "bad.jsonl").write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "out.jsonl"
    assert extract("--out", out, source="bad.jsonl").code == 2 and not out.exists()
    skip = ["--threshold", 0, "--on-error", "skip"]
    assert extract(*skip, "--out", out, source="bad.jsonl").code == 0
    assert out.read_text(encoding="utf-8") == good.out
    refused = (tmp_path / "out.jsonl.errors.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["line"] for line in refused] == [3, 4]
    assert json.loads(refused[1])["field"] == "txet"
    printed = extract(*skip, source="bad.jsonl")
    assert (printed.code, printed.out) == (0, good.out) and "2 refused" in printed.err
