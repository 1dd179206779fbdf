"""What may befall a post's picture; see :mod:`research.robustness.perturbations` for the form.

A post whose picture is not there, or cannot be read, stays as it is. Changed pictures are PNG
bytes, so that nothing but what was meant is lost.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from research.robustness.perturbations import SHARES, Others, proper
from rukh.errors import InputError
from rukh.modeling.image_io import load_image
from rukh.records import Post

if TYPE_CHECKING:
    from PIL import Image

BLUR = (0.0, 0.01, 0.02, 0.04)
"""Radius of the blur, in longest sides of the picture, by severity."""
CROP = (1.0, 0.8, 0.6, 0.4)
"""Share of the picture's area that is left, by severity."""
QUALITY = (0, 30, 10, 3)
"""JPEG's quality, by severity; 0 stands for no JPEG."""
OCCLUSION = (0.0, 0.1, 0.25, 0.5)
"""Share of the picture's area under a grey rectangle, by severity."""


def blur(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """A Gaussian blur."""
    from PIL import ImageFilter

    return _changed(
        post,
        severity,
        lambda image: image.filter(ImageFilter.GaussianBlur(BLUR[severity] * max(image.size))),
    )


def crop(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """A part of the picture, at a random place, of the picture's form; boxes follow, and one that
    lies outside becomes a sliver at the nearest edge.
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
                "box": proper(
                    *((v - (left, top)[i % 2]) / side for i, v in enumerate(o.box)),
                )
            }
        )
        for o in post.objects
    )
    return changed.model_copy(update={"objects": objects})


def jpeg(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """JPEG at a low quality."""
    from PIL import Image

    def squeezed(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=QUALITY[severity])
        return Image.open(stream).convert("RGB")

    return _changed(post, severity, squeezed)


def occlusion(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """A grey rectangle of the picture's form at a random place."""
    side = OCCLUSION[severity] ** 0.5
    left, top = (random.random(2) * (1 - side)).tolist()

    def covered(image: Image.Image) -> Image.Image:
        wide, high = image.size
        x, y = round(left * wide), round(top * high)
        image.paste((127, 127, 127), (x, y, x + round(side * wide), y + round(side * high)))
        return image

    return _changed(post, severity, covered)


def image_swap(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Another post's picture for a share of the posts whose picture is there."""
    hit, place = random.random(), random.random()
    count = len(others.pictures)
    if not others.shows(post) or hit >= SHARES[severity] or count < 2:
        return post
    at = int(place * count)
    if others.pictures[at] == post.image:
        at -= 1
    return post.model_copy(update={"image": others.pictures[at]})


def picture_removal(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """No picture for a share of the posts."""
    gone = random.random() < SHARES[severity] and others.shows(post)
    return post.model_copy(update={"image": None}) if gone else post


def foreign_pictures(
    post: Post, severity: int, random: np.random.Generator, others: Others
) -> Post:
    """Pictures of something else beside a share of the posts; the others, and all at severity 0,
    have none.
    """
    if not others.foreign:
        return post
    hit, place = random.random(), random.random()
    if hit < SHARES[severity]:
        chosen = others.foreign[int(place * len(others.foreign))]
        return post.model_copy(update={"image": chosen})
    return post.model_copy(update={"image": None}) if others.shows(post) else post


def _changed(post: Post, severity: int, change: Callable[[Image.Image], Image.Image]) -> Post:
    """The post with its picture changed; the post itself at severity 0 or without a picture."""
    if post.image is None or not severity:
        return post
    try:
        image = load_image(post.image)
    except InputError:
        return post
    stream = io.BytesIO()
    change(image).save(stream, "PNG", compress_level=1)
    return post.model_copy(update={"image": stream.getvalue()})
