"""Each picture is encoded once, whatever happens in between."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from test_vision import pictures_of_mnre
from torch import Tensor

from rukh.errors import InputError
from rukh.extractor import Extractor
from rukh.modeling import image_features as features
from rukh.modeling.image_features import FeatureCache
from rukh.modeling.image_io import load_image
from rukh.modeling.vision_encoder import VisionEncoder, encode_images
from rukh.records import Post

PAIR = {"head": "o0", "tail": "o1"}


class Counting(VisionEncoder):
    """Mean colours of four patches; counts the pictures that it sees."""

    name, size, mean, std, dim = "counting", 16, (0.5,) * 3, (0.5,) * 3, 3
    grid = (2, 2)

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.seen = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen += len(pixels)
        states = torch.nn.functional.avg_pool2d(pixels, 8).flatten(2).transpose(1, 2)
        return states * self.scale


def encoded(colour: str = "red", size: tuple[int, int] = (20, 10)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def write(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(encoded(f"rgb({i * 5}, 99, 200)", (20, 8 + i)))
    return paths


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "cache" if request.param == "disk" else None


def test_each_picture_is_encoded_once(place: Path | None, tmp_path: Path) -> None:
    paths = write(tmp_path / "a", 5)
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    encoder = Counting()
    cache = FeatureCache(place, encoder, batch_size=2)
    first = cache.get([*paths, copy, paths[1].read_bytes(), paths[1]])
    assert encoder.seen == 5
    again = cache.get(paths)
    assert encoder.seen == 5
    direct = encode_images(encoder, [load_image(path) for path in paths])
    for one, two, three in zip(first, again, direct, strict=False):
        assert one is not None and two is not None
        assert one.states.dtype == torch.float32
        assert torch.equal(one.states, two.states) and torch.equal(one.boxes, two.boxes)
        torch.testing.assert_close(one.states, three.states, atol=2e-3, rtol=2e-3)
        assert torch.equal(one.boxes, three.boxes)
    assert first[5] is not None and first[0] is not None and first[7] is not None
    assert torch.equal(first[5].states, first[0].states)
    assert torch.equal(first[7].states, first[1].states)  # type: ignore[union-attr]


def test_missing_and_broken_pictures_are_noted(place: Path | None, tmp_path: Path) -> None:
    good = write(tmp_path, 1)[0]
    gone, empty, cut = (tmp_path / name for name in ("gone.png", "empty.png", "cut.png"))
    empty.write_bytes(b"")
    cut.write_bytes(encoded()[:40])
    cache = FeatureCache(place, Counting())
    found = cache.get([gone, good, empty, cut, b"no picture"])
    assert [one is not None for one in found] == [False, True, False, False, False]
    assert cache.missing == {str(gone): "no such picture"}
    assert set(cache.broken) >= {str(empty), str(cut)} and len(cache.broken) == 3
    assert "empty" in cache.broken[str(empty)] and "cut.png" not in cache.broken[str(cut)]
    # Once they are mended, they are no longer listed.
    for path in (gone, empty, cut):
        path.write_bytes(encoded())
    assert None not in cache.get([gone, empty, cut])
    assert not cache.missing and len(cache.broken) == 1


def test_other_bytes_encoders_and_pixels_are_other_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, 1)[0]
    folder = tmp_path / "cache"
    assert FeatureCache(folder, Counting()).get([path])
    same, other = Counting(), Counting(scale=2.0)
    FeatureCache(folder, same).fill([path])
    FeatureCache(folder, other).fill([path])
    assert (same.seen, other.seen) == (0, 1)
    path.write_bytes(encoded("blue"))
    FeatureCache(folder, same).fill([path])
    assert same.seen == 1
    monkeypatch.setattr(features, "PREPROCESSING", features.PREPROCESSING + 1)
    FeatureCache(folder, same).fill([path])
    assert same.seen == 2


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    paths = write(tmp_path, 2)
    encoder = Counting()
    cache = FeatureCache(tmp_path / "cache", encoder)
    before = cache.get(paths)
    for file, content in zip(
        (tmp_path / "cache").rglob("*.safetensors"), (b"", b"x" * 99), strict=True
    ):
        file.write_bytes(content)
    after = cache.get(paths)
    assert encoder.seen == 4
    first = next((tmp_path / "cache").rglob("*.safetensors"))
    first.unlink()
    first.mkdir()  # it cannot be read, nor written
    with pytest.raises(InputError, match="cannot write"):
        cache.get(paths)
    for one, two in zip(before, after, strict=True):
        assert one is not None and two is not None and torch.equal(one.states, two.states)


def test_memory_is_bounded(tmp_path: Path) -> None:
    encoder = Counting()
    cache = FeatureCache(None, encoder, limit=2)
    paths = write(tmp_path, 4)
    assert None not in cache.get(paths)
    cache.get(paths[2:])
    assert encoder.seen == 4  # the last two were kept
    cache.get(paths[:1])
    assert encoder.seen == 5


def test_states_beyond_half_precision_stay_finite() -> None:
    (found,) = FeatureCache(None, Counting(scale=1e6)).get([encoded("white")])
    assert found is not None and found.states.isfinite().all()


def test_a_picture_that_changes_meanwhile_is_not_kept_under_its_old_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, 1)[0]
    cache = FeatureCache(tmp_path / "cache", Counting())
    answers = iter([encoded("red"), encoded("blue")])
    monkeypatch.setattr(features, "read_picture", lambda *_: next(answers))
    assert cache.get([path]) == [None]
    assert cache.broken == {str(path): "changed while it was read"}
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


SLOWLY = """
import sys, time
from pathlib import Path
from test_features import Counting
from rukh.features import FeatureCache

class Slow(Counting):
    def forward(self, pixels):
        time.sleep(float(sys.argv[3]))
        return super().forward(pixels)

folder = Path(sys.argv[1])
FeatureCache(folder, Slow(), batch_size=1).fill(sorted(Path(sys.argv[2]).glob("*.png")))
"""


def start(cache: Path, pictures: Path, delay: float) -> subprocess.Popen[bytes]:
    paths = [str(Path(__file__).parent), str(Path(features.__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SLOWLY, str(cache), str(pictures), str(delay)]
    return subprocess.Popen(command, env=environment)


def kept(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.rglob("*.safetensors")}


def test_killed_work_goes_on_where_it_stopped(tmp_path: Path) -> None:
    paths, cache = write(tmp_path / "pictures", 12), tmp_path / "cache"
    running = start(cache, paths[0].parent, 0.2)
    try:
        until = time.monotonic() + 60
        while len(kept(cache)) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    done = len(kept(cache))
    assert 3 <= done < 12
    encoder = Counting()
    FeatureCache(cache, encoder).fill(paths)
    assert encoder.seen == 12 - done
    FeatureCache(tmp_path / "undisturbed", Counting()).fill(paths)
    assert kept(cache) == kept(tmp_path / "undisturbed")


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    paths, cache = write(tmp_path / "pictures", 12), tmp_path / "cache"
    both = [start(cache, paths[0].parent, 0.01) for _ in range(2)]
    assert [one.wait(timeout=120) for one in both] == [0, 0]
    FeatureCache(tmp_path / "alone", Counting()).fill(paths)
    assert kept(cache) == kept(tmp_path / "alone")
    assert not list(cache.rglob("*.part"))


@pytest.mark.skipif(not pictures_of_mnre(), reason="no MNRE pictures under RUKH_DATA")
def test_real_pictures_go_through_every_path(tiny_model: Any, tmp_path: Path) -> None:
    """From the file over the cache and the regions to an answer, and none of them is lost."""
    paths = pictures_of_mnre()
    model = tiny_model(vision=True)
    cache = FeatureCache(tmp_path, model.vision)
    assert cache.fill(paths) == len(paths) and not cache.missing and not cache.broken
    boxes = [(0.0, 0.0, 1.0, 1.0), (0.501, 0.4, 0.502, 0.401)]
    things = [{"id": f"o{i}", "box": box} for i, box in enumerate(boxes)]
    posts = [
        Post(id=str(path), text="Ann", image=path, objects=things, pairs=[PAIR]) for path in paths
    ]
    extractor = Extractor(model, feature_folder=tmp_path)
    triples = extractor.extract(posts)
    assert len(triples) == len(paths)
    assert all(triple.gate is not None and 0 < triple.gate < 1 for triple in triples)
