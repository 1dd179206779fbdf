"""Any file gives an upright RGB image within the limits, or an InputError."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from rukh.errors import InputError
from rukh.modeling import image_io
from rukh.modeling.image_io import FORMATS, MAX_SIDE, load_image, preprocess

MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.25, 0.25)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def first_pixel(data: bytes) -> tuple[int, ...]:
    value = load_image(data).getpixel((0, 0))
    assert isinstance(value, tuple)
    return value


def zeros(size: int, rows: int) -> bytes:
    """Compressed rows of zeros, made without holding them uncompressed."""
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(bytes(size)) for _ in range(rows)) + packer.flush()


def png(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zeros(1 + (width + 7) // 8, height)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiled_tiff(side: int, tile: int) -> bytes:
    """A grayscale TIFF in a single deflated tile, which may be larger than the image."""
    body = zeros(tile, tile)
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1}
    tags |= {322: tile, 323: tile, 324: 8, 325: len(body)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + directory


@pytest.mark.parametrize("kind", FORMATS)
def test_supported_formats(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"  # the suffix does not matter
    path.write_bytes(encode(Image.new("RGB", (30, 20), (200, 100, 50)), kind))
    image = load_image(path)
    assert (image.mode, image.size) == ("RGB", (30, 20))
    found = np.asarray(image, dtype=int)[10, 15]
    assert np.abs(found - [200, 100, 50]).max() <= 8


@pytest.mark.parametrize("kind", ["PPM", "ICO", "PDF", "EPS", "TGA"])
def test_other_formats_are_not_decoded(kind: str) -> None:
    with pytest.raises(InputError, match="JPEG, PNG"):
        load_image(encode(Image.new("RGB", (30, 20)), kind))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (0, 255), (0, 0, 0)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 128), (255, 127, 127)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("I;16", 65_535, (255, 255, 255)),
        ("I;16", 32_768, (128, 128, 128)),
    ],
)
def test_modes_of_png(mode: str, colour: Any, expected: tuple[int, ...]) -> None:
    assert first_pixel(encode(Image.new(mode, (5, 4), colour))) == expected


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (5, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert first_pixel(encode(image)) == (10, 200, 30)
    assert first_pixel(encode(image, transparency=1)) == (255, 255, 255)
    assert first_pixel(encode(image, "GIF", transparency=1)) == (255, 255, 255)
    assert (
        first_pixel(encode(Image.new("RGB", (5, 4), (9, 8, 7)), transparency=(9, 8, 7)))
        == (255,) * 3
    )


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind: str) -> None:
    pixel = first_pixel(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), kind))
    assert pixel == pytest.approx((255, 0, 0), abs=15)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 51.0, 255.0]], np.float32), [0, 51, 255]),
        (np.array([[0.0, np.nan, np.inf, 1.0]], np.float32), [0, 0, 0, 255]),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[-3.0, -3.0]], np.float32), [0, 0]),
        (np.array([[-3.4e38, 0.0, 3.4e38]], np.float32), [0, 128, 255]),
        (np.array([[0, 257, 65_535]], np.int32), [0, 1, 255]),
        (np.array([[0, 1, 255]], np.int32), [0, 1, 255]),
        (np.array([[0, 2**30, 2**31 - 1]], np.int32), [0, 128, 255]),
        (np.array([[0, 257, 65_535]], np.uint16), [0, 1, 255]),
    ],
)
def test_16_and_32_bits_are_scaled_to_8(values: Any, expected: list[int]) -> None:
    image = load_image(encode(Image.fromarray(values), "TIFF"))
    assert np.asarray(image)[0, :, 0].tolist() == expected


def test_floats_are_scaled_to_8_bits_before_they_are_resized() -> None:
    # Resizing overshoots at edges, which must not change the value taken for white.
    values = np.zeros((30, 3000), np.float32)
    values[:, 1500:] = 1.0
    image = load_image(encode(Image.fromarray(values), "TIFF"))
    assert image.size == (MAX_SIDE, 10)
    assert np.asarray(image)[5, [10, -10], 0].tolist() == [0, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # stored so that a viewer rotates it by 270
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.new("RGB", (40, 24))
    upright.paste("red", (0, 0, 20, 12))
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        options = {} if kind in ("TIFF", "PNG") else {"quality": 95}
        image = load_image(encode(stored, kind, exif=exif, **options))
        assert image.size == (40, 24)
        difference = np.abs(np.asarray(image, int) - np.asarray(upright, int))
        assert difference.mean() < 8, kind


def test_broken_exif_is_ignored() -> None:
    data = encode(Image.new("RGB", (6, 3)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert load_image(data).size == (6, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("blue", "red", "lime")]
    pixel = first_pixel(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert pixel == pytest.approx((0, 0, 255), abs=55)


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        ("PNG", (1, 1), (1, 1)),
        ("PNG", (1, 5000), (1, 1024)),
        ("PNG", (5000, 1), (1024, 1)),
        ("PNG", (4000, 3000), (1024, 768)),
        ("JPEG", (4000, 3000), (1024, 768)),
    ],
)
def test_images_are_scaled_down_and_keep_their_aspect_ratio(
    kind: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = load_image(encode(Image.new("RGB", size, "red"), kind))
    assert image.size == expected
    assert image.getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=2)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"not an image"]
)
def test_files_that_are_no_image(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "post.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_image(path)
    assert caught.value.where == str(path) and caught.value.fix


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_images(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    for fraction in (0.2, 0.5, 0.8):
        with pytest.raises(InputError):
            load_image(data[: int(len(data) * fraction)])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255))))
def test_damage_gives_an_input_error_or_an_image(kind: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encode(Image.new("RGB", (20, 10), (10, 20, 30)), kind))
    for place, byte in damage:
        data[place % len(data)] = byte
    try:
        image = load_image(bytes(data))
    except InputError:
        return
    assert image.mode == "RGB" and max(image.size) <= MAX_SIDE


@pytest.mark.filterwarnings("error")
def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    for side in (20_000, 7100):  # beyond Pillow's own limit, and within it
        with pytest.raises(InputError, match="50,000,000"):
            load_image(png(side, side))


def test_tiles_larger_than_their_image_are_refused() -> None:
    assert load_image(tiled_tiff(64, 64)).size == (64, 64)
    with pytest.raises(InputError, match="50,000,000"):
        load_image(tiled_tiff(64, 8000))


def test_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_io, "MAX_BYTES", 1000)
    path = tmp_path / "big.bmp"
    path.write_bytes(encode(Image.new("RGB", (50, 50)), "BMP"))
    for source in (path, path.read_bytes()):
        with pytest.raises(InputError, match="1,000"):
            load_image(source)


def test_paths_that_are_no_regular_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
    for path in (tmp_path / "absent.jpg", tmp_path, tmp_path / ("x" * 5000), pipe):
        with pytest.raises(InputError) as caught:
            load_image(path)
        assert caught.value.where == str(path)


def test_preprocessed_pixels_are_normalized_and_padding_is_zero() -> None:
    image = preprocess(Image.new("RGB", (20, 10), (255, 0, 51)), 16, MEAN, STD)
    assert image.pixels.dtype == np.float32 and image.pixels.shape == (3, 16, 16)
    assert image.frame == (0.0, 0.25, 1.0, 0.75)
    assert not image.pixels[:, :4].any() and not image.pixels[:, 12:].any()
    np.testing.assert_allclose(image.pixels[:, 8, 8], [1.0, -1.0, 0.3], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64))
@example(1, 1024, 32)
def test_the_frame_is_where_the_image_is(width: int, height: int, size: int) -> None:
    image = preprocess(Image.new("RGB", (width, height), "white"), size, MEAN, STD)
    x1, y1, x2, y2 = (round(edge * size) for edge in image.frame)
    filled = np.zeros((size, size), dtype=bool)
    filled[y1:y2, x1:x2] = True
    assert filled.any()
    assert ((image.pixels[0] > 0) == filled).all()
    assert max(x2 - x1, y2 - y1) == size


LARGE: list[tuple[str, str, dict[str, Any]]] = [
    ("RGBA", "PNG", {"compress_level": 1}),
    ("P", "PNG", {"compress_level": 1, "transparency": 0}),
    ("I;16", "PNG", {"compress_level": 1}),
    ("F", "TIFF", {"compression": "tiff_lzw"}),
    ("CMYK", "JPEG", {}),
    ("RGB", "JPEG", {"progressive": True}),
]
# Prints by how much loading raises the peak memory of the process, in MB.
MEASURE = r"""
import re, sys
from pathlib import Path
from rukh.modeling.image_io import load_image, preprocess

def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024

start = peak()
preprocess(load_image(Path(sys.argv[1])), 224, (0.5,) * 3, (0.5,) * 3)
print(peak() - start)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(("mode", "kind", "options"), LARGE)
def test_no_image_takes_a_gigabyte(
    mode: str, kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(encode(Image.new(mode, (7000, 7000)), kind, **options))
    assert path.stat().st_size < image_io.MAX_BYTES
    command = [sys.executable, "-c", MEASURE, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 1000
