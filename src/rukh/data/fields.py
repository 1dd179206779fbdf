"""Unknown fields of a row: misspelt ones are refused, those of the user are kept in ``meta``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from rukh.errors import InputError
from rukh.records import Post
from rukh.utils.parsing import expect

SIMILARITY = 0.7
"""Minimum similarity of an unknown field to a known one for which it is taken for a misspelling."""


def check_names(names: Collection[str], known: Collection[str]) -> None:
    """Raise InputError for an unknown field whose name is similar to a known field that is missing.

    Example:
        >>> check_names(["text", "text_length", "author"], ["text", "entities"])
        >>> check_names(["text", "entites"], ["text", "entities"])
        Traceback (most recent call last):
        ...
        rukh.errors.InputError: entites: no such field; did you mean 'entities'? rename it
    """
    missing = [name for name in known if name not in names]
    for name in names:
        if name in known:
            continue
        if close := get_close_matches(str(name).lower(), missing, n=1, cutoff=SIMILARITY):
            fix = f"did you mean {close[0]!r}? rename it"
            raise InputError("no such field", field=str(name), fix=fix)


def keep_unknown_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in which the fields that a post does not have are in ``meta``.

    A value that JSON cannot represent, such as a date, becomes a string.

    Raises:
        InputError: A field seems misspelt, is also in ``meta``, or ``meta`` is no object.

    Example:
        >>> keep_unknown_fields({"text": "Ann left", "author": "Bob"})
        {'text': 'Ann left', 'meta': {'author': 'Bob'}}
    """
    known = Post.model_fields
    unknown = {name: _to_json(value) for name, value in row.items() if name not in known}
    if not unknown:
        return dict(row)
    check_names(row.keys(), known)
    meta = expect(row.get("meta") or {}, Mapping, "an object", "meta")
    if repeated := sorted(unknown.keys() & meta.keys()):
        raise InputError("is also in `meta`", field=repeated[0], fix="keep one of them")
    fields = {name: value for name, value in row.items() if name in known}
    return fields | {"meta": {**meta, **unknown}}


def _to_json(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value
