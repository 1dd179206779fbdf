"""Files of one record a line, read strictly: bounded lines, UTF-8, no value that cannot be kept."""

from __future__ import annotations

import ast
import json
import math
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import IO, Any

from pydantic import ValidationError

from rukh.data.format import Source
from rukh.errors import InputError
from rukh.records import Post, as_input_error

LINE_LIMIT = 1_000_000
"""The longest line of a text-only record, in bytes."""


class LineFormat(ABC):
    """Base of the formats with one record a line."""

    limit = LINE_LIMIT

    def __init__(self, source: Source) -> None:
        self.source = source

    @abstractmethod
    def parse(self, line: str, number: int) -> Post:
        """The post of one line. Raises InputError or pydantic's ValidationError."""

    @abstractmethod
    def dump(self, post: Post) -> Iterator[str]:
        """The lines of one post. Raises InputError for what the format cannot hold."""

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`."""
        for number, line in lines(stream, self.limit):
            result: Post | InputError
            try:
                result = line if isinstance(line, InputError) else self.parse(line, number)
            except ValidationError as error:
                result = as_input_error(error)
            except InputError as error:
                result = error
            yield number, result

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """See :meth:`rukh.data.format.Format.write`."""
        for post in posts:
            try:
                for line in self.dump(post):
                    stream.write(line.encode("utf-8") + b"\n")
            except UnicodeEncodeError:
                raise InputError(
                    "half of a UTF-16 surrogate pair", where=f"post {post.id}"
                ) from None
            except InputError as error:
                raise error.at(f"post {post.id}") from None


def lines(stream: IO[bytes], limit: int = LINE_LIMIT) -> Iterator[tuple[int, str | InputError]]:
    r"""Numbered lines (from 1) that are not blank, or what is wrong with a line.

    Only ``\n`` and ``\r\n`` end a line: U+2028 and its kin may stand inside a string, which is why
    ``str.splitlines`` would not do. A byte order mark before the first line is dropped.
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
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            yield (
                number,
                InputError(
                    f"not UTF-8: byte 0x{raw[error.start]:02x} at {error.start}",
                    fix="save the file as UTF-8",
                ),
            )
            continue
        if number == 1:
            line = line.removeprefix("\ufeff")
        if line.strip():
            yield number, line.rstrip("\r\n")


def from_json(line: str) -> Any:
    """A JSON value; duplicate keys, NaN, infinities and lone surrogates are errors.

    Raises:
        InputError: What is wrong, with the column or the key.
    """
    try:
        value = json.loads(
            line, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite
        )
    except InputError:
        raise
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not readable JSON: {error}") from None
    if "\\u" in line:  # UTF-8 itself cannot hold a surrogate; only an escape can
        _refuse_surrogates(value)
    return value


def from_literal(line: str) -> Any:
    """A Python literal, never evaluated; duplicate keys and lone surrogates are errors.

    Raises:
        InputError: What is wrong, with the column or the key.
    """
    try:
        tree = ast.parse(line.strip(), mode="eval")
        value = ast.literal_eval(tree)
    except SyntaxError as error:
        raise InputError(f"not a Python literal: {error.msg} at column {error.offset}") from None
    except (ValueError, TypeError, RecursionError, MemoryError):
        # Their messages name syntax-tree objects by address, which helps nobody.
        raise InputError(
            "not a Python literal: it may hold only strings, numbers, lists and dicts"
        ) from None
    _refuse_repeated_keys(tree.body)
    if "\\" in line:
        _refuse_surrogates(value)
    return value


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(f"the key {reprlib.repr(repeated)} stands twice")
    return record


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise InputError(f"{number} is not a finite number")
    return value


def _refuse_repeated_keys(node: ast.expr) -> None:
    if isinstance(node, ast.Dict):
        _unique([(key.value, None) for key in node.keys if isinstance(key, ast.Constant)])
        for value in node.values:
            _refuse_repeated_keys(value)


def _refuse_surrogates(value: Any, field: str = "") -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_surrogates(key, field)
            _refuse_surrogates(item, f"{field}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_surrogates(item, f"{field}[{index}]")
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        # A field's name must be printable itself.
        name = field.encode("utf-8", "replace").decode("utf-8")
        raise InputError(
            "half of a UTF-16 surrogate pair, which no file can hold", field=name or None
        )
