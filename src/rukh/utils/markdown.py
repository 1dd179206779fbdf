"""Markdown tables, escaped text and percentages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table, without a final line break. Columns of numbers are right-aligned.

    Example:
        >>> print(markdown_table(("name", "F1"), [("a", 50.1)]))
        | name | F1 |
        | --- | ---: |
        | a | 50.1 |
    """
    body = [[str(cell) for cell in row] for row in rows]
    numeric = [
        bool(body) and all(re.match(r"[-+]?[\d.]|$", row[i]) for row in body)
        for i in range(len(header))
    ]
    rule = ["---:" if number else "---" for number in numeric]
    lines = [list(header), rule, *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def escape(value: object) -> str:
    """Escape a text so that Markdown shows it literally, on one line."""
    return re.sub(r"([\\`*_|<>\[\]#])", r"\\\1", " ".join(str(value).split()))


def percent(fraction: float, digits: int = 1) -> str:
    """Format a fraction in per cent, such as ``"51.8"`` for 0.518."""
    return f"{100 * fraction:.{digits}f}"
