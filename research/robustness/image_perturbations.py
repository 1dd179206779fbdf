"""Perturbations of a post's image; see :mod:`research.robustness.perturbations` for the interface.

A post whose image is missing or unreadable is not changed. Changed images are PNG bytes, so that
nothing else is lost.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from research.robustness.perturbations import SHARES, Others, clip_box
from rukh.errors import InputError
from rukh.modeling.image_io import load_image
from rukh.records import Post

if TYPE_CHECKING:
    from PIL import Image

BLUR = (0.0, 0.01, 0.02, 0.04)
"""Radius of the blur, in longest sides of the image, by severity."""
CROP = (1.0, 0.8, 0.6, 0.4)
"""Share of the image's area that is kept, by severity."""
QUALITY = (0, 30, 10, 3)
"""JPEG quality, by severity; 0 stands for no compression."""
OCCLUSION = (0.0, 0.1, 0.25, 0.5)
"""Share of the image's area under a grey rectangle, by severity."""


def blur(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Blur the image (Gaussian)."""
    from PIL import ImageFilter

    return _changed(
        post,
        severity,
        lambda image: image.filter(ImageFilter.GaussianBlur(BLUR[severity] * max(image.size))),
    )


def crop(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Keep a part of the image at a random place, with the image's aspect ratio. Boxes follow; one
    that lies outside becomes a narrow box at the nearest edge.
    """
    side = CROP[severity] ** 0.5
    left, top = (random.random(2) * (1 - side)).tolist()

    def cut(image: Image.Image) -> Image.Image:
        wide, high = image.size
        x, y = round(left * wide), round(top * high)
        return image.crop((x, y, x + max(1, round(side * wide)), y + max(1, round(side * high))))

    changed = _changed(post, severity, cut)
    if changed is post:
        return post
    objects = tuple(
        o.model_copy(
            update={
                "box": clip_box(
                    *((v - (left, top)[i % 2]) / side for i, v in enumerate(o.box)),
                )
            }
        )
        for o in post.objects
    )
    return changed.model_copy(update={"objects": objects})


def jpeg(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Compress with a low JPEG quality."""
    from PIL import Image

    def compressed(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=QUALITY[severity])
        return Image.open(stream).convert("RGB")

    return _changed(post, severity, compressed)


def occlusion(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Cover a random place with a grey rectangle of the image's aspect ratio."""
    side = OCCLUSION[severity] ** 0.5
    left, top = (random.random(2) * (1 - side)).tolist()

    def occluded(image: Image.Image) -> Image.Image:
        wide, high = image.size
        x, y = round(left * wide), round(top * high)
        image.paste((127, 127, 127), (x, y, x + round(side * wide), y + round(side * high)))
        return image

    return _changed(post, severity, occluded)


def image_swap(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Give a share of the posts with a readable image another post's image."""
    hit, place = random.random(), random.random()
    count = len(others.images)
    if not others.has_image(post) or hit >= SHARES[severity] or count < 2:
        return post
    at = int(place * count)
    if others.images[at] == post.image:
        at -= 1
    return post.model_copy(update={"image": others.images[at]})


def image_removal(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Remove the image of a share of the posts."""
    gone = random.random() < SHARES[severity] and others.has_image(post)
    return post.model_copy(update={"image": None}) if gone else post


def foreign_images(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Give a share of the posts an image of something else; the others, and all at severity 0, have
    none.
    """
    if not others.foreign:
        return post
    hit, place = random.random(), random.random()
    if hit < SHARES[severity]:
        chosen = others.foreign[int(place * len(others.foreign))]
        return post.model_copy(update={"image": chosen})
    return post.model_copy(update={"image": None}) if others.has_image(post) else post


def _changed(post: Post, severity: int, change: Callable[[Image.Image], Image.Image]) -> Post:
    """The post with its image changed; unchanged at severity 0 or without a readable image."""
    if post.image is None or not severity:
        return post
    try:
        image = load_image(post.image)
    except InputError:
        return post
    stream = io.BytesIO()
    change(image).save(stream, "PNG", compress_level=1)
    return post.model_copy(update={"image": stream.getvalue()})
