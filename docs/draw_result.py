"""Draw ``docs/result.png``: example posts, and what a model says of them.

    python docs/draw_result.py [--model mnre] [--out docs/result.png] [POST_ID ...]

Nothing on the picture is written here but the layout: arguments, relations, probabilities and the
descriptions that matched come from the extractor, mistakes included.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rukh import Extractor, Post, Triple
from rukh.utils.files import atomic_open
from rukh.data.readers import read

FOLDER = Path(__file__).parents[1] / "examples"
SCALE = 2  # pixels a unit; all measures below are units
WIDTH, PICTURE, MARGIN, LINE = 860, 330, 22, 27
INK, GREY, PALE, GROUND, WHITE = "#22223b", "#6b7280", "#d9dee5", "#eef1f5", "#ffffff"
# One colour for each argument of a post, in order; light enough for dark ink.
COLOURS = ("#f9c6b0", "#b9dcc6", "#bcd7f0", "#e3cdf0", "#f7e3a1", "#f4bfd3", "#c9e8e6", "#dcd3c4")


@cache
def font(size: float, style: str = "") -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib brings it, so that every machine draws alike."""
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{style}.ttf", size * SCALE)


class Page:
    """A drawing surface in units, and the arguments' colours."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, height * SCALE), GROUND)
        self.draw = ImageDraw.Draw(self.image)

    def box(self, x: float, y: float, w: float, h: float, fill: str, corner: float = 5) -> None:
        """A filled box with rounded corners."""
        self.draw.rounded_rectangle(
            [x * SCALE, y * SCALE, (x + w) * SCALE, (y + h) * SCALE], corner * SCALE, fill
        )

    def text(
        self, x: float, y: float, words: str, size: float = 13, fill: str = INK, style: str = ""
    ) -> float:
        """Write one line whose middle is at ``y``; returns where it ends."""
        self.draw.text((x * SCALE, y * SCALE), words, fill, font(size, style), anchor="lm")
        return x + width(words, size, style)

    def chip(self, x: float, y: float, words: str, colour: str) -> float:
        """An argument's name on its colour; returns where it ends."""
        self.box(x, y - 10, width(words) + 10, 20, colour)
        return self.text(x + 5, y, words) + 5


def width(words: str, size: float = 13, style: str = "") -> float:
    """Of a line of words."""
    return font(size, style).getlength(words) / SCALE


def drawable(text: str) -> str:
    """Without emoji: the font has none, and would draw boxes in their place."""
    return "".join(c for c in text if ord(c) < 0x1F000)


def words_of(post: Post) -> Iterator[tuple[bool, str, str | None]]:
    """The words of a text, cut at entities' edges: whether white space stands before, the word,
    and the entity that it belongs to.
    """
    edges = {edge for entity in post.entities for edge in (entity.start, entity.end)}
    for first, last in pairwise(sorted({0, len(post.text), *edges})):
        owner = next((e.id for e in post.entities if e.start <= first < e.end), None)
        for match in re.finditer(r"\S+", post.text[first:last]):
            at = first + match.start()
            if word := drawable(match[0]):
                yield post.text[max(0, at - 1)].isspace(), word, owner


def shorten(words: str, room: float, size: float) -> str:
    """Words, as many as fit."""
    if width(words, size, "-Oblique") <= room:
        return words
    while width(words + " ...", size, "-Oblique") > room:
        words = words.rpartition(" ")[0]
    return words + " ..."


def draw_text(page: Page, post: Post, colours: dict[str, str], x: float, y: float) -> float:
    """The post's text with its entities on their colours; returns the next free line."""
    placed: list[tuple[float, float, str]] = []
    at, last = x, None
    for space, word, entity in words_of(post):
        gap = 5 if space else 0
        if at + gap + width(word, 14) > WIDTH - MARGIN - 12:
            at, gap, y, last = x, 0, y + LINE, None
        if entity is not None:
            joined = gap + 6 if entity == last else 0  # the gap within a name is coloured as well
            edge = at + gap - joined
            page.box(edge - 2, y - 11, width(word, 14) + joined + 4, 22, colours[entity], 4)
        placed.append((at + gap, y, word))
        at, last = at + gap + width(word, 14), entity
    for left, line, word in placed:  # only now, so that no colour covers a letter
        page.text(left, line, word, 14)
    return y + LINE


def draw_picture(page: Page, post: Post, colours: dict[str, str], x: float, y: float) -> float:
    """The picture with its objects' boxes, or a note that there is none; returns its height."""
    if not isinstance(post.image, Path):
        page.box(x, y, PICTURE, 60, GROUND)
        page.text(x + 14, y + 30, "no picture", fill=GREY)
        return 60
    with Image.open(post.image) as opened:
        picture = opened.convert("RGB")
    height = PICTURE * picture.height / picture.width
    picture = picture.resize((PICTURE * SCALE, round(height * SCALE)), Image.Resampling.LANCZOS)
    page.image.paste(picture, (round(x * SCALE), round(y * SCALE)))
    for thing in post.objects:
        x1, y1, x2, y2 = thing.box
        corners = [x + x1 * PICTURE, y + y1 * height, x + x2 * PICTURE, y + y2 * height]
        page.draw.rectangle([c * SCALE for c in corners], None, colours[thing.id], 3 * SCALE)
        page.chip(corners[0] - 1, corners[1] - 10, post.surface(thing.id), colours[thing.id])
    return height


def draw_answers(
    page: Page,
    post: Post,
    triples: Sequence[Triple],
    nota: str | None,
    colours: dict[str, str],
    x: float,
    y: float,
) -> float:
    """One answer a line with the description that matched, then the pairs that hold none."""
    room = WIDTH - MARGIN - 12 - x
    for triple in triples:
        if triple.relation in (None, nota):
            continue
        end = page.chip(x, y, drawable(post.surface(triple.head.id)), colours[triple.head.id])
        end = page.text(end + 6, y, f"— {triple.relation} →", 12, INK, "-Bold")
        end = page.chip(end + 6, y, drawable(post.surface(triple.tail.id)), colours[triple.tail.id])
        page.text(end + 8, y, f"{triple.score:.2f}", 12, GREY)
        if triple.description:
            why = shorten(f"“{triple.description}”", room - 12, 11)
            page.text(x + 12, y + 20, why, 11, GREY, "-Oblique")
        y += 45
    silent = [t for t in triples if t.relation in (None, nota)]
    line = x
    if silent:
        line = page.text(x, y, "no relation: ", 11, GREY)
    for triple in silent:
        head, tail = (post.surface(one.id) for one in (triple.head, triple.tail))
        words = f"{head} → {tail} {triple.score:.2f}"
        if line + width(words, 11) > x + room:
            line, y = x, y + 17
        line = page.text(line, y, drawable(words), 11, GREY) + 14
    return y + (14 if silent else -20)


def draw_card(page: Page, post: Post, triples: Sequence[Triple], nota: str | None, y: int) -> int:
    """One post and its answers from ``y`` on; returns where its card ends."""
    colours = {a.id: COLOURS[i % len(COLOURS)] for i, a in enumerate(post.arguments)}
    left = MARGIN + 14
    right = left + PICTURE + 22
    end = y
    for filled in (False, True):  # first to learn the height, then on the card's white
        if filled:
            page.box(MARGIN - 6, y, WIDTH - 2 * MARGIN + 12, end - y, WHITE, 10)
        bottom = y + 16 + draw_picture(page, post, colours, left, y + 16)
        below = draw_text(page, post, colours, right, y + 30)
        page.box(right, below - 8, WIDTH - MARGIN - 12 - right, 1, PALE, 0)
        below = draw_answers(page, post, triples, nota, colours, right, below + 12)
        end = round(max(bottom, below) + 16)
    return end


def main() -> None:
    """Run the extractor on the chosen posts and draw what it says."""
    parser = argparse.ArgumentParser(description="Draw example posts and a model's answers.")
    parser.add_argument("posts", nargs="*", default=["concert", "bakery"], metavar="POST_ID")
    parser.add_argument("--model", default="mnre", help="a shipped model, or a folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "result.png")
    options = parser.parse_args()
    known = {post.id: post for post in read(FOLDER / "posts.jsonl")}
    if unknown := [name for name in options.posts if name not in known]:
        parser.error(f"no post {unknown[0]!r}; there are: {', '.join(known)}")
    extractor = Extractor.from_pretrained(options.model)
    chosen = [query.post for query in extractor.prepare([known[name] for name in options.posts])]
    page, end = Page(600 * len(chosen) + 40), MARGIN - 8
    for post, triples in zip(chosen, extractor.stream(chosen), strict=True):
        end = draw_card(page, post, triples, extractor.schema.nota, end) + 14
    image = page.image.crop((0, 0, WIDTH * SCALE, end * SCALE))
    with atomic_open(options.out, "wb") as stream:
        image.save(stream, "PNG", optimize=True)
    print(f"{options.out}: {', '.join(options.posts)}")


if __name__ == "__main__":
    main()
