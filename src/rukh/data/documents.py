"""Files that are one JSON document, read record by record: bounded, strict, each with its line."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import IO, Any

from pydantic import ValidationError

from rukh.data.format import Source
from rukh.data.lines import from_json
from rukh.errors import InputError
from rukh.records import Post, as_input_error

DOCUMENT_LIMIT = 64_000_000
"""The largest file that is one document, in bytes; FewRel's training file has about 30 million."""

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class Walk:
    """A place in a JSON document. Broken syntax raises InputError; what follows is then unknown.

    Example:
        >>> walk = Walk('{"a": [1, {"b": 2}]}')
        >>> [(key, i, walk.value()) for key in walk.members() for i in walk.elements()]
        [('a', 0, '1'), ('a', 1, '{"b": 2}')]
    """

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self._line, self._counted = 1, 0

    @property
    def line(self) -> int:
        """The line of the place, from 1."""
        if self.at > self._counted:
            self._line += self.text.count("\n", self._counted, self.at)
            self._counted = self.at
        return self._line

    def peek(self) -> str:
        """Go on to what is not white space, and say its first character; '' at the end."""
        found = _SPACE.match(self.text, self.at)
        self.at = self.at if found is None else found.end()
        return self.text[self.at : self.at + 1]

    def take(self, character: str) -> None:
        """Step over this character. Raises InputError where another stands."""
        found = self.peek()
        if found != character:
            column = self.at - self.text.rfind("\n", 0, self.at)
            known = repr(found) if found else "the end of the file"
            raise InputError(f"not JSON as expected: {known} for {character!r} at column {column}")
        self.at += 1

    def value(self) -> str:
        """Step over one value: its JSON, well-formed. Raises InputError where there is none."""
        self.peek()
        start = self.at
        try:
            _, self.at = _DECODER.raw_decode(self.text, start)
        except json.JSONDecodeError as error:
            self.at = error.pos
            raise InputError(f"not JSON: {error.msg} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"not readable JSON: {error}") from None
        return self.text[start : self.at]

    def elements(self) -> Iterator[int]:
        """Walk to each element of an array in turn; each must be stepped over."""
        return (number for number, _ in enumerate(self._parts("[]")))

    def members(self) -> Iterator[str]:
        """Walk to the value of each member of an object in turn; each must be stepped over."""
        seen = set()
        for _ in self._parts("{}"):
            if self.peek() != '"':
                self.take('"')
            key = from_json(self.value())
            if key in seen:
                raise InputError(f"the key {key!r} stands twice")
            seen.add(key)
            self.take(":")
            yield key

    def _parts(self, brackets: str) -> Iterator[None]:
        self.take(brackets[0])
        if self.peek() != brackets[1]:
            yield
            while self.peek() != brackets[1]:
                self.take(",")
                yield
        self.take(brackets[1])


class DocumentFormat(ABC):
    """Base of the formats whose file is one JSON document with many records."""

    limit = DOCUMENT_LIMIT

    def __init__(self, source: Source) -> None:
        self.source = source

    @abstractmethod
    def records(self, walk: Walk) -> Iterator[str]:
        """Walk to each record in turn and say its path, such as ``P17[3]``."""

    @abstractmethod
    def posts(self, record: Any, path: str) -> Iterator[Post]:
        """The posts of one record. Raises InputError or pydantic's ValidationError."""

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`. Broken syntax ends the reading."""
        walk = Walk("")
        try:
            walk = Walk(_text(stream, self.limit))
            if not walk.peek():
                return
            for path in self.records(walk):
                walk.peek()
                line, given = walk.line, walk.value()
                for result in self._results(given, path):
                    yield line, result
            if walk.peek():
                raise InputError("not JSON: more after the end of the document")
        except InputError as error:
            yield walk.line, error

    def _results(self, given: str, path: str) -> list[Post] | list[InputError]:
        try:
            return list(self.posts(from_json(given), path))
        except ValidationError as error:
            found = as_input_error(error)
        except InputError as error:
            found = error
        field = found.field or ""
        place = path + (field if field.startswith("[") or not field else f".{field}")
        return [InputError(found.problem, field=place, fix=found.fix)]


def _text(stream: IO[bytes], limit: int) -> str:
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise InputError(
            f"the file is larger than {limit:,} bytes, and is read as a whole",
            fix="split it into several files",
        )
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}",
            fix="save the file as UTF-8",
        ) from None
