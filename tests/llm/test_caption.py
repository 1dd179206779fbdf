"""Captions of a language model: what is sent, what is kept, and that a caption file results."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from chat_server import Server, error
from rukh.data.captions import read_captions
from rukh.data.readers import write
from rukh.llm.caption import MAX_SIDE, Caption, find_problems
from rukh.records import Post

pytest.importorskip("openai")


def reply(text: str) -> tuple[int, str]:
    return 200, Caption(caption=text).model_dump_json()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of them damaged, of four posts."""
    Image.new("RGB", (2000, 100)).save(tmp_path / "wide.png")
    Image.new("RGB", (30, 40)).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    names = ("wide.png", "small.png", "wide.png", "broken.png")
    posts = [
        Post(id=str(i), text=f"post {i}", image=tmp_path / name) for i, name in enumerate(names)
    ]
    write(posts, tmp_path / "posts.jsonl")
    return tmp_path


@pytest.fixture
def run(endpoint: Server, folder: Path, rukh: Callable[..., Any]) -> Callable[..., Any]:
    """Runs ``rukh caption`` on the posts, with the test's server."""
    out = folder / "captions.jsonl"
    return lambda *more: rukh("caption", folder / "posts.jsonl", "--out", out, *more)


def test_captions_are_written_as_all_commands_read_them(
    run: Any, server: Server, folder: Path
) -> None:
    server.script = [reply("A black bar."), reply("A black square.")]
    done = run("--parallel", "1", "--json", "-")
    assert done.code == 0 and "broken.png" in done.err
    captions = read_captions(folder / "captions.jsonl")
    assert captions == {"wide.png": "A black bar.", "small.png": "A black square."}
    assert json.loads(done.out)["captions"] == 2
    (message,) = server.requests[0]["messages"]
    url = message["content"][1]["image_url"]["url"]
    kind, _, data = url.partition(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert kind == "data:image/jpeg" and max(image.size) == MAX_SIDE
    before = (folder / "captions.jsonl").read_text()
    assert run().code == 2 and (folder / "captions.jsonl").read_text() == before
    (folder / "captions.jsonl").unlink()
    assert run().code == 0 and len(server.requests) == 2  # cached by what the image shows


def test_unusable_captions_are_asked_for_again(run: Any, server: Server, folder: Path) -> None:
    server.script = [reply("I am sorry, I cannot see it."), reply("?"), reply("A black thing.")]
    assert run("--sample", "1").code == 0
    assert list(read_captions(folder / "captions.jsonl").values()) == ["A black thing."]
    assert len(server.requests) == 3


def test_a_failure_leaves_no_file(run: Any, server: Server, folder: Path) -> None:
    server.script = [(401, error("no"))]
    assert run().code == 2 and not (folder / "captions.jsonl").exists()


@pytest.mark.parametrize("text", ["x", "word " * 100, "two\nlines of it", "As an AI, I see a dog."])
def test_bad_captions_are_found(text: str) -> None:
    assert find_problems(Caption(caption=text))


def test_posts_need_images(run: Any, server: Server, folder: Path) -> None:
    write([Post(id="1", text="no image")], folder / "posts.jsonl")
    assert run().code == 2
