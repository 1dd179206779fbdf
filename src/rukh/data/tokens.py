"""Token offsets and character offsets: a sentence of tokens as a text, and back without loss."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from rukh.errors import InputError

Offsets: TypeAlias = Sequence[tuple[int, int]]
"""Where each token stands in the text: ``[start, end)`` in characters."""


def join(tokens: Iterable[str]) -> tuple[str, list[tuple[int, int]]]:
    """The tokens joined by one space each, and their offsets.

    The offsets, not the spaces, say where tokens end, so tokens that are empty or hold white space
    survive.

    Example:
        >>> join(["New York", "", "!"])
        ('New York  !', [(0, 8), (9, 9), (10, 11)])
    """
    words = list(tokens)
    offsets, start = [], 0
    for word in words:
        offsets.append((start, start + len(word)))
        start += len(word) + 1
    return " ".join(words), offsets


def join_given(value: Any, field: str) -> tuple[str, list[tuple[int, int]]]:
    """What a file gives as tokens, joined. Raises InputError where it is no list of strings."""
    if not isinstance(value, list):
        raise InputError("missing, or not a list of strings", field=field)
    for index, word in enumerate(value):
        if not isinstance(word, str):
            raise InputError(f"{reprlib.repr(word)} is not a string", field=f"{field}[{index}]")
    return join(value)


def split(text: str, offsets: Offsets) -> list[str]:
    """The tokens that stand at these offsets: the inverse of :func:`join`."""
    return [text[start:end] for start, end in offsets]


def to_characters(offsets: Offsets, first: int, last: int) -> tuple[int, int]:
    """Characters ``[start, end)`` of the tokens ``[first, last)``."""
    return offsets[first][0], offsets[last - 1][1]


def to_tokens(offsets: Offsets, start: int, end: int) -> tuple[int, int]:
    """The tokens ``[first, last)`` within the characters ``[start, end)``; ``(0, 0)`` for none.

    The inverse of :func:`to_characters`: joined tokens all start and end at different characters,
    even empty ones.
    """
    inside = [i for i, (left, right) in enumerate(offsets) if start <= left and right <= end]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def words(text: str, edges: Iterable[int] = (), offsets: Offsets | None = None) -> Offsets:
    """Tokens such that no token crosses an edge: the given ones, or white-space words, cut there.

    Args:
        text: The text.
        edges: Character offsets, such as the starts and ends of entities.
        offsets: The text's own tokens, where it has any.

    Example:
        >>> words("Ann-Lee left", edges=[0, 3])
        [(0, 3), (3, 7), (8, 12)]
    """
    if offsets is None:
        offsets = [match.span() for match in re.finditer(r"\S+", text)]
    cuts = sorted(set(edges))
    pieces: list[tuple[int, int]] = []
    for start, end in offsets:
        inside = [start, *(cut for cut in cuts if start < cut < end), end]
        pieces.extend(pairwise(inside))
    return pieces
