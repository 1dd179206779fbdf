"""Formats with one record per line, read line by line with a limit on the line length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import IO

from pydantic import ValidationError

from rukh.data.format import Source, locate_errors
from rukh.errors import InputError
from rukh.records import Post, as_input_error
from rukh.utils.parsing import decode_utf8

LINE_LIMIT = 1_000_000
"""The maximum length of a line without image bytes, in bytes."""


class LineFormat(ABC):
    """Base of the formats with one record per line."""

    limit = LINE_LIMIT

    def __init__(self, source: Source) -> None:
        self.source = source

    @abstractmethod
    def parse(self, line: str, number: int) -> Post:
        """Parse one line. Raises InputError or pydantic's ValidationError if it is invalid."""

    @abstractmethod
    def dump(self, post: Post) -> Iterator[str]:
        """Yield the lines of a post. Raises InputError if the format cannot represent the post."""

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`."""
        for number, line in lines(stream, self.limit):
            result: Post | InputError
            try:
                result = line if isinstance(line, InputError) else self.parse(line, number)
            except (InputError, ValidationError) as error:
                result = as_input_error(error)
            yield number, result

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """See :meth:`rukh.data.format.Format.write`."""
        for post in posts:
            with locate_errors(post):
                for line in self.dump(post):
                    stream.write(line.encode("utf-8") + b"\n")


def lines(stream: IO[bytes], limit: int = LINE_LIMIT) -> Iterator[tuple[int, str | InputError]]:
    r"""Yield the number (from 1) and the text of each non-blank line; an error for an invalid line.

    Only ``\n`` and ``\r\n`` end a line. A byte order mark at the start of the file is removed.
    """
    number = 0
    while raw := stream.readline(limit + 1):
        number += 1
        if len(raw) > limit and not raw.endswith(b"\n"):
            while (rest := stream.readline(limit)) and not rest.endswith(b"\n"):
                pass
            yield number, InputError(f"the line is longer than {limit:,} bytes")
            continue
        try:
            line = decode_utf8(raw)
        except InputError as error:
            yield number, error
            continue
        if number == 1:
            line = line.removeprefix("\ufeff")
        if line.strip():
            yield number, line.rstrip("\r\n")
