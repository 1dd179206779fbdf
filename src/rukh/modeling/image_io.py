"""Load images from untrusted files as upright RGB, with size limits, and preprocess them.

The declared size of an image is checked before any pixel is decoded. Only common formats are
decoded.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from rukh.errors import InputError
from rukh.records import Box

MAX_BYTES = 50_000_000
"""Maximum size of a file, in bytes."""
MAX_PIXELS = 50_000_000
"""Maximum number of pixels of an image. Decoding such an image takes less than 0.9 GB of memory.
Pillow's own limit raises an error only beyond twice its value."""
MAX_SIDE = 1024
"""Maximum width and height of a loaded image. Larger images are scaled down while decoding."""
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""Formats that are decoded. Decoders of other formats are never run, as they may be insecure."""


class PreprocessedImage(NamedTuple):
    """An image as input of a vision encoder.

    Attributes:
        pixels: ``(3, S, S)`` normalized pixels, float32; 0 in the padding.
        frame: Box ``(x1, y1, x2, y2)`` of the image, as fractions of the padded square.
    """

    pixels: NDArray[np.float32]
    frame: Box


def read_image(source: Path | bytes) -> bytes:
    """Read the encoded bytes of an image. If bytes are given, only their size is checked.

    Raises:
        InputError: The file does not exist, is not a regular file, is empty, or is larger than
            :data:`MAX_BYTES`.
    """
    where = _name(source)
    try:
        if isinstance(source, bytes):
            data = source
        elif source.is_file():  # reading a pipe or a device might never end
            with open(source, "rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        else:
            problem = "not a regular file" if source.exists() else "no such image"
            raise InputError(problem, where=where)
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=where) from None
    if not data:
        raise InputError("the image is empty (0 bytes)", where=where, fix="download it again")
    if len(data) > MAX_BYTES:
        raise InputError(f"more than {MAX_BYTES:,} bytes", where=where, fix="scale the image down")
    return data


def load_image(source: Path | bytes) -> Image.Image:
    """Load an image as upright RGB, with no side longer than :data:`MAX_SIDE`.

    The first frame of an animation is used. Transparent pixels are blended with white, and
    grayscale images of 16 or 32 bits are scaled to 8 bits.

    Raises:
        InputError: The file cannot be read, is not in one of :data:`FORMATS`, is damaged, or has
            more than :data:`MAX_PIXELS` pixels.

    Example:
        >>> from PIL import Image
        >>> stream = io.BytesIO()
        >>> Image.new("CMYK", (4, 3)).save(stream, "JPEG")
        >>> load_image(stream.getvalue()).size
        (4, 3)
    """
    data = read_image(source)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            # A TIFF may declare tiles larger than the image, and they are decoded as a whole.
            tags = getattr(image, "tag_v2", {})
            tile = int(tags.get(322, 0)) * int(tags.get(323, 0))
            if max(image.width * image.height, tile) > MAX_PIXELS:
                raise Image.DecompressionBombError
            return _to_rgb(image)
    except Image.DecompressionBombError:
        problem, fix = f"more than {MAX_PIXELS:,} pixels", "scale the image down"
    except UnidentifiedImageError:
        problem, fix = "not an image of a supported format", f"use one of {', '.join(FORMATS)}"
    except Exception as error:  # decoders raise errors of many types
        reason = " ".join(str(error).split()) or type(error).__name__
        problem, fix = f"the image is truncated or damaged: {reason}", "download it again"
    raise InputError(problem, where=_name(source), fix=fix)


def _name(source: Path | bytes) -> str:
    return "image" if isinstance(source, bytes) else str(source)


def preprocess(
    image: Image.Image, size: int, mean: Sequence[float], std: Sequence[float]
) -> PreprocessedImage:
    """Scale an RGB image to fit into a square of ``size`` pixels, centre it, and normalize it.

    ``mean`` and ``std`` are those of each channel, for pixel values in [0, 1].

    Example:
        >>> from PIL import Image
        >>> preprocess(Image.new("RGB", (200, 100)), 8, (0.5,) * 3, (0.5,) * 3).frame
        (0.0, 0.25, 1.0, 0.75)
    """
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    left, top = (size - width) // 2, (size - height) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    values = np.asarray(resized, dtype=np.float32) / 255
    values = (values - np.array(mean, np.float32)) / np.array(std, np.float32)
    pixels = np.zeros((3, size, size), dtype=np.float32)
    pixels[:, top : top + height, left : left + width] = values.transpose(2, 0, 1)
    frame = (left / size, top / size, (left + width) / size, (top + height) / size)
    return PreprocessedImage(pixels, frame)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened image; see :func:`load_image`."""
    # Convert first only the modes that cannot be resized well: later copies are then small.
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bits(image)
    elif image.has_transparency_data and image.mode not in ("LA", "RGBA"):
        image = image.convert("RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC)
    with suppress(Exception):  # an image with broken EXIF data is still usable
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    # Copy, because the file behind the image is about to be closed.
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale a grayscale image of 16 or 32 bits, or of floats, to 8 bits.

    The format does not define the value of white. White is assumed to be the smallest usual value
    that no pixel exceeds. If there is none, the range of the pixels is mapped to [0, 255].
    """
    # In place, because each copy of the largest allowed image takes 200 MB.
    values = np.array(image, dtype=np.float32)
    np.nan_to_num(values, copy=False, posinf=0, neginf=0)
    np.clip(values, -1e38, 1e38, out=values)  # so that their range is a float32
    low, high = float(values.min()), float(values.max())
    usual = {"F": (1, 255, 65_535), "I": (255, 65_535)}.get(image.mode, (65_535,))
    white = next((float(value) for value in usual if low >= 0 and high <= value), 0.0)
    if not white:
        values -= low
        white = max(high - low, 1e-30)
    values *= 255 / white
    np.rint(values, out=values).clip(0, 255, out=values)
    return Image.fromarray(values.astype(np.uint8))
