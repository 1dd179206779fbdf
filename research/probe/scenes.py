"""Images for the visual probe: cut-outs on a background, and their boxes.

Everything is drawn from the generator that is given, so that a seed makes the same bytes with the
same version of Pillow.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rukh.records import Box

if TYPE_CHECKING:
    from PIL import Image

LONG = (300, 340)
"""Bounds of a scene's longer side in pixels."""


class Placed(NamedTuple):
    """An image and the frame, in fractions of the scene, that it is fitted into."""

    image: Image.Image
    frame: Box


def scene_size(random: np.random.Generator) -> tuple[int, int]:
    """Width and height of a scene, never longer than 5 to 4."""
    long = int(random.integers(*LONG))
    short = int(long * random.uniform(0.8, 1.0))
    return (long, short) if random.random() < 0.5 else (short, long)


def background(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A plain colour, a gradient, clouds, two grounds, or stripes."""
    from PIL import Image

    width, height = size
    first, second = (random.integers(40, 256, 3).astype(np.float32) for _ in range(2))
    kind = random.integers(5)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height, x / width
    if kind == 0:
        share = np.zeros_like(x)
    elif kind == 1:
        angle = random.uniform(0, 2 * np.pi)
        share = np.clip(0.5 + np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5), 0, 1)
    elif kind == 2:
        coarse = Image.fromarray(random.integers(0, 256, (5, 5)).astype(np.uint8))
        share = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32) / 255
    elif kind == 3:
        share = (y > random.uniform(0.4, 0.75)).astype(np.float32)
    else:
        share = 0.35 * (np.sin(random.uniform(15, 60) * (x if random.random() < 0.5 else y)) > 0)
    pixels = first + (second - first) * share[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def compose(
    random: np.random.Generator, size: tuple[int, int], things: list[Placed]
) -> tuple[bytes, list[Box]]:
    """A JPEG of a scene, later things before earlier ones.

    Args:
        size: Width and height in pixels.
        things: What lies where; each is rotated a little, perhaps mirrored, made lighter or darker,
            and fitted into its frame.

    Returns:
        The file's bytes and, for each thing, the box that it fills, in fractions.
    """
    from PIL import Image, ImageEnhance

    scene = background(random, size)
    boxes: list[Box] = []
    for image, frame in things:
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        rotated = image.rotate(
            random.uniform(-12, 12), Image.Resampling.BICUBIC, expand=True, fillcolor=(0, 0, 0, 0)
        )
        rotated = rotated.crop(rotated.getchannel("A").point([0] * 32 + [255] * 224).getbbox())
        alpha = rotated.getchannel("A")
        rotated = ImageEnhance.Brightness(rotated).enhance(random.uniform(0.85, 1.15))
        rotated = ImageEnhance.Color(rotated).enhance(random.uniform(0.75, 1.2))
        rotated.putalpha(alpha)
        left, top = frame[0] * size[0], frame[1] * size[1]
        room = (frame[2] - frame[0]) * size[0], (frame[3] - frame[1]) * size[1]
        scale = min(room[0] / rotated.width, room[1] / rotated.height)
        width, height = (max(4, int(side * scale)) for side in rotated.size)
        fitted = rotated.resize((width, height), Image.Resampling.BICUBIC)
        x, y = int(left + (room[0] - width) / 2), int(top + (room[1] - height) / 2)
        x, y = min(max(0, x), size[0] - width), min(max(0, y), size[1] - height)
        scene.paste(fitted, (x, y), fitted)
        boxes.append(
            (
                round(x / size[0], 4),
                round(y / size[1], 4),
                round((x + width) / size[0], 4),
                round((y + height) / size[1], 4),
            )
        )
    noise = random.normal(0, random.uniform(1, 6), (size[1], size[0], 1)).astype(np.float32)
    pixels = np.clip(np.asarray(scene, np.float32) + noise, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=int(random.integers(55, 92)))
    return stream.getvalue(), boxes


def frame_at(random: np.random.Generator, centre: tuple[float, float], side: float) -> Box:
    """A square frame near a centre, wholly inside the scene."""
    x, y = (min(max(c, side / 2), 1 - side / 2) for c in centre)
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def slots(random: np.random.Generator, low: float = 0.36, high: float = 0.46) -> list[Box]:
    """Four frames, one in each quarter of the scene, shuffled, of varied size and place."""
    out = []
    for at in random.permutation(4):
        side = random.uniform(low, high)
        free = 0.5 - side
        x, y = (0.5 * (int(at) % 2), 0.5 * (int(at) // 2))
        left, top = x + random.uniform(0, free), y + random.uniform(0, free)
        out.append((left, top, left + side, top + side))
    return out
