"""Errors that say what is wrong, where, and what to do.

A command that fails with one of them exits with its ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

MAX_LISTED = 30
"""Maximum number of known names that an error lists."""
EXPECTED = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "model": "a mapping",
    "string": "text",
    "tuple": "a list",
}
"""What a field must be, by the first word of pydantic's type of error."""


class RukhError(Exception):
    """Base of all errors that rukh raises on purpose."""

    exit_code = 1


class InputError(RukhError, ValueError):
    """The caller's input is wrong.

    Args:
        problem: What is wrong, with the wrong value.
        where: File, or ``file:line``.
        field: Path of the field in the record, such as ``entities[0].end``.
        fix: How to correct the input.

    Example:
        >>> print(InputError("9 is after the end", where="posts.jsonl:3", field="end", fix="use 8"))
        posts.jsonl:3: end: 9 is after the end; use 8
    """

    exit_code = 2

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        field: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.problem, self.where, self.field, self.fix = problem, where, field, fix
        parts = [part for part in (where, field, problem) if part]
        super().__init__(": ".join(parts) + (f"; {fix}" if fix else ""))

    def at(self, where: str) -> InputError:
        """Return a copy of the error with another ``where``, for callers that know the file."""
        return InputError(self.problem, where=where, field=self.field, fix=self.fix)

    def to_dict(self, line: int) -> dict[str, Any]:
        """Return the error of this line of a file as JSON data."""
        return {"line": line, "field": self.field, "why": self.problem, "fix": self.fix}


class MissingDependency(RukhError):
    """An optional package is not installed; the message names the extra that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"{package} is not installed; run: pip install 'rukh[{extra}]'")


class WeightsError(RukhError):
    """Pretrained weights are missing, damaged, or of the wrong kind."""

    exit_code = 2


def suggestion(word: str, known: Iterable[str]) -> str:
    """Suggest a known name that is similar to ``word``, or else list the known names.

    Example:
        >>> suggestion("mnrr", ["mnre", "umre"])
        "did you mean 'mnre'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {listed(names) or 'none'}"


def listed(names: Sequence[str]) -> str:
    """Join names by commas; of a long list, the first :data:`MAX_LISTED` and how many follow."""
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


def format_value(value: object) -> str:
    """Show a wrong value as in YAML and JSON, in one line, or name its kind."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return shorten(repr(value) if isinstance(value, str) else str(value))


def shorten(text: str, limit: int = 80) -> str:
    """Shorten a long text, for a one-line message."""
    return text if len(text) <= limit else text[: limit - 3] + "..."
