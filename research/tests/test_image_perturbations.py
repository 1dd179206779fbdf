"""Images are changed as specified, boxes follow a crop, and unreadable images stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from research.robustness.perturbations import Others
from research.robustness.study import PERTURBATIONS

from rukh.modeling.image_io import load_image
from rukh.records import Post

NOISE = ("blur", "crop", "jpeg", "occlusion")


@pytest.fixture
def post(tmp_path: Path) -> Post:
    values = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "0.png")
    Image.new("RGB", (30, 40), "red").save(tmp_path / "1.png")
    objects = [{"id": "o", "box": (0.25, 0.25, 0.75, 0.75)}, {"id": "c", "box": (0, 0, 0.02, 0.02)}]
    return Post(id="0", text="x", image=tmp_path / "0.png", objects=objects)


def perturb(
    name: str, post: Post, severity: int = 3, others: Others | None = None, seed: int = 0
) -> Any:
    random = np.random.default_rng(seed)
    return PERTURBATIONS[name](post, severity, random, others or Others([post]))


@pytest.mark.parametrize("name", NOISE)
def test_noise_grows_with_severity(name: str, post: Post) -> None:
    assert perturb(name, post, 0) == post
    assert post.image is not None
    clean = np.asarray(load_image(post.image), dtype=float)
    distances = []
    for severity in (1, 2, 3):
        noisy = perturb(name, post, severity)
        assert noisy == perturb(name, post, severity)
        assert Post.model_validate(noisy.model_dump()) == noisy
        image = load_image(noisy.image)
        if name == "crop":
            distances.append(1 - image.size[0] * image.size[1] / 4800)
        else:
            distances.append(float(np.abs(np.asarray(image, dtype=float) - clean).mean()))
            assert noisy.objects == post.objects
    assert 0 < distances[0] < distances[1] < distances[2]


def test_boxes_follow_the_crop(tmp_path: Path) -> None:
    image = Image.new("RGB", (200, 100), "black")
    image.paste("white", (80, 40, 120, 60))
    image.save(tmp_path / "p.png")
    objects = [{"id": "o", "box": (0.4, 0.4, 0.6, 0.6)}]
    post = Post(id="0", text="", image=tmp_path / "p.png", objects=objects)
    for seed in range(5):
        cropped = perturb("crop", post, 2, seed=seed)
        pixels = np.asarray(load_image(cropped.image))
        height, width, _ = pixels.shape
        x1, y1, x2, y2 = cropped.objects[0].box
        inside = pixels[
            round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)
        ]
        assert inside.mean() > 200


def test_swap_removal_and_foreign_images(post: Post, tmp_path: Path) -> None:
    other = Post(id="1", text="y", image=tmp_path / "1.png")
    missing = Post(id="2", text="z", image=tmp_path / "gone.png")
    (tmp_path / "junk.png").write_bytes(b"junk")
    junk = Post(id="3", text="w", image=tmp_path / "junk.png")
    others = Others([post, other, missing, junk], foreign=[tmp_path / "f.png"])
    assert others.images == [post.image, other.image]
    assert perturb("picture-removal", junk, 3, others) == junk
    assert perturb("picture-removal", post, 3, others).image is None
    assert perturb("picture-swap", post, 3, others).image == other.image
    assert perturb("picture-swap", missing, 3, others) == missing
    for one in (post, missing):
        assert perturb("foreign-pictures", one, 3, others).image == tmp_path / "f.png"
    assert perturb("foreign-pictures", post, 0, others).image is None
    assert perturb("foreign-pictures", post, 3, Others([post])) == post


@pytest.mark.parametrize("name", NOISE)
def test_an_unreadable_image_stays(name: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8junk")
    for image in (None, tmp_path / "gone.jpg", tmp_path / "bad.jpg"):
        post = Post(id="0", text="x", image=image)
        assert perturb(name, post) == post


def test_real_images(mnre_images: list[Path]) -> None:
    for path in mnre_images[:3]:
        for name in NOISE:
            noisy = perturb(name, Post(id="0", text="x", image=path), 2)
            assert max(load_image(noisy.image).size) <= 1024
