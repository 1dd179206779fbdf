"""Convert between token offsets and character offsets of a text, without loss."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from rukh.errors import InputError
from rukh.records import Argument, Post, TextEntity
from rukh.utils.parsing import expect


class Tokens(NamedTuple):
    """A text and the character offsets ``[start, end)`` of its tokens, which may be empty."""

    text: str
    offsets: tuple[tuple[int, int], ...]

    @classmethod
    def join(cls, words: Iterable[str]) -> Tokens:
        """Join words with single spaces.

        Example:
            >>> Tokens.join(["New York", "", "!"])
            Tokens(text='New York  !', offsets=((0, 8), (9, 9), (10, 11)))
        """
        words = list(words)
        offsets, start = [], 0
        for word in words:
            offsets.append((start, start + len(word)))
            start += len(word) + 1
        return cls(" ".join(words), tuple(offsets))

    @classmethod
    def parse(cls, value: Any, field: str) -> Tokens:
        """Join the tokens of a file. Raises InputError if they are not a list of strings."""
        for index, word in enumerate(expect(value, list, "a list of strings", field)):
            expect(word, str, "a string", f"{field}[{index}]")
        return cls.join(value)

    @classmethod
    def characters(cls, text: str) -> Tokens:
        """Make every character of a text a token."""
        return cls(text, tuple((i, i + 1) for i in range(len(text))))

    @classmethod
    def of_post(cls, post: Post) -> Tokens:
        """Return the tokens of a post, or else its words, split where an entity starts or ends.

        Example:
            >>> ann = TextEntity(id="a", start=0, end=3)
            >>> Tokens.of_post(Post(id="1", text="Ann-Lee left", entities=[ann])).words
            ['Ann', '-Lee', 'left']
        """
        offsets: Iterable[tuple[int, int]] | None = post.tokens
        if offsets is None:
            offsets = (match.span() for match in re.finditer(r"\S+", post.text))
        edges = sorted({edge for entity in post.entities for edge in (entity.start, entity.end)})
        cut: list[tuple[int, int]] = []
        for start, end in offsets:
            cut.extend(pairwise([start, *(edge for edge in edges if start < edge < end), end]))
        return cls(post.text, tuple(cut))

    @property
    def words(self) -> list[str]:
        """The tokens as strings."""
        return [self.text[start:end] for start, end in self.offsets]

    def to_characters(self, span: Any, field: str) -> tuple[int, int]:
        """Convert a span ``[first, last)`` of tokens, as in a file, to characters.

        Raises:
            InputError: The value is not a span of these tokens, or covers only white space.
        """
        if not isinstance(span, list | tuple) or [type(edge) for edge in span] != [int, int]:
            raise InputError(
                f"{reprlib.repr(span)} is not a span [start, end) of two integers", field=field
            )
        first, last = span
        if not 0 <= first < last <= len(self.offsets):
            raise InputError(
                f"[{first}, {last}) is empty or reaches outside [0, {len(self.offsets)})",
                field=field,
                fix="the start is inclusive, the end exclusive",
            )
        start, end = self.offsets[first][0], self.offsets[last - 1][1]
        if not self.text[start:end].strip():
            raise InputError(f"[{first}, {last}) covers only white space", field=field)
        return start, end

    def to_tokens(self, argument: Argument) -> tuple[int, int]:
        """Return the span of tokens within an entity. Raises InputError for an object."""
        if not isinstance(argument, TextEntity):
            raise InputError(
                f"{argument.id!r} is a visual object, which the format cannot hold",
                field="objects",
                fix="write jsonl or more",
            )
        low, high = argument.start, argument.end
        inside = [i for i, (start, end) in enumerate(self.offsets) if low <= start and end <= high]
        if not inside:
            raise InputError(f"no token lies within {argument.id!r}", field="tokens")
        return inside[0], inside[-1] + 1


def bio_spans(labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """Decode BIO labels into token spans ``(first, last, type)``, where ``last`` is exclusive.

    An ``I-`` label that does not continue a span of its type starts a new span.

    Example:
        >>> bio_spans(["B-PER", "I-PER", "O", "I-LOC"])
        [(0, 2, 'PER'), (3, 4, 'LOC')]
    """
    spans: list[tuple[int, int, str]] = []
    previous = "O"
    for index, label in enumerate(labels):
        if label != "O":
            start = index
            if label.startswith("I-") and label[2:] == previous[2:]:
                start = spans.pop()[0]
            spans.append((start, index + 1, label[2:]))
        previous = label
    return spans
