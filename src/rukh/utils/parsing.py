"""Strict parsing of JSON and Python literals: no repeated keys, NaN or lone surrogates.

Also the two ways in which a row gives an image: the path of a local file, or its encoded bytes.

Errors name the position, key or field. The caller adds the name of the file.
"""

from __future__ import annotations

import ast
import base64
import json
import math
import reprlib
from collections.abc import Mapping
from types import UnionType
from typing import Any

from rukh.errors import InputError

IMAGE_LIMIT = 20_000_000
"""The maximum size of an image inside a row, in bytes."""


def decode_utf8(data: bytes) -> str:
    """Decode UTF-8. Raises InputError with the position of the first invalid byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}",
            fix="save the file as UTF-8",
        ) from None


def parse_json(text: str) -> Any:
    """Parse JSON. Raises InputError if the text is invalid.

    Example:
        >>> parse_json('{"a": [1, 2.5]}')
        {'a': [1, 2.5]}
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite
        )
    except InputError:
        raise
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise InputError(f"not JSON: {error.msg} at {line}column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not readable JSON: {error}") from None
    if "\\u" in text:  # an escape, unlike UTF-8, can encode half a surrogate pair
        _check_encodable(value)
    return value


def expect(value: Any, kind: type | UnionType, what: str, field: str | None = None) -> Any:
    """Return ``value`` if it is of type ``kind``. Otherwise, raise InputError: needs ``what``."""
    if not isinstance(value, kind):
        raise InputError(f"needs {what}, not {reprlib.repr(value)}", field=field)
    return value


def expect_index(value: Any, size: int, what: str, field: str) -> int:
    """Return ``value`` if it is the index of one of ``size`` items. Otherwise, raise InputError."""
    if type(value) is not int or not 0 <= value < size:
        raise InputError(f"{reprlib.repr(value)} is not the index of {what}", field=field)
    return value


def local_path(value: object, field: str) -> str:
    """Return ``value`` if it can be the path of a local file. Otherwise, raise InputError."""
    if not isinstance(value, str) or not value or "\0" in value or "://" in value:
        raise InputError(
            f"{reprlib.repr(value)} is not the path of a file",
            field=field,
            fix="images must be local files",
        )
    return value


def decode_image(value: Mapping[str, Any], field: str = "image") -> bytes:
    """Return the bytes of an image that is given as ``{"base64": "..."}``. Raises InputError.

    Example:
        >>> decode_image({"base64": "R0lG"})
        b'GIF'
    """
    encoded = value.get("base64")
    if len(value) != 1 or not isinstance(encoded, str):
        raise InputError('neither a path nor {"base64": "..."}', field=field)
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise InputError(f"not base64: {error}", field=field) from None
    check_image_size(data, field)
    return data


def check_image_size(data: bytes, field: str = "image") -> None:
    """Raise InputError if an image is too large for a row."""
    if len(data) > IMAGE_LIMIT:
        raise InputError(f"an image of {len(data):,} bytes, more than {IMAGE_LIMIT:,}", field=field)


def parse_literal(text: str) -> Any:
    """Parse a Python literal of JSON's types, without running code. Raises InputError.

    Example:
        >>> parse_literal("{'pos': (0, 2)}")
        {'pos': (0, 2)}
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
        value = ast.literal_eval(tree)
        _check_encodable(value)
    except SyntaxError as error:
        raise InputError(f"not a Python literal: {error.msg} at column {error.offset}") from None
    except InputError:
        raise
    except (ValueError, TypeError, RecursionError, MemoryError):
        # Python's own messages contain addresses of syntax tree objects.
        raise InputError(
            "not a Python literal of strings, finite numbers, lists and dicts only"
        ) from None
    _check_keys(tree.body)
    return value


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(f"the key {reprlib.repr(repeated)} occurs twice in one object")
    return record


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise InputError(f"{number} is not a finite number")
    return value


def _check_keys(node: ast.expr) -> None:
    if isinstance(node, ast.Dict):
        _unique([(key.value, None) for key in node.keys if isinstance(key, ast.Constant)])
        for value in node.values:
            _check_keys(value)


def _check_encodable(value: Any) -> None:
    """Check that a value can be saved as JSON. Raises InputError, ValueError or TypeError."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError as error:
        before = error.object[max(0, error.start - 20) : error.start]
        raise InputError(
            f"after {before!r}: half of a UTF-16 surrogate pair, which no file can hold"
        ) from None
