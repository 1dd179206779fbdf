"""Draw ``docs/result.png``: example posts and a model's predictions.

    python docs/draw_result.py [--model mnre] [--out docs/result.png] [POST_ID ...]

Arguments, relations, probabilities and matched descriptions come from the extractor, errors
included; only the layout is made here.
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
from rukh.data.readers import read
from rukh.utils.files import atomic_open

FOLDER = Path(__file__).parents[1] / "examples"
SCALE = 2  # pixels per unit; all sizes below are in units
WIDTH, IMAGE, MARGIN, LINE = 860, 330, 22, 27
INK, GREY, PALE, GROUND, WHITE = "#22223b", "#6b7280", "#d9dee5", "#eef1f5", "#ffffff"
# One colour for each argument of a post, in order; light enough for dark ink.
COLOURS = ("#f9c6b0", "#b9dcc6", "#bcd7f0", "#e3cdf0", "#f7e3a1", "#f4bfd3", "#c9e8e6", "#dcd3c4")


@cache
def font(size: float, style: str = "") -> ImageFont.FreeTypeFont:
    """DejaVu Sans from matplotlib, so that the drawing is the same on every machine."""
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{style}.ttf", size * SCALE)


class Page:
    """An image that is drawn on in units."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, height * SCALE), GROUND)
        self.draw = ImageDraw.Draw(self.image)

    def box(self, x: float, y: float, w: float, h: float, fill: str, corner: float = 5) -> None:
        """Draw a filled box with rounded corners."""
        self.draw.rounded_rectangle(
            [x * SCALE, y * SCALE, (x + w) * SCALE, (y + h) * SCALE], corner * SCALE, fill
        )

    def text(
        self, x: float, y: float, text: str, size: float = 13, fill: str = INK, style: str = ""
    ) -> float:
        """Write one line, vertically centred on ``y``, and return the x where it ends."""
        self.draw.text((x * SCALE, y * SCALE), text, fill, font(size, style), anchor="lm")
        return x + width(text, size, style)

    def chip(self, x: float, y: float, text: str, colour: str) -> float:
        """Write an argument's name on its colour, and return the x where it ends."""
        self.box(x, y - 10, width(text) + 10, 20, colour)
        return self.text(x + 5, y, text) + 5


def width(text: str, size: float = 13, style: str = "") -> float:
    """The width of a line of text."""
    return font(size, style).getlength(text) / SCALE


def drawable(text: str) -> str:
    """The text without emoji, which the font lacks."""
    return "".join(c for c in text if ord(c) < 0x1F000)


def words_of(post: Post) -> Iterator[tuple[bool, str, str | None]]:
    """Split a text into words, also at the edges of entities.

    Yields: Whether white space precedes the word, the word, and the id of its entity.
    """
    edges = {edge for entity in post.entities for edge in (entity.start, entity.end)}
    for first, last in pairwise(sorted({0, len(post.text), *edges})):
        owner = next((e.id for e in post.entities if e.start <= first < e.end), None)
        for match in re.finditer(r"\S+", post.text[first:last]):
            at = first + match.start()
            if word := drawable(match[0]):
                yield post.text[max(0, at - 1)].isspace(), word, owner


def shorten(text: str, room: float, size: float) -> str:
    """As many words of a text as fit on a line."""
    if width(text, size, "-Oblique") <= room:
        return text
    while width(text + " ...", size, "-Oblique") > room:
        text = text.rpartition(" ")[0]
    return text + " ..."


def draw_text(page: Page, post: Post, colours: dict[str, str], x: float, y: float) -> float:
    """Draw the text with coloured entities, and return the y of the next line."""
    placed: list[tuple[float, float, str]] = []
    at, last = x, None
    for space, word, entity in words_of(post):
        gap = 5 if space else 0
        if at + gap + width(word, 14) > WIDTH - MARGIN - 12:
            at, gap, y, last = x, 0, y + LINE, None
        if entity is not None:
            joint = gap + 6 if entity == last else 0  # a gap within an entity is coloured as well
            edge = at + gap - joint
            page.box(edge - 2, y - 11, width(word, 14) + joint + 4, 22, colours[entity], 4)
        placed.append((at + gap, y, word))
        at, last = at + gap + width(word, 14), entity
    for left, line, word in placed:  # after all colours, which would cover letters
        page.text(left, line, word, 14)
    return y + LINE


def draw_image(page: Page, post: Post, colours: dict[str, str], x: float, y: float) -> float:
    """Draw the image with its objects' boxes, or a note that there is none; return its height."""
    if not isinstance(post.image, Path):
        page.box(x, y, IMAGE, 60, GROUND)
        page.text(x + 14, y + 30, "no image", fill=GREY)
        return 60
    with Image.open(post.image) as opened:
        image = opened.convert("RGB")
    height = IMAGE * image.height / image.width
    image = image.resize((IMAGE * SCALE, round(height * SCALE)), Image.Resampling.LANCZOS)
    page.image.paste(image, (round(x * SCALE), round(y * SCALE)))
    for thing in post.objects:
        x1, y1, x2, y2 = thing.box
        corners = [x + x1 * IMAGE, y + y1 * height, x + x2 * IMAGE, y + y2 * height]
        page.draw.rectangle([c * SCALE for c in corners], None, colours[thing.id], 3 * SCALE)
        page.chip(corners[0] - 1, corners[1] - 10, post.surface(thing.id), colours[thing.id])
    return height


def draw_triples(
    page: Page,
    post: Post,
    triples: Sequence[Triple],
    nota: str | None,
    colours: dict[str, str],
    x: float,
    y: float,
) -> float:
    """Draw each triple with the matched description, then the pairs without a relation.

    Returns: The y below the last line.
    """
    room = WIDTH - MARGIN - 12 - x
    for triple in triples:
        if triple.relation in (None, nota):
            continue
        end = page.chip(x, y, drawable(post.surface(triple.head.id)), colours[triple.head.id])
        end = page.text(end + 6, y, f"— {triple.relation} →", 12, INK, "-Bold")
        end = page.chip(end + 6, y, drawable(post.surface(triple.tail.id)), colours[triple.tail.id])
        page.text(end + 8, y, f"{triple.score:.2f}", 12, GREY)
        if triple.description:
            quoted = shorten(f"“{triple.description}”", room - 12, 11)
            page.text(x + 12, y + 20, quoted, 11, GREY, "-Oblique")
        y += 45
    without = [t for t in triples if t.relation in (None, nota)]
    line = x
    if without:
        line = page.text(x, y, "no relation: ", 11, GREY)
    for triple in without:
        head, tail = (post.surface(one.id) for one in (triple.head, triple.tail))
        summary = f"{head} → {tail} {triple.score:.2f}"
        if line + width(summary, 11) > x + room:
            line, y = x, y + 17
        line = page.text(line, y, drawable(summary), 11, GREY) + 14
    return y + (14 if without else -20)


def draw_card(page: Page, post: Post, triples: Sequence[Triple], nota: str | None, y: int) -> int:
    """Draw one post and its triples from ``y`` on, and return the y where its card ends."""
    colours = {a.id: COLOURS[i % len(COLOURS)] for i, a in enumerate(post.arguments)}
    left = MARGIN + 14
    right = left + IMAGE + 22
    end = y
    for filled in (False, True):  # first to measure the height, then on the white card
        if filled:
            page.box(MARGIN - 6, y, WIDTH - 2 * MARGIN + 12, end - y, WHITE, 10)
        bottom = y + 16 + draw_image(page, post, colours, left, y + 16)
        below = draw_text(page, post, colours, right, y + 30)
        page.box(right, below - 8, WIDTH - MARGIN - 12 - right, 1, PALE, 0)
        below = draw_triples(page, post, triples, nota, colours, right, below + 12)
        end = round(max(bottom, below) + 16)
    return end


def main() -> None:
    """Extract triples from the chosen posts and draw them."""
    parser = argparse.ArgumentParser(description="Draw example posts and a model's predictions.")
    parser.add_argument("posts", nargs="*", default=["concert", "bakery"], metavar="POST_ID")
    parser.add_argument("--model", default="mnre", help="a shipped model, or a folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "result.png")
    options = parser.parse_args()
    posts = {post.id: post for post in read(FOLDER / "posts.jsonl")}
    if unknown := [name for name in options.posts if name not in posts]:
        parser.error(f"no post {unknown[0]!r}; there are: {', '.join(posts)}")
    extractor = Extractor.from_pretrained(options.model)
    queries = extractor.prepare([posts[name] for name in options.posts])
    page, end = Page(600 * len(queries) + 40), MARGIN - 8
    for query, triples in zip(queries, extractor.predict(queries), strict=True):
        end = draw_card(page, query.post, triples, extractor.schema.nota, end) + 14
    image = page.image.crop((0, 0, WIDTH * SCALE, end * SCALE))
    with atomic_open(options.out, "wb") as stream:
        image.save(stream, "PNG", optimize=True)
    print(f"{options.out}: {', '.join(options.posts)}")


if __name__ == "__main__":
    main()
