"""Errors that tell a user what is wrong, where, and how to mend it.

Every command turns a :class:`RukhError` into one line on standard error and the error's
``exit_code``: 2 for bad input, 1 for a failure that is not the input's fault.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RukhError(Exception):
    """Base of all errors that rukh raises on purpose."""

    exit_code = 1


class InputError(RukhError, ValueError):
    """Something that the caller gave is wrong.

    Args:
        problem: What is wrong, with the offending value in it.
        where: The file, or ``file:line``, it stands in.
        field: The path of the field inside the record, such as ``entities[0].end``.
        fix: What would mend it.

    Example:
        >>> print(InputError("9 is past the text", where="posts.jsonl:3", field="end"))
        posts.jsonl:3: end: 9 is past the text
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
        """The same error with its place filled in, for readers that learn it later."""
        return InputError(self.problem, where=where, field=self.field, fix=self.fix)


class MissingDependency(RukhError):
    """An optional package is not installed; names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"{package} is not installed; run: pip install 'rukh[{extra}]'")


class WeightsError(RukhError):
    """Pretrained weights are absent, damaged, or not what they claim to be."""

    exit_code = 2


MAX_LISTED = 30
"""How many known names an error lists."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: ``did you mean 'x'?``, else the list of what is known.

    Example:
        >>> suggestion("mnrr", ["mnre", "umre"])
        "did you mean 'mnre'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return f"known: {', '.join(names[:MAX_LISTED]) or 'none'}{more}"
