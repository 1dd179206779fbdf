"""Pictures from strangers: read within bounds, turned upright, made RGB, and fitted to a square.

Whatever the file says of itself is checked before a pixel is decoded, and only common formats are
decoded at all. Boxes are fractions everywhere, so nothing is lost by keeping no more pixels of a
picture than an encoder could use.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rukh.errors import InputError
from rukh.records import Box

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 50_000_000
"""The largest file, in bytes."""
MAX_PIXELS = 50_000_000
"""The largest picture, in pixels, as its header declares it; decoding one takes under 0.9 GB."""
MAX_SIDE = 1024
"""The longest side of a loaded picture; larger ones are shrunk while they are decoded."""
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""What is decoded. A decoder that is never called cannot be attacked."""

# Grey levels wider than 8 bits say nowhere what white is: the first of these that holds all of
# them. Floats are by habit in [0, 1].
_WHITES = (255.0, 65_535.0)
_KINDS = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"


class PreparedImage(NamedTuple):
    """A picture as an encoder takes it.

    Attributes:
        pixels: ``(3, S, S)`` float32, normalised; 0, the mean colour, where the picture is not.
        frame: The part of the square that the picture fills, as fractions ``(x1, y1, x2, y2)``.
    """

    pixels: NDArray[np.float32]
    frame: Box


def read_image(source: Path | bytes, where: str | None = None) -> bytes:
    """The encoded bytes of a picture, unread where there are too many.

    Raises:
        InputError: No such file, no plain file, empty, or larger than :data:`MAX_BYTES`.
    """
    if isinstance(source, bytes):
        where, data = where or "picture", source[: MAX_BYTES + 1]
    else:
        where = where or str(source)
        try:
            if not source.is_file():  # a pipe or a device would never end
                problem = "is not a plain file" if source.exists() else "no such picture"
                raise InputError(problem, where=where)
            with open(source, "rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"cannot read: {error.strerror}", where=where) from None
    if not data:
        raise InputError("picture is empty (0 bytes)", where=where, fix="fetch it again")
    if len(data) > MAX_BYTES:
        raise InputError(
            f"picture is larger than {MAX_BYTES:,} bytes", where=where, fix="scale it down"
        )
    return data


def load_image(source: Path | bytes, where: str | None = None) -> Image.Image:
    """A picture as upright RGB, its longest side at most :data:`MAX_SIDE`.

    Of an animation, the first frame; transparency on white; 16-bit and float greys scaled.

    Args:
        source: A path, or the encoded bytes.
        where: What to call it in errors; the path by default.

    Raises:
        InputError: Not a picture of :data:`FORMATS`, truncated, or too large.

    Example:
        >>> from PIL import Image
        >>> stream = io.BytesIO()
        >>> Image.new("CMYK", (4, 3)).save(stream, "JPEG")
        >>> load_image(stream.getvalue()).size
        (4, 3)
    """
    from PIL import Image, UnidentifiedImageError

    data = read_image(source, where)
    where = where or (str(source) if isinstance(source, Path) else "picture")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image, where)
            return _upright_rgb(image)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(
            "not a picture that rukh reads", where=where, fix=f"give {_KINDS}"
        ) from None
    except Image.DecompressionBombError:
        raise _too_large(where) from None
    except Exception as error:  # a decoder fails in more ways than can be listed here
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"picture is truncated or damaged: {reason}", where=where, fix="fetch it again"
        ) from None


def prepare(
    image: Image.Image,
    size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> PreparedImage:
    """Fit an RGB picture into the middle of a square, aspect kept, and normalise it.

    Args:
        image: RGB, of any size.
        size: Side ``S`` of the square, in pixels.
        mean, std: Of each channel, for values in [0, 1].

    Example:
        >>> from PIL import Image
        >>> prepare(Image.new("RGB", (200, 100)), 8, (0.5,) * 3, (0.5,) * 3).frame
        (0.0, 0.25, 1.0, 0.75)
    """
    from PIL import Image

    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    left, top = (size - width) // 2, (size - height) // 2
    fitted = image.resize((width, height), Image.Resampling.BICUBIC)
    values = np.asarray(fitted, dtype=np.float32) / 255
    values = (values - np.array(mean, np.float32)) / np.array(std, np.float32)
    pixels = np.zeros((3, size, size), dtype=np.float32)
    pixels[:, top : top + height, left : left + width] = values.transpose(2, 0, 1)
    frame = (left / size, top / size, (left + width) / size, (top + height) / size)
    return PreparedImage(pixels, frame)


def _check_size(image: Image.Image, where: str) -> None:
    """Refuse by what the header declares; nothing is decoded yet."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(where, f"{width} x {height} pixels, ")
    # A TIFF may declare tiles that are larger than the picture, and they are decoded whole.
    tags = getattr(image, "tag_v2", {})
    if int(tags.get(322, 0)) * int(tags.get(323, 0)) > MAX_PIXELS:
        raise _too_large(where, "its tiles have ")


def _too_large(where: str, problem: str = "") -> InputError:
    return InputError(
        f"{problem}more than {MAX_PIXELS:,} pixels", where=where, fix="scale the picture down"
    )


def _upright_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image, ImageOps

    # What cannot be shrunk as it is becomes something that can; all else is shrunk first, because
    # the copies that follow are then small. A JPEG is shrunk while it is decoded.
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    elif image.has_transparency_data and image.mode not in ("LA", "RGBA"):
        image = image.convert("RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC)
    with suppress(Exception):  # broken EXIF is no reason to lose the picture
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    # A copy, for the file behind the picture is about to be closed.
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits or of floats, as 8 bits."""
    from PIL import Image

    # In place throughout: at MAX_PIXELS each copy is 200 MB.
    floats = image.mode == "F"
    values = np.array(image, dtype=np.float32)
    if floats:
        np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        black, white = 0.0, _WHITES[1]
    else:
        known = ((1.0,) if floats else ()) + _WHITES
        fitting = [white for white in known if low >= 0 and high <= white]
        black, white = (0.0, fitting[0]) if fitting else (low, high)
    if white - black > float(np.finfo(np.float32).max):  # the difference of halves is a float32
        values *= 0.5
        black, white = black / 2, white / 2
    values -= black
    values *= 255 / max(white - black, 1e-30)
    np.rint(values, out=values).clip(0, 255, out=values)
    return Image.fromarray(values.astype(np.uint8))
