"""Pictures are changed as told, boxes follow a crop, and what cannot be read stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from research.robustness.perturbations import Others
from test_vision import pictures_of_mnre

from rukh.modeling.image_io import load_image
from rukh.records import Post
from rukh.registry import resolve

NOISE = ("blur", "crop", "jpeg", "occlusion")


@pytest.fixture
def post(tmp_path: Path) -> Post:
    values = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "0.png")
    Image.new("RGB", (30, 40), "red").save(tmp_path / "1.png")
    objects = [{"id": "o", "box": (0.25, 0.25, 0.75, 0.75)}, {"id": "c", "box": (0, 0, 0.02, 0.02)}]
    return Post(id="0", text="x", image=tmp_path / "0.png", objects=objects)


def perturb(
    name: str, post: Post, severity: int, others: Others | None = None, seed: int = 0
) -> Any:
    random = np.random.default_rng(seed)
    return resolve("perturbations", name)(post, severity, random, others or Others([post]))


@pytest.mark.parametrize("name", NOISE)
def test_noise_grows_with_severity(name: str, post: Post) -> None:
    assert perturb(name, post, 0) == post
    clean = np.asarray(load_image(post.image), dtype=float)  # type: ignore[arg-type]
    far = []
    for severity in (1, 2, 3):
        told = perturb(name, post, severity)
        assert told == perturb(name, post, severity)
        assert Post.model_validate(told.model_dump()) == told
        image = load_image(told.image)
        if name == "crop":
            far.append(1 - image.size[0] * image.size[1] / 4800)
        else:
            far.append(float(np.abs(np.asarray(image, dtype=float) - clean).mean()))
            assert told.objects == post.objects
    assert 0 < far[0] < far[1] < far[2]


def test_boxes_follow_the_crop(tmp_path: Path) -> None:
    image = Image.new("RGB", (200, 100), "black")
    image.paste("white", (80, 40, 120, 60))
    image.save(tmp_path / "p.png")
    post = Post(
        id="0",
        text="",
        image=tmp_path / "p.png",
        objects=[{"id": "o", "box": (0.4, 0.4, 0.6, 0.6)}],
    )
    for seed in range(5):
        told = perturb("crop", post, 2, seed=seed)
        found = load_image(told.image)
        wide, high = found.size
        x1, y1, x2, y2 = told.objects[0].box
        inside = np.asarray(found)[round(y1 * high) : round(y2 * high),
                                   round(x1 * wide) : round(x2 * wide)]  # fmt: skip
        assert inside.mean() > 200


def test_swap_removal_and_pictures_of_something_else(post: Post, tmp_path: Path) -> None:
    other = Post(id="1", text="y", image=tmp_path / "1.png")
    bare = Post(id="2", text="z", image=tmp_path / "gone.png")
    (tmp_path / "junk.png").write_bytes(b"junk")
    junk = Post(id="3", text="w", image=tmp_path / "junk.png")
    others = Others([post, other, bare, junk], foreign=[tmp_path / "f.png"])
    assert others.pictures == [post.image, other.image]
    assert perturb("picture-removal", junk, 3, others) == junk
    assert perturb("picture-swap", post, 3, others).image == other.image
    assert perturb("picture-swap", bare, 3, others) == bare
    assert perturb("picture-removal", post, 3, others).image is None
    for one in (post, bare):
        assert perturb("foreign-pictures", one, 3, others).image == tmp_path / "f.png"
    assert perturb("foreign-pictures", post, 0, others).image is None
    assert perturb("foreign-pictures", post, 3, Others([post])) == post


@pytest.mark.parametrize("name", NOISE)
def test_a_picture_that_cannot_be_read_stays(name: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8junk")
    for image in (None, tmp_path / "gone.jpg", tmp_path / "bad.jpg"):
        post = Post(id="0", text="x", image=image)
        assert perturb(name, post, 3) == post


@pytest.mark.skipif(not pictures_of_mnre(), reason="no MNRE pictures under RUKH_DATA")
def test_real_pictures_under_noise() -> None:
    for path in pictures_of_mnre()[::4]:
        for name in NOISE:
            told = perturb(name, Post(id="0", text="x", image=path), 2)
            assert max(load_image(told.image).size) <= 1024
