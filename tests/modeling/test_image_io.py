"""Whatever a file holds, it becomes upright RGB within bounds, or one clear error."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from rukh.errors import InputError
from rukh.modeling import image_io as images
from rukh.modeling.image_io import FORMATS, MAX_SIDE, load_image, prepare

MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.25, 0.25)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def corner(data: bytes) -> tuple[int, ...]:
    """The first pixel after loading."""
    value = load_image(data).getpixel((0, 0))
    assert isinstance(value, tuple)
    return value


def zeros(size: int, rows: int) -> bytes:
    """Compressed rows of zeros, which nobody ever holds uncompressed."""
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
    """A grey TIFF in a single deflated tile, which may be larger than the picture."""
    body = zeros(tile, tile)
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1}
    tags |= {322: tile, 323: tile, 324: 8, 325: len(body)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + directory


@pytest.mark.parametrize("kind", FORMATS)
def test_every_allowed_format_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"  # the suffix does not matter
    path.write_bytes(encode(Image.new("RGB", (30, 20), (200, 100, 50)), kind))
    image = load_image(path)
    assert (image.mode, image.size) == ("RGB", (30, 20))
    found = np.asarray(image, dtype=int)[10, 15]
    assert np.abs(found - [200, 100, 50]).max() <= 8


@pytest.mark.parametrize("kind", ["PPM", "ICO", "PDF", "EPS", "TGA"])
def test_other_formats_are_not_decoded(kind: str) -> None:
    data = encode(Image.new("RGB", (30, 20)), kind)
    with pytest.raises(InputError, match=r"upload: not a picture .* give JPEG, PNG, .* or TIFF"):
        load_image(data, "upload")


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
    assert corner(encode(Image.new(mode, (5, 4), colour))) == expected


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (5, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert corner(encode(image)) == (10, 200, 30)
    assert corner(encode(image, transparency=1)) == (255, 255, 255)
    assert corner(encode(image, "GIF", transparency=1)) == (255, 255, 255)
    assert corner(encode(Image.new("RGB", (5, 4), (9, 8, 7)), transparency=(9, 8, 7))) == (255,) * 3


def test_cmyk_is_turned_into_colours() -> None:
    for kind in ("JPEG", "TIFF"):
        red, green, blue = corner(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), kind))
        assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 51.0, 255.0]], np.float32), [0, 51, 255]),
        (np.array([[0.0, np.nan, np.inf, 1.0]], np.float32), [0, 0, 0, 255]),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[-3.0, -3.0]], np.float32), [0, 0]),
        (np.array([[-3.4e38, 0.0, 1.7e38, 3.4e38]], np.float32), [0, 128, 191, 255]),
        (np.array([[0, 257, 65_535]], np.int32), [0, 1, 255]),
        (np.array([[0, 1, 255]], np.int32), [0, 1, 255]),
        (np.array([[0, 2**30, 2**31 - 1]], np.int32), [0, 128, 255]),
        (np.array([[0, 257, 65_535]], np.uint16), [0, 1, 255]),
    ],
)
def test_deep_greys_are_scaled_to_what_white_must_be(values: Any, expected: list[int]) -> None:
    image = load_image(encode(Image.fromarray(values), "TIFF"))
    assert np.asarray(image)[0, :, 0].tolist() == expected


def test_large_deep_grey_is_shrunk_after_it_is_scaled() -> None:
    # Shrinking overshoots at edges, which must not change what counts as white.
    values = np.zeros((30, 3000), np.float32)
    values[:, 1500:] = 1.0
    image = load_image(encode(Image.fromarray(values), "TIFF"))
    assert image.size == (MAX_SIDE, 10)
    assert np.asarray(image)[5, [10, -10], 0].tolist() == [0, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # stored so that a viewer turns it by 270
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
        found = load_image(encode(stored, kind, exif=exif, **options))
        assert found.size == (40, 24)
        difference = np.abs(np.asarray(found, int) - np.asarray(upright, int))
        assert difference.mean() < 8, kind


def test_broken_exif_does_not_lose_the_picture() -> None:
    data = encode(Image.new("RGB", (6, 3)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert load_image(data).size == (6, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("blue", "red", "lime")]
    red, green, blue = corner(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert blue > 200 and red < 60 and green < 60


def test_one_pixel_and_thin_pictures() -> None:
    for size in ((1, 1), (1, 5000), (5000, 1)):
        image = load_image(encode(Image.new("RGB", size, "red")))
        assert image.getpixel((0, 0)) == (255, 0, 0)
        assert max(image.size) <= MAX_SIDE and min(image.size) >= 1
        picture = prepare(image, 32, MEAN, STD)
        x1, y1, x2, y2 = picture.frame
        assert x2 > x1 and y2 > y1
        assert np.isfinite(picture.pixels).all()


def test_large_pictures_shrink_and_keep_their_shape() -> None:
    for kind in ("JPEG", "PNG"):
        assert load_image(encode(Image.new("RGB", (4000, 3000), "red"), kind)).size == (1024, 768)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"not a picture"]
)
def test_what_is_no_picture(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "post.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"post\.jpg: (picture is empty|not a picture)"):
        load_image(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_picture_is_an_error(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    for share in (0.2, 0.5, 0.8):
        with pytest.raises(InputError, match="^upload: "):
            load_image(data[: int(len(data) * share)], "upload")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255))))
def test_damage_anywhere_is_an_input_error_or_a_picture(
    kind: str, damage: list[tuple[int, int]]
) -> None:
    data = bytearray(encode(Image.new("RGB", (20, 10), (10, 20, 30)), kind))
    for place, byte in damage:
        data[place % len(data)] = byte
    try:
        image = load_image(bytes(data))
    except InputError:
        return
    assert image.mode == "RGB" and max(image.size) <= MAX_SIDE


@pytest.mark.filterwarnings("error")
def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Any) -> None:
        raise AssertionError("decoded")

    bomb = png(20_000, 20_000)
    assert len(bomb) < 500_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    with pytest.raises(InputError, match=r"bomb\.png: .*more than 50,000,000 pixels"):
        load_image(bomb, "bomb.png")
    with pytest.raises(InputError, match=r"8000 x 7000 pixels, more than"):
        load_image(png(8000, 7000))


def test_tiles_larger_than_their_picture_are_refused() -> None:
    assert load_image(tiled_tiff(64, 64)).size == (64, 64)
    with pytest.raises(InputError, match="its tiles have more than 50,000,000 pixels"):
        load_image(tiled_tiff(64, 8000))


def test_too_many_bytes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    path = tmp_path / "big.bmp"
    path.write_bytes(encode(Image.new("RGB", (50, 50)), "BMP"))
    with pytest.raises(InputError, match=r"big\.bmp: picture is larger than 1,000 bytes; scale"):
        load_image(path)
    with pytest.raises(InputError, match="larger than 1,000 bytes"):
        load_image(path.read_bytes())


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such picture"):
        load_image(tmp_path / "absent.jpg")
    with pytest.raises(InputError, match="not a plain file"):
        load_image(tmp_path)
    with pytest.raises(InputError, match="cannot read"):
        load_image(tmp_path / ("x" * 5000))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="not a plain file"):
            load_image(tmp_path / "pipe")


def test_prepared_pixels_are_normalised_and_padding_is_zero() -> None:
    picture = prepare(Image.new("RGB", (20, 10), (255, 0, 51)), 16, MEAN, STD)
    assert picture.pixels.dtype == np.float32 and picture.pixels.shape == (3, 16, 16)
    assert picture.frame == (0.0, 0.25, 1.0, 0.75)
    assert not picture.pixels[:, :4].any() and not picture.pixels[:, 12:].any()
    np.testing.assert_allclose(picture.pixels[:, 8, 8], [1.0, -1.0, 0.3], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64))
def test_the_frame_is_where_the_picture_is(width: int, height: int, size: int) -> None:
    picture = prepare(Image.new("RGB", (width, height), "white"), size, MEAN, STD)
    x1, y1, x2, y2 = (round(edge * size) for edge in picture.frame)
    filled = np.zeros((size, size), dtype=bool)
    filled[y1:y2, x1:x2] = True
    assert filled.any()
    assert ((picture.pixels[0] > 0) == filled).all()
    assert max(x2 - x1, y2 - y1) == size


def jpeg_20000() -> bytes:
    return encode(Image.new("L", (20_000, 20_000), 77), "JPEG")


def largest(mode: str, kind: str, **options: Any) -> bytes:
    """One colour, as many pixels as are allowed."""
    return encode(Image.new(mode, (7000, 7000)), kind, **options)


AWKWARD = {
    "png of 20,000 x 20,000": (lambda: png(20_000, 20_000), False),
    "jpeg of 20,000 x 20,000": (jpeg_20000, False),
    "largest RGBA": (lambda: largest("RGBA", "PNG", compress_level=1), True),
    "largest palette with transparency": (
        lambda: largest("P", "PNG", compress_level=1, transparency=0),
        True,
    ),
    "largest 16-bit": (lambda: largest("I;16", "PNG", compress_level=1), True),
    "largest float": (lambda: largest("F", "TIFF", compression="tiff_lzw"), True),
    "largest CMYK": (lambda: largest("CMYK", "JPEG"), True),
    "largest progressive": (lambda: largest("RGB", "JPEG", progressive=True), True),
    "animated": (
        lambda: encode(
            Image.new("P", (3000, 3000)),
            "GIF",
            save_all=True,
            append_images=[Image.new("P", (3000, 3000), i) for i in range(1, 9)],
        ),
        True,
    ),
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", AWKWARD)
def test_no_picture_takes_a_gigabyte(name: str, tmp_path: Path) -> None:
    """Decoding and preparing, over what the process had before; getrusage would tell the larger of
    its own peak and that of whoever started it.
    """
    make, readable = AWKWARD[name]
    path = tmp_path / "picture"
    path.write_bytes(make())
    assert path.stat().st_size < 50_000_000
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from PIL import Image\n"
        "from rukh.errors import InputError\n"
        "from rukh.modeling.image_io import load_image, prepare\n"
        "status = Path('/proc/self/status')\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1]) // 1024\n"
        "start = peak()\n"
        "try:\n"
        "    prepare(load_image(Path(sys.argv[1])), 224, (0.5,) * 3, (0.5,) * 3)\n"
        "    print(True, peak() - start)\n"
        "except InputError:\n"
        "    print(False, peak() - start)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    told, megabytes = run.stdout.split()
    assert told == str(readable)
    assert int(megabytes) < 1000, megabytes
    print(name, megabytes)
