"""The shapes of the example images: a canvas, people, houses, trees, balls."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image, ImageChops, ImageDraw, ImageFont

WIDTH, HEIGHT, SCALE = 480, 300, 3  # drawn three times as large, since scaling down smooths edges
Point = tuple[float, float]
INK, WHITE, CREAM, GREY, GOLD = "#2b2d42", "#ffffff", "#fdf3e1", "#9aa5b1", "#f6c343"
RED, ORANGE, GREEN, BLUE = "#e4572e", "#f29e4c", "#4c9f70", "#3a7ca5"
PURPLE, PINK, COPPER = "#6d597a", "#f4a3b5", "#c9682f"
NIGHT, SKY, GRASS, WOOD, STONE = "#1d2951", "#bfe3f2", "#79b86b", "#b07d4f", "#d9cfc1"
LIGHT, TAN, BROWN, DARK = "#f6d2b3", "#d9a47a", "#9a6a48", "#5d3f2e"  # skins, and dark hair

# Positions of the two hands relative to the feet, as fractions of the height.
REST = ((-0.16, 0.4), (0.16, 0.4))
DESK = ((-0.22, 0.48), (0.22, 0.48))
CHEER = ((-0.13, 1.02), (0.13, 1.02))
WAVE = ((-0.2, 0.42), (0.3, 0.85))
RUN = ((-0.32, 0.6), (0.3, 0.82))
GUARD = ((-0.14, 0.74), (0.16, 0.72))


class Canvas:
    """An image that is being drawn, in units of WIDTH x HEIGHT, and the boxes of marked objects."""

    def __init__(self, ground: str) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), ground)
        self.draw = ImageDraw.Draw(self.image)
        self.boxes: dict[str, list[float]] = {}

    @contextmanager
    def mark(self, label: str, hidden: float = HEIGHT) -> Iterator[None]:
        """Record the box of the pixels that the block changes under a label.

        Below ``hidden``, something that is drawn later covers the object.
        """
        before = self.image.copy()
        yield
        box = ImageChops.difference(before, self.image).getbbox()
        assert box is not None, f"nothing was drawn for {label!r}"
        x1, y1, x2, y2 = (edge / SCALE for edge in box)
        edges = (x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, min(y2, hidden) / HEIGHT)
        self.boxes[label] = [round(edge, 3) for edge in edges]

    def rect(self, x: float, y: float, w: float, h: float, fill: str, corner: float = 0) -> None:
        corners = [x * SCALE, y * SCALE, (x + w) * SCALE - 1, (y + h) * SCALE - 1]
        self.draw.rounded_rectangle(corners, corner * SCALE, fill)

    def disc(self, x: float, y: float, r: float, fill: str) -> None:
        self.oval(x, y, r, r, fill)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: str) -> None:
        corners = [(x - rx) * SCALE, (y - ry) * SCALE, (x + rx) * SCALE, (y + ry) * SCALE]
        self.draw.ellipse(corners, fill)

    def half(self, x: float, y: float, rx: float, ry: float, fill: str) -> None:
        """The upper half of an oval."""
        corners = [(x - rx) * SCALE, (y - ry) * SCALE, (x + rx) * SCALE, (y + ry) * SCALE]
        self.draw.pieslice(corners, 180, 360, fill)

    def poly(self, points: Sequence[Point], fill: str) -> None:
        self.draw.polygon([(x * SCALE, y * SCALE) for x, y in points], fill)

    def line(self, points: Sequence[Point], fill: str, width: float) -> None:
        """A line with round ends and joints."""
        self.draw.line([(x * SCALE, y * SCALE) for x, y in points], fill, int(width * SCALE))
        for x, y in points:
            self.disc(x, y, width / 2, fill)

    def text(self, x: float, y: float, words: str, size: float, fill: str) -> None:
        font = ImageFont.load_default(size * SCALE)
        self.draw.text((x * SCALE, y * SCALE), words, fill, font, anchor="mm")

    def finish(self) -> Image.Image:
        small = self.image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        return small.quantize(96, dither=Image.Dither.NONE)


def person(
    c: Canvas,
    x: float,
    y: float,
    h: float,
    top: str,
    skin: str = LIGHT,
    hair: str = DARK,
    legs: str = INK,
    arms: tuple[Point, Point] = REST,
    feet: float = 0.07,
    dress: bool = False,
    long_hair: bool = False,
) -> None:
    """A person of height ``h`` standing at (x, y); hands and feet are fractions of the height."""
    limb = 0.075 * h
    if long_hair:
        c.rect(x - 0.1 * h, y - 0.97 * h, 0.2 * h, 0.28 * h, hair, 0.09 * h)
    if dress:
        hem = [(x - 0.22 * h, y), (x + 0.22 * h, y), (x + 0.08 * h, y - 0.5 * h)]
        c.poly([*hem, (x - 0.08 * h, y - 0.5 * h)], top)
    else:
        for side in (-1, 1):
            hip = (x + side * 0.045 * h, y - 0.42 * h)
            c.line([hip, (x + side * feet * h, y - 0.04 * h)], legs, limb * 1.1)
    for side, (hand_x, hand_y) in zip((-1, 1), arms, strict=True):
        shoulder = (x + side * 0.1 * h, y - 0.7 * h)
        hand = (x + hand_x * h, y - hand_y * h)
        c.line([shoulder, hand], top, limb)
        c.disc(*hand, limb * 0.55, skin)
    c.rect(x - 0.12 * h, y - 0.76 * h, 0.24 * h, 0.38 * h, top, 0.06 * h)
    c.rect(x - 0.035 * h, y - 0.8 * h, 0.07 * h, 0.08 * h, skin)
    c.oval(x, y - 0.88 * h, 0.085 * h, 0.1 * h, skin)
    c.half(x, y - 0.9 * h, 0.095 * h, 0.1 * h, hair)
    for side in (-1, 1):
        c.disc(x + side * 0.033 * h, y - 0.875 * h, 0.01 * h, INK)
    c.rect(x - 0.025 * h, y - 0.835 * h, 0.05 * h, 0.012 * h, INK, 0.006 * h)


def house(c: Canvas, x: float, y: float, w: float, h: float, wall: str, roof: str) -> None:
    c.rect(x, y - h, w, h, wall)
    c.poly([(x - 0.1 * w, y - h), (x + 1.1 * w, y - h), (x + 0.5 * w, y - 1.5 * h)], roof)
    c.rect(x + 0.4 * w, y - 0.5 * h, 0.2 * w, 0.5 * h, WOOD, 2)
    for left in (0.1, 0.7):
        c.rect(x + left * w, y - 0.75 * h, 0.2 * w, 0.25 * h, SKY, 2)


def tower(c: Canvas, x: float, y: float, w: float, h: float, wall: str, lit: random.Random) -> None:
    """A block of flats at night with some lit windows."""
    c.rect(x, y - h, w, h, wall)
    for row in range(int(h // 16)):
        for column in range(int(w // 14)):
            glass = GOLD if lit.random() < 0.55 else "#33406b"
            c.rect(x + 5 + 14 * column, y - h + 6 + 16 * row, 7, 9, glass)


def tree(c: Canvas, x: float, y: float, h: float, leaves: str = GREEN) -> None:
    c.rect(x - 0.06 * h, y - 0.4 * h, 0.12 * h, 0.4 * h, WOOD)
    for dx, dy, r in ((-0.18, 0.5, 0.2), (0.18, 0.5, 0.2), (0, 0.72, 0.26)):
        c.disc(x + dx * h, y - dy * h, r * h, leaves)


def table(c: Canvas, x: float, y: float, w: float, h: float) -> None:
    """A table whose top is centred on x."""
    c.rect(x - w / 2, y, w, 10, WOOD, 3)
    for side in (-1, 1):
        c.rect(x + side * (w / 2 - 9) - 3, y + 10, 6, h - 10, DARK)


def crowd(c: Canvas, y: float, colours: Sequence[str], seed: int, lifted: bool = True) -> None:
    """A row of people from behind, cropped by the lower edge."""
    rng = random.Random(seed)
    for x in range(12, WIDTH, 30):
        top, fill = y + rng.uniform(-6, 6), rng.choice(colours)
        if lifted and rng.random() < 0.6:
            c.line([(x + 9, top + 20), (x + 13, top - 16)], fill, 6)
        c.oval(x, top, 9, 11, fill)
        c.rect(x - 14, top + 11, 28, HEIGHT, fill, 9)


def ball(c: Canvas, x: float, y: float, r: float) -> None:
    c.disc(x, y, r, WHITE)
    c.disc(x, y, r * 0.36, INK)
    for k in range(5):
        turn = math.radians(72 * k - 90)
        c.disc(x + 0.78 * r * math.cos(turn), y + 0.78 * r * math.sin(turn), r * 0.18, INK)


def columns(c: Canvas, x: float, y: float, w: float, h: float, count: int, stone: str) -> None:
    """A facade with a gable, columns and steps."""
    c.poly([(x, y - 0.7 * h), (x + w, y - 0.7 * h), (x + w / 2, y - h)], stone)
    c.rect(x + 4, y - 0.7 * h, w - 8, 0.62 * h, "#a99b88")
    for k in range(count):
        c.rect(x + 8 + k * (w - 28) / (count - 1), y - 0.68 * h, 12, 0.62 * h, stone, 3)
    c.rect(x, y - 0.72 * h, w, 0.06 * h, CREAM)
    c.rect(x - 8, y - 0.08 * h, w + 16, 0.08 * h, CREAM)


def flag(c: Canvas, x: float, y: float, h: float, fill: str) -> None:
    c.line([(x, y), (x, y - h)], GREY, 3)
    c.poly([(x, y - h), (x + 34, y - h + 8), (x, y - h + 20)], fill)


def cup(c: Canvas, x: float, y: float, h: float) -> None:
    c.oval(x, y - 0.74 * h, 0.44 * h, 0.2 * h, "#d49a1f")
    c.rect(x - 0.32 * h, y - h, 0.64 * h, 0.2 * h, GOLD, 2)
    c.oval(x, y - 0.78 * h, 0.32 * h, 0.34 * h, GOLD)
    c.rect(x - 0.05 * h, y - 0.5 * h, 0.1 * h, 0.4 * h, GOLD)
    c.rect(x - 0.24 * h, y - 0.14 * h, 0.48 * h, 0.14 * h, "#d49a1f", 2)


def bunting(c: Canvas, width: float, depth: float, colours: Sequence[str]) -> None:
    """A row of small flags along the upper edge."""
    for k in range(int(WIDTH // width)):
        x = k * width
        fill = colours[k % len(colours)]
        c.poly([(x, 0), (x + width, 0), (x + width / 2, depth)], fill)


def sprinkle(
    c: Canvas,
    area: tuple[float, float, float, float],
    count: int,
    size: float,
    colours: Sequence[str],
    seed: int,
) -> None:
    """Stars or confetti in an area."""
    x1, y1, x2, y2 = area
    rng = random.Random(seed)
    for _ in range(count):
        x, y, r = rng.uniform(x1, x2), rng.uniform(y1, y2), size * rng.uniform(0.6, 1.2)
        c.disc(x, y, r, rng.choice(colours))
