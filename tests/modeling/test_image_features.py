"""The cache of image features: every image is encoded once, and unreadable images are recorded."""

from __future__ import annotations

import io
import logging
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from rukh.modeling import image_features
from rukh.modeling.image_features import FeatureCache, features_of
from rukh.modeling.image_io import load_image
from rukh.modeling.vision_encoder import VisionEncoder, encode_images
from rukh.records import Post
from rukh.utils.cache import content_key


class CountingEncoder(VisionEncoder):
    """Gives the mean colours of four patches, and counts the images."""

    name, size, mean, std, dim = "counting", 16, (0.5,) * 3, (0.5,) * 3, 3
    grid = (2, 2)

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.images = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.images += len(pixels)
        states = torch.nn.functional.avg_pool2d(pixels, 8).flatten(2).transpose(1, 2)
        return states * self.scale


def png(colour: str = "red", size: tuple[int, int] = (20, 10)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def write(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(png(f"rgb({i * 5}, 99, 200)", (20, 8 + i)))
    return paths


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "cache" if request.param == "disk" else None


def test_every_image_is_encoded_once(folder: Path | None, tmp_path: Path) -> None:
    paths = write(tmp_path / "a", 40)  # more than are read together
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    encoder = CountingEncoder()
    cache = FeatureCache(folder, encoder)
    first = cache.get([*paths, copy, paths[1].read_bytes(), paths[1]])
    again = cache.get(paths)
    cache.fill(paths)
    assert encoder.images == 40
    direct = encode_images(encoder, [load_image(path) for path in paths])
    for one, two, three in zip(first, again, direct, strict=False):
        assert one is not None and two is not None
        assert one.states.dtype == torch.float32
        assert torch.equal(one.states, two.states) and torch.equal(one.boxes, two.boxes)
        torch.testing.assert_close(one.states, three.states, atol=2e-3, rtol=2e-3)
        assert torch.equal(one.boxes, three.boxes)
    for same, index in ((40, 0), (41, 1), (42, 1)):
        assert torch.equal(first[same].states, first[index].states)  # type: ignore[union-attr]


def test_unreadable_images_are_recorded_and_logged_once(
    folder: Path | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = write(tmp_path, 1)[0]
    gone, empty, cut = (tmp_path / name for name in ("gone.png", "empty.png", "cut.png"))
    empty.write_bytes(b"")
    cut.write_bytes(png()[:40])
    cache = FeatureCache(folder, CountingEncoder())
    for _ in range(2):
        features = cache.get([gone, good, empty, cut, b"no image"])
        assert [one is not None for one in features] == [False, True, False, False, False]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 4
    assert "gone.png" in caplog.text and "cut.png" in caplog.text
    assert cache.missing.keys() == {str(gone)}
    assert cache.broken.keys() > {str(empty), str(cut)} and len(cache.broken) == 3
    assert "cut.png" not in cache.broken[str(cut)]  # the reason alone
    for path in (gone, empty, cut):
        path.write_bytes(png())
    assert None not in cache.get([gone, empty, cut])
    assert not cache.missing and len(cache.broken) == 1


def test_only_the_first_unreadable_images_are_warnings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cache = FeatureCache(None, CountingEncoder())
    cache.fill([tmp_path / f"{i}.png" for i in range(image_features.MAX_WARNINGS + 5)])
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.WARNING] * image_features.MAX_WARNINGS + [logging.INFO] * 5


def test_other_images_encoders_and_preprocessing_are_encoded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write(tmp_path, 1)

    def computed(scale: float = 1.0) -> int:
        encoder = CountingEncoder(scale)
        FeatureCache(tmp_path / "cache", encoder).fill([path])
        return encoder.images

    assert [computed(), computed(), computed(scale=2.0)] == [1, 0, 1]
    path.write_bytes(png("blue"))
    assert [computed(), computed()] == [1, 0]
    monkeypatch.setattr(image_features, "PREPROCESSING_VERSION", 99)
    assert computed() == 1


def test_damaged_entries_are_computed_again(tmp_path: Path) -> None:
    path = write(tmp_path, 1)[0]
    cache = FeatureCache(tmp_path / "cache", CountingEncoder())
    (before,) = cache.get([path])
    key = content_key(path.read_bytes())
    for damage in (b"", b"x" * 99):
        cache._stored.put_many({key: damage})
        (after,) = cache.get([path])
        assert before is not None and after is not None
        assert torch.equal(before.states, after.states)


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_features, "MAX_IN_MEMORY", 2)
    encoder, paths = CountingEncoder(), write(tmp_path, 4)
    cache = FeatureCache(None, encoder)
    for sources, computed in ((paths, 4), (paths[2:], 4), (paths[:1], 5)):
        assert None not in cache.get(sources)
        assert encoder.images == computed


def test_states_beyond_half_precision_stay_finite() -> None:
    (features,) = FeatureCache(None, CountingEncoder(scale=1e6)).get([png("white")])
    assert features is not None and features.states.isfinite().all()


def test_threads_share_a_cache(tmp_path: Path) -> None:
    paths, encoder = write(tmp_path, 20), CountingEncoder()
    cache = FeatureCache(tmp_path / "cache", encoder)
    threads = [threading.Thread(target=cache.get, args=(paths,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert encoder.images == 20


def test_features_of_posts(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 1)
    with_image, without = Post(id="0", text="a", image=path), Post(id="1", text="b")
    cache = FeatureCache(None, CountingEncoder())
    features = features_of([without, None, with_image], cache)
    assert [one is not None for one in features] == [False, False, True]
    assert features_of([with_image], None) == [None]
