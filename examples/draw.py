"""Draw the images of the example posts: flat scenes made of a few shapes.

    python examples/draw.py [FOLDER]

writes them to ``images`` beside this file, or to FOLDER, and prints the box of each named object,
in fractions of the image: the boxes of ``posts.jsonl``.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from pathlib import Path

# ruff: noqa: F403, F405  (the shapes are this file's whole vocabulary)
from shapes import *

Paint = Callable[[Canvas], None]
SCENES: dict[str, tuple[str, Paint]] = {}


def scene(ground: str) -> Callable[[Paint], Paint]:
    """Register a function as the image of its name, on a background colour."""

    def register(paint: Paint) -> Paint:
        SCENES[paint.__name__] = ground, paint
        return paint

    return register


def draw(name: str) -> Canvas:
    ground, paint = SCENES[name]
    canvas = Canvas(ground)
    paint(canvas)
    return canvas


@scene("#2a1a4a")
def concert(c: Canvas) -> None:
    for x, fill in ((70, "#6b3fa0"), (190, "#8c3f7f"), (300, "#3f5fa0"), (420, "#a0506b")):
        c.poly([(x, 0), (x - 70, 225), (x + 70, 225)], fill)
        c.rect(x - 12, 0, 24, 12, INK, 3)
    c.rect(0, 215, WIDTH, 85, "#3b2357")
    for x in (20, 404):
        c.rect(x, 130, 56, 90, INK, 4)
        c.disc(x + 28, 160, 17, GREY)
        c.disc(x + 28, 198, 12, GREY)
    c.disc(315, 190, 26, CREAM)
    c.disc(315, 190, 22, RED)
    with c.mark("singer"):
        arms = ((-0.3, 0.95), (0.1, 0.72))
        person(c, 165, 232, 140, PINK, LIGHT, COPPER, arms=arms, dress=True, long_hair=True)
        c.line([(179, 131), (172, 118)], INK, 5)
    with c.mark("guitarist"):
        person(c, 262, 232, 146, BLUE, BROWN, INK, arms=((-0.06, 0.5), (0.26, 0.62)), feet=0.13)
        c.line([(254, 166), (306, 140)], WOOD, 6)
        c.oval(252, 168, 20, 15, RED)
        c.disc(254, 167, 5, INK)
    crowd(c, 258, ["#150d2b", "#20143d", "#1b1133"], 1)


@scene(SKY)
def football(c: Canvas) -> None:
    c.rect(0, 60, WIDTH, 50, "#8a93a6")
    rng = random.Random(2)
    for x in range(6, WIDTH, 13):
        for y in (70, 84, 98):
            c.disc(x + rng.uniform(-2, 2), y, 5, rng.choice([RED, CREAM, BLUE, GOLD, INK]))
    for k in range(6):
        c.rect(80 * k, 110, 80, 190, GRASS if k % 2 else "#6aab5e")
    for x in range(340, 470, 12):
        c.line([(x, 92), (x, 190)], "#e6eef0", 1)
    for y in range(98, 190, 12):
        c.line([(336, y), (466, y)], "#e6eef0", 1)
    c.line([(336, 192), (336, 90), (466, 90), (466, 192)], WHITE, 5)
    person(c, 398, 196, 92, GOLD, TAN, INK, legs=INK, arms=((-0.32, 0.8), (0.32, 0.8)), feet=0.14)
    with c.mark("striker"):
        person(c, 160, 258, 150, RED, BROWN, INK, legs=WHITE, arms=RUN, feet=0.2)
        c.text(160, 165, "9", 24, WHITE)
    with c.mark("ball"):
        ball(c, 248, 222, 15)
    person(c, 60, 226, 112, BLUE, LIGHT, WOOD, legs=WHITE, arms=RUN, feet=0.17)


@scene(SKY)
def podium(c: Canvas) -> None:
    c.rect(0, 150, WIDTH, 150, BLUE)
    for y, shift in ((172, 0), (196, 50), (224, 20), (262, 70)):
        for x in range(shift - 20, WIDTH, 120):
            c.line([(x, y), (x + 44, y)], "#6fa9c9", 4)
    bunting(c, 24, 16, [RED, GOLD, CREAM, GREEN])
    c.rect(0, 262, WIDTH, 38, WOOD)
    for x, top, place in ((88, 220, "2"), (188, 190, "1"), (288, 232, "3")):
        c.rect(x, top, 100, 262 - top, CREAM, 3)
        c.text(x + 50, (top + 266) / 2, place, 26, INK)
    person(c, 138, 220, 112, GREEN, TAN, INK)
    person(c, 338, 232, 112, PURPLE, BROWN, INK, arms=WAVE)
    with c.mark("champion"):
        person(c, 238, 190, 118, RED, LIGHT, COPPER, arms=CHEER, long_hair=True)
    with c.mark("trophy"):
        cup(c, 238, 68, 46)


@scene(NIGHT)
def skyline(c: Canvas) -> None:
    rng = random.Random(4)
    sprinkle(c, (0, 0, WIDTH, 130), 60, 1.4, [CREAM], 3)
    c.disc(390, 55, 26, CREAM)
    c.disc(379, 48, 24, NIGHT)
    for k in range(9):
        wall = rng.choice(["#2c3a6b", "#26315c", "#3a4a80"])
        tower(c, 55 * k - 6, 235, 52, rng.uniform(60, 150), wall, rng)
    c.rect(0, 235, WIDTH, 65, "#16335b")
    for x in range(10, WIDTH, 28):
        c.line([(x, 246 + x % 37), (x + 12, 246 + x % 37)], GOLD, 2)
    for span in (0, 160, 320):
        c.half(span + 80, 262, 80, 40, "#4a3f55")
        c.half(span + 80, 262, 68, 30, "#16335b")
    c.rect(0, 218, WIDTH, 9, "#4a3f55")


@scene(SKY)
def beach(c: Canvas) -> None:
    c.disc(90, 60, 28, GOLD)
    for x, y in ((220, 50), (380, 72)):
        for dx, r in ((-24, 14), (0, 20), (24, 14)):
            c.oval(x + dx, y, r * 1.3, r * 0.8, WHITE)
    c.poly([(300, 140), (370, 92), (430, 110), (480, 84), (480, 140)], "#8fb39a")
    c.rect(0, 135, WIDTH, 80, BLUE)
    for y, x in ((155, 60), (172, 250), (188, 120)):
        c.line([(x, y), (x + 70, y)], "#8cc3dd", 4)
    c.poly([(0, 205), (160, 192), (330, 212), (480, 198), (480, 300), (0, 300)], "#f2dca6")
    c.line([(330, 262), (350, 160)], WHITE, 4)
    c.half(350, 172, 62, 44, RED)
    c.half(350, 172, 22, 44, CREAM)
    c.poly([(165, 160), (165, 100), (205, 150)], CREAM)
    c.poly([(135, 162), (210, 162), (198, 178), (147, 178)], RED)
    person(c, 110, 276, 84, ORANGE, TAN, DARK, legs=BLUE)


@scene("#e8f1e4")
def wedding(c: Canvas) -> None:
    c.rect(0, 230, WIDTH, 70, GRASS)
    for x in (40, 440):
        tree(c, x, 240, 170)
    for turn in range(180, 361, 6):
        angle = math.radians(turn)
        fill = [PINK, WHITE, "#f7c6d0", GREEN][turn // 6 % 4]
        c.disc(240 + 108 * math.cos(angle), 140 + 108 * math.sin(angle), 11, fill)
    for x in (132, 348):
        c.rect(x - 5, 140, 10, 110, WHITE)
    with c.mark("bride"):
        person(c, 212, 262, 158, WHITE, BROWN, INK, dress=True, long_hair=True)
        c.oval(212, 100, 8, 5, PINK)
    with c.mark("groom"):
        person(c, 272, 262, 166, INK, LIGHT, WOOD)
        c.poly([(262, 142), (282, 142), (272, 164)], WHITE)
        c.poly([(264, 142), (264, 150), (280, 142), (280, 150)], RED)
    sprinkle(c, (90, 20, 390, 280), 50, 2.6, [PINK, GOLD, RED], 6)


@scene("#dfe8ef")
def parliament(c: Canvas) -> None:
    columns(c, 40, 270, 400, 190, 9, STONE)
    c.half(240, 92, 62, 56, "#7fa79b")
    c.rect(176, 88, 128, 14, CREAM)
    flag(c, 240, 40, 34, RED)
    c.rect(0, 268, WIDTH, 32, GREY)
    c.rect(206, 190, 68, 78, WOOD, 3)
    for x in (110, 360):
        flag(c, x, 268, 90, BLUE)
    person(c, 240, 268, 118, PURPLE, LIGHT, GREY, arms=WAVE)
    c.poly([(210, 222), (270, 222), (262, 292), (218, 292)], DARK)
    c.line([(240, 222), (232, 204)], INK, 3)
    for x in (60, 150, 330, 420):
        person(c, x, 296, 84, INK, TAN, DARK)


@scene("#a9d5e8")
def map_pin(c: Canvas) -> None:
    north = [(60, 150), (90, 60), (180, 36), (300, 46), (410, 40), (440, 130)]
    south = [(400, 220), (300, 262), (200, 240), (150, 256), (110, 190)]
    c.poly(north + south, "#e9e3c0")
    c.poly([(320, 60), (420, 60), (410, 150), (340, 130)], "#bcd9a0")
    c.poly([(130, 180), (190, 190), (190, 230), (140, 225)], "#bcd9a0")
    for road in ([(90, 100), (200, 130), (300, 110), (425, 170)], [(200, 130), (230, 240)]):
        c.line(road, WHITE, 6)
    c.line([(330, 255), (300, 180), (360, 90), (340, 46)], "#7db7d6", 5)
    with c.mark("pin"):
        c.poly([(181, 88), (219, 88), (200, 132)], RED)
        c.disc(200, 76, 23, RED)
        c.disc(200, 76, 9, WHITE)


@scene(CREAM)
def museum(c: Canvas) -> None:
    c.rect(0, 226, WIDTH, 74, "#c89f73")
    for x, w, fill in ((24, 112, "#f0d9b5"), (344, 112, "#cfe3d4")):
        c.rect(x - 5, 55, w + 10, 110, WOOD)
        c.rect(x, 60, w, 100, fill)
    c.disc(80, 110, 30, ORANGE)
    c.poly([(350, 156), (390, 84), (450, 156)], PURPLE)
    c.rect(196, 205, 88, 60, WHITE, 2)
    stems = ((212, 120, "#7cc6c3"), (228, 84, "#4c9f9a"), (244, 104, "#a5ddd3"), (260, 140, BLUE))
    for x, top, fill in stems:
        c.poly([(x, 205), (x + 14, 205), (x + 7, top)], fill)
        c.disc(x + 7, top, 11, fill)
    c.text(240, 236, "THE GLASS GARDEN", 8, INK)
    person(c, 138, 290, 120, BLUE, LIGHT, INK, long_hair=True, dress=True)
    person(c, 344, 290, 128, RED, BROWN, INK)


@scene("#33245c")
def lanterns(c: Canvas) -> None:
    rng = random.Random(9)
    for x, h in ((0, 90), (70, 120), (150, 80), (300, 100), (385, 130)):
        house(c, x + 8, 230, 62, h * 0.66, "#59407d", "#7a3b57")
    for row, y in enumerate((26, 72)):
        c.line([(k, y + 14 * math.sin(k / 76)) for k in range(0, WIDTH + 1, 8)], GREY, 1.5)
        for k in range(18 + 20 * row, WIDTH, 54):
            sag = y + 14 * math.sin(k / 76)
            c.oval(k, sag + 17, 15, 16, rng.choice([RED, ORANGE, GOLD, PINK]))
            c.rect(k - 7, sag, 14, 4, INK)
            c.line([(k, sag + 33), (k, sag + 42)], GOLD, 2)
    c.rect(0, 228, WIDTH, 72, "#221741")
    for x in (100, 180, 260, 340):
        c.line([(x, 180), (x, 220)], WOOD, 4)
        person(c, x, 278, 76, GOLD, TAN, INK, arms=((-0.1, 0.66), (0.02, 0.74)))
    spine = [(x, 176 + 14 * math.sin(x / 26)) for x in range(70, 380, 6)]
    for left, top in spine[::4]:
        c.poly([(left - 10, top - 8), (left + 10, top - 8), (left + 4, top - 26)], GOLD)
    c.line(spine, RED, 24)
    c.oval(392, 176, 30, 22, RED)
    c.oval(414, 184, 18, 11, ORANGE)
    c.disc(394, 168, 7, WHITE)
    c.disc(396, 168, 3, INK)
    c.line([(376, 158), (364, 138)], GOLD, 5)
    crowd(c, 276, ["#3f2d6b", "#4d3a7d", "#5a2f5f"], 10)


@scene("#f5e6c8")
def classroom(c: Canvas) -> None:
    c.rect(80, 28, 320, 124, WOOD, 4)
    c.rect(88, 36, 304, 108, "#2f5d50")
    c.text(240, 68, "CLASS OF 2004", 26, CREAM)
    c.text(240, 110, "a + b = b + a", 20, "#bfe0cf")
    c.rect(0, 236, WIDTH, 64, "#c89f73")
    c.rect(20, 60, 40, 60, SKY, 2)
    c.rect(420, 60, 40, 60, SKY, 2)
    tops, skins = (RED, BLUE, GREEN, PURPLE), (LIGHT, BROWN, LIGHT, TAN)
    hairs = (GOLD, INK, COPPER, DARK)
    for k, x in enumerate((110, 200, 290, 380)):
        person(c, x, 284, 118, tops[k], skins[k], hairs[k], arms=DESK, long_hair=k % 2 == 0)
        table(c, x, 236, 80, 56)
        c.rect(x - 14, 229, 28, 7, WHITE, 1)


@scene("#dcebf0")
def bakery(c: Canvas) -> None:
    c.rect(60, 30, 360, 240, "#e8b48a")
    c.rect(0, 266, WIDTH, 34, GREY)
    c.rect(90, 44, 300, 34, DARK, 4)
    c.text(240, 61, "CRUMB & CO.", 22, CREAM)
    c.rect(90, 112, 200, 130, "#fff4cf", 3)
    for k in range(12):
        left = 75 + 27.5 * k
        awning = [(left, 84), (left + 28, 84), (left + 26, 116), (left - 2, 116)]
        c.poly(awning, RED if k % 2 else WHITE)
    c.rect(315, 122, 76, 146, WOOD, 3)
    c.rect(325, 134, 56, 60, SKY, 2)
    with c.mark("baker", hidden=214):
        person(c, 186, 258, 130, WHITE, TAN, DARK, arms=((-0.34, 0.5), (0.34, 0.5)))
        c.rect(173, 118, 26, 16, WHITE, 5)
        c.oval(186, 117, 19, 9, WHITE)
    c.rect(90, 214, 200, 52, "#c98b5e", 3)
    for x, y in ((112, 206), (150, 206), (222, 206), (262, 206)):
        c.oval(x, y, 16, 9, "#d9963f")
        for dx in (-7, 0, 7):
            c.line([(x + dx - 2, y - 5), (x + dx + 2, y + 3)], "#f2c77f", 2)
    for x in (34, 446):
        c.rect(x - 14, 240, 28, 28, RED, 3)
        tree(c, x, 244, 70)


@scene("#fbe3d0")
def birthday(c: Canvas) -> None:
    bunting(c, 40, 30, [RED, BLUE, GOLD, GREEN])
    for x, y, fill in ((60, 90, RED), (100, 70, BLUE), (400, 76, GOLD), (436, 104, PINK)):
        c.line([(x, y), (x + 8, 220)], GREY, 1.5)
        c.oval(x, y, 18, 23, fill)
    c.rect(0, 262, WIDTH, 38, "#c89f73")
    with c.mark("father"):
        person(c, 172, 276, 190, BLUE, LIGHT, WOOD, arms=((-0.16, 0.4), (0.3, 0.42)))
    with c.mark("child"):
        person(c, 258, 276, 112, PINK, LIGHT, GOLD, arms=CHEER, dress=True, long_hair=True)
        c.poly([(249, 164), (267, 164), (258, 138)], GREEN)
    table(c, 360, 236, 120, 60)
    c.rect(326, 204, 68, 32, CREAM, 4)
    c.rect(326, 204, 68, 10, PINK, 4)
    for x in (340, 360, 380):
        c.rect(x - 2, 188, 4, 16, BLUE)
        c.oval(x, 184, 3, 5, ORANGE)


@scene(SKY)
def street(c: Canvas) -> None:
    c.disc(60, 50, 24, GOLD)
    c.rect(0, 236, WIDTH, 64, GRASS)
    house(c, 40, 240, 150, 110, CREAM, RED)
    house(c, 290, 240, 150, 110, "#cfe0e8", PURPLE)
    tree(c, 460, 246, 100)
    for x in range(204, 284, 13):
        c.poly([(x, 280), (x, 214), (x + 5, 207), (x + 10, 214), (x + 10, 280)], WHITE)
    for y in (228, 258):
        c.rect(200, y, 86, 7, CREAM)
    person(c, 166, 290, 118, GREEN, LIGHT, GREY, arms=((-0.16, 0.4), (0.36, 0.62)))
    c.line([(207, 216), (216, 200)], WOOD, 5)
    c.rect(207, 192, 20, 10, GREY, 2)
    person(c, 326, 290, 112, ORANGE, TAN, INK, arms=((-0.34, 0.8), (0.2, 0.42)), long_hair=True)


@scene("#2b2540")
def ring(c: Canvas) -> None:
    for x in (150, 330):
        c.poly([(x, 0), (x - 90, 230), (x + 90, 230)], "#463c66")
    crowd(c, 150, ["#1c1830", "#221d3a"], 5, lifted=False)
    c.rect(30, 226, 420, 24, CREAM, 3)
    c.rect(30, 250, 420, 50, BLUE)
    c.text(240, 275, "TITLE NIGHT", 24, WHITE)
    for y in (140, 168, 196):
        c.line([(48, y), (432, y)], WHITE, 3)
    for x, fill in ((40, RED), (430, GOLD)):
        c.rect(x, 122, 12, 106, fill, 3)
    person(c, 190, 236, 138, PURPLE, BROWN, INK, RED, CHEER, feet=0.12, long_hair=True)
    person(c, 305, 236, 128, GREEN, LIGHT, COPPER, BLUE, GUARD, feet=0.12)
    for x, y in ((172, 95), (208, 95), (287, 141), (326, 144)):
        c.disc(x, y, 11, RED)


@scene(SKY)
def church(c: Canvas) -> None:
    c.rect(0, 250, WIDTH, 50, STONE)
    tree(c, 60, 262, 120)
    tree(c, 420, 262, 130)
    c.rect(150, 130, 180, 130, CREAM)
    c.poly([(140, 130), (340, 130), (240, 70)], PURPLE)
    c.rect(212, 60, 56, 110, CREAM)
    c.poly([(206, 62), (274, 62), (240, 8)], PURPLE)
    c.line([(240, 12), (240, -6)], GOLD, 3)
    c.disc(240, 96, 15, BLUE)
    c.disc(240, 96, 7, GOLD)
    for x in (172, 296):
        c.half(x + 6, 174, 12, 16, BLUE)
        c.rect(x - 6, 173, 24, 40, BLUE)
    c.half(240, 206, 22, 26, WOOD)
    c.rect(218, 205, 44, 55, WOOD)
    with c.mark("bishop"):
        person(c, 240, 284, 116, WHITE, LIGHT, GREY, arms=((-0.16, 0.5), (0.3, 0.8)), dress=True)
        c.poly([(230, 176), (250, 176), (252, 162), (240, 148), (228, 162)], GOLD)
        c.rect(237, 198, 6, 84, GOLD)
    for x, fill in ((110, RED), (160, BLUE), (320, GREEN), (372, ORANGE)):
        person(c, x, 296, 88, fill, TAN, DARK, arms=GUARD, long_hair=fill in (RED, ORANGE))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCENES:
        canvas = draw(name)
        canvas.finish().save(folder / f"{name}.png", optimize=True)
        for label, box in canvas.boxes.items():
            print(f"{name}.png {label} {box}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images")
