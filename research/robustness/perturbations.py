"""Perturbations of a post: noise in its words, wrong inputs, moved boxes, swapped pairs.

A perturbation takes a typed post and a severity from 0 (no change, or the row's own baseline) to 3,
and returns the changed post; those of images are in :mod:`research.robustness.image_perturbations`.
The random generator is seeded anew for each post and perturbation and draws the same numbers at
every severity, so that a higher severity changes what a lower one changes. Argument ids and the
number of pairs stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from rukh.errors import InputError
from rukh.modeling.image_io import load_image
from rukh.records import MAX_TEXT, Argument, Box, Pair, Post, VisualObject

SHARES = (0.0, 0.25, 0.5, 1.0)
"""Share of the candidates that a perturbation changes, by severity."""
TYPOS = (0.0, 0.05, 0.15, 0.3)
"""Share of the words that are misspelt, by severity."""
JITTER = (0.0, 0.05, 0.15, 0.3)
"""Standard deviation of a box's edges, in widths and heights of the box, by severity."""
MIN_SIDE = 0.01
"""Smallest side of a moved or cropped box, as a fraction of the image."""
SWAPPED = "swapped_by_study"
"""Key in a pair's ``meta``: its label is that of the other order."""

_EMOJI = ("😀", "😂", "🔥", "❤️", "👏", "🎉", "😍", "🙏", "💯", "👀")
# Tokenized tweets separate "#" from its word, and "RT @name" from its colon.
_HANDLES = re.compile(r"(?:\bRT\s+)?@\s?\w+(?:\s?:(?=\s|$))?\s*|#\s?\w+\s*|https?://\S+\s*")


class Others:
    """What other posts hold, for perturbations that replace one thing with another.

    Args:
        posts: All posts of the study, typed.
        foreign: Images of something else, for ``foreign-pictures``.
    """

    def __init__(self, posts: Sequence[Post], foreign: Sequence[Path] = ()) -> None:
        self.foreign = list(foreign)
        self.types = sorted({a.type for post in posts for a in post.arguments if a.type})
        self.captions = list(dict.fromkeys(post.caption for post in posts if post.caption))
        images = dict.fromkeys(post.image for post in posts if post.image is not None)
        self.images = [image for image in images if _is_readable(image)]
        self._readable = set(self.images)
        self.words: dict[str | None, list[tuple[str, str]]] = {}
        for post in posts:
            for entity in post.entities:
                words = self.words.setdefault(entity.type, [])
                words.append((post.id, post.surface(entity.id)))

    def has_image(self, post: Post) -> bool:
        """Whether a post has an image that can be read."""
        return post.image in self._readable


Perturbation: TypeAlias = Callable[[Post, int, np.random.Generator, Others], Post]


class Edit(NamedTuple):
    """Characters ``start`` to ``end`` (exclusive) of a text become ``words``."""

    start: int
    end: int
    words: str


def rewrite(post: Post, edits: Iterable[Edit]) -> Post:
    """The post with its text edited and its entities' offsets adjusted.

    Of overlapping edits only the first is made. Edits that cross an entity's edge are skipped, and
    so are those that would leave only white space of an entity. Insertions at an entity's edge stay
    outside of it. The source's tokens are dropped.

    Example:
        >>> post = Post(id="1", text="in Rome now", entities=[{"id": "r", "start": 3, "end": 7}])
        >>> changed = rewrite(post, [Edit(0, 2, "near"), Edit(3, 7, "Old Oslo"), Edit(7, 7, "!")])
        >>> changed.text, changed.surface("r")
        ('near Old Oslo! now', 'Old Oslo')
    """
    edges = {edge for e in post.entities for edge in (e.start, e.end)}
    made: list[Edit] = []
    for edit in sorted(edits, key=lambda one: one[:2]):
        apart = not made or edit.start >= made[-1].end
        if apart and not any(edit.start < edge < edit.end for edge in edges):
            made.append(edit)
    for entity in post.entities:
        inside = [e for e in made if e.start < entity.end and e.end > entity.start]
        if inside and not _edited(post.text, inside, entity.start, entity.end).strip():
            made = [edit for edit in made if edit not in inside]
    text = _edited(post.text, made, 0, len(post.text))
    if not made or len(text) > MAX_TEXT:
        return post
    entities = tuple(
        e.model_copy(
            update={"start": _moved(e.start, made, True), "end": _moved(e.end, made, False)}
        )
        for e in post.entities
    )
    return post.model_copy(update={"text": text, "entities": entities, "tokens": None})


def _edited(text: str, edits: Sequence[Edit], start: int, end: int) -> str:
    """A part of a text with the edits inside it."""
    parts = []
    for edit in edits:
        parts += [text[start : edit.start], edit.words]
        start = edit.end
    return "".join([*parts, text[start:end]])


def _moved(edge: int, edits: Sequence[Edit], start: bool) -> int:
    """The new offset of an entity's edge; an insertion at the edge moves only a start."""
    return edge + sum(
        len(edit.words) - (edit.end - edit.start)
        for edit in edits
        if edit.end <= edge and (start or edit.start < edge)
    )


def typos(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Misspell a share of the words of four letters or more: two letters swapped, one removed, or
    one doubled.
    """
    edits = []
    for match in re.finditer(r"[^\W\d_]{4,}", post.text):
        hit, kind, place = random.random(), random.integers(3), random.random()
        at = match.start() + 1 + int(place * (len(match[0]) - 2))
        pair = post.text[at : at + 2]
        if hit < TYPOS[severity]:
            words = (pair[::-1], pair[1], pair[0] + pair)[kind]
            edits.append(Edit(at, at + 2, words))
    return rewrite(post, edits)


def casing(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Write a share of the words in lower case or, one in four of these, in capitals."""
    edits = []
    for match in re.finditer(r"[^\W\d_]+", post.text):
        hit, up = random.random(), random.random() < 0.25
        words = match[0].upper() if up else match[0].lower()
        if hit < SHARES[severity] and words != match[0]:
            edits.append(Edit(match.start(), match.end(), words))
    return rewrite(post, edits)


def dropped_handles(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Remove a share of the handles, hashtags and links that contain no entity."""
    edits = []
    for match in _HANDLES.finditer(post.text):
        start, end = match.span()
        free = all(e.end <= start or e.start >= end for e in post.entities)
        if random.random() < SHARES[severity] and free:
            edits.append(Edit(start, end, ""))
    return rewrite(post, edits)


def emoji(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Insert two emoji after words in a share of the posts, never inside an entity."""
    gaps = [match.end() for match in re.finditer(r"\S+", post.text)]
    gaps = [gap for gap in gaps if not any(e.start < gap < e.end for e in post.entities)]
    if random.random() >= SHARES[severity] or not gaps:
        return post
    places = sorted(random.choice(gaps, size=2).tolist())
    return rewrite(post, [Edit(p, p, f" {random.choice(_EMOJI)}") for p in places])


def entity_swap(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Replace a share of the entities with another entity of the same type from another post."""
    edits = []
    for entity in post.entities:
        hit, own = random.random(), post.surface(entity.id)
        pool = others.words.get(entity.type, [])
        drawn = [pool[i] for i in random.integers(len(pool), size=8)] if pool else []
        words = next((words for owner, words in drawn if owner != post.id and words != own), own)
        if hit < SHARES[severity] and words != own:
            edits.append(Edit(entity.start, entity.end, words))
    return rewrite(post, edits)


def wrong_types(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Give a share of the typed arguments another type that occurs in the data."""

    def with_wrong_type(argument: Argument) -> Argument:
        hit, place = random.random(), random.random()
        wrong = [name for name in others.types if name != argument.type]
        if argument.type is None or not wrong or hit >= SHARES[severity]:
            return argument
        return argument.model_copy(update={"type": wrong[int(place * len(wrong))]})

    return post.model_copy(
        update={
            "entities": tuple(with_wrong_type(e) for e in post.entities),
            "objects": tuple(with_wrong_type(o) for o in post.objects),
        }
    )


def caption_swap(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Give a share of the posts with a caption another post's caption."""
    hit, place = random.random(), random.random()
    if post.caption is None or hit >= SHARES[severity] or len(others.captions) < 2:
        return post
    at = int(place * len(others.captions))
    other = others.captions[at]
    if other == post.caption:
        other = others.captions[at - 1]
    return post.model_copy(update={"caption": other})


def caption_removal(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Remove the caption of a share of the posts."""
    gone = random.random() < SHARES[severity]
    return post.model_copy(update={"caption": None}) if gone else post


def jittered_boxes(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Move every edge of every box by a normally distributed share of the box's side."""

    def jittered(thing: VisualObject) -> VisualObject:
        x1, y1, x2, y2 = thing.box
        by = random.standard_normal(4) * JITTER[severity] * np.array([x2 - x1, y2 - y1] * 2)
        return thing.model_copy(update={"box": clip_box(*(np.array(thing.box) + by).tolist())})

    if not severity:
        return post
    return post.model_copy(update={"objects": tuple(jittered(o) for o in post.objects)})


def clip_box(x1: float, y1: float, x2: float, y2: float) -> Box:
    """The nearest box inside the image whose sides are at least :data:`MIN_SIDE`.

    Example:
        >>> clip_box(0.5, 1.2, 0.25, 1.5)
        (0.25, 0.99, 0.5, 1.0)
    """

    def side(low: float, high: float) -> tuple[float, float]:
        low, high = min(max(min(low, high), 0.0), 1.0), min(max(low, high, 0.0), 1.0)
        if high - low < MIN_SIDE:
            low = min(max((low + high - MIN_SIDE) / 2, 0.0), 1.0 - MIN_SIDE)
            high = low + MIN_SIDE
        return low, high

    (left, right), (top, bottom) = side(x1, x2), side(y1, y2)
    return left, top, right, bottom


def reversed_pairs(post: Post, severity: int, random: np.random.Generator, others: Others) -> Post:
    """Swap head and tail of a share of the pairs; their labels change accordingly."""
    pairs: list[Pair] = []
    for pair in post.pairs or ():
        if random.random() < SHARES[severity]:
            swapped = {"head": pair.tail, "tail": pair.head, "meta": pair.meta | {SWAPPED: True}}
            pair = pair.model_copy(update=swapped)
        pairs.append(pair)
    return post if post.pairs is None else post.model_copy(update={"pairs": tuple(pairs)})


def _is_readable(image: Path | bytes) -> bool:
    try:
        load_image(image)
    except InputError:
        return False
    return True
