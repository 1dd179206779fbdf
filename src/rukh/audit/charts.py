"""Charts as SVG text, for a page that loads nothing. Everything that is shown is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 760
_LEFT = 190
_RIGHT = 110
_ROW = 26
_INK, _PALE, _GRID = "#333333", "#c9c9c9", "#e6e6e6"
RELATION, NONE = "#3b7ab8", "#d9a441"


class Line(NamedTuple):
    """One line of :func:`intervals`: a figure with its interval, and the range of its null.

    All in the figure's own unit; ``null`` is the mean and the 95 % value of the permutations.
    """

    name: str
    value: float
    low: float
    high: float
    null: tuple[float, float]
    marked: bool = False


class Bar(NamedTuple):
    """One line of :func:`bars`: parts that are stacked, and what is written behind them."""

    name: str
    parts: tuple[tuple[float, str], ...]
    note: str


def intervals(lines: Sequence[Line], title: str, mark: float | None = None) -> str:
    """Figures in [0, 1] with whiskers; the permutations' range is grey; ``mark`` is dashed."""
    height = _ROW * len(lines)
    body = []
    for tenth in range(0, 11, 2):
        x = _x(tenth / 10)
        body.append(_line(x, 0, x, height, _GRID))
        body.append(_text(x, height + 16, f"{10 * tenth}", "middle"))
    if mark is not None:
        body.append(_line(_x(mark), 0, _x(mark), height, "#b03030", 'stroke-dasharray="4 3"'))
    for i, line in enumerate(lines):
        y = _ROW * i + _ROW / 2
        colour = "#b03030" if line.marked else RELATION
        body.append(_text(_LEFT - 8, y + 4, line.name, "end"))
        null = [_x(x) for x in line.null]
        body.append(_line(null[0], y, max(null[1], null[0] + 1), y, _PALE, 'stroke-width="10"'))
        body.append(_line(_x(line.low), y, _x(line.high), y, colour, 'stroke-width="2"'))
        body.append(f'<circle cx="{_x(line.value):.1f}" cy="{y}" r="4" fill="{colour}"/>')
        note = f"{100 * line.value:.1f} [{100 * line.low:.1f}, {100 * line.high:.1f}]"
        body.append(_text(WIDTH - _RIGHT + 8, y + 4, note, "start"))
    return _svg(body, height + 24, title)


def bars(lines: Sequence[Bar], title: str) -> str:
    """Horizontal bars, the longest as wide as the chart."""
    greatest = max((sum(size for size, _ in line.parts) for line in lines), default=0) or 1
    body = []
    for i, line in enumerate(lines):
        y = _ROW * i + 4
        body.append(_text(_LEFT - 8, y + 13, line.name, "end"))
        x = float(_LEFT)
        for size, colour in line.parts:
            width = size / greatest * (WIDTH - _LEFT - _RIGHT)
            body.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="18" fill="{colour}"/>'
            )
            x += width
        body.append(_text(x + 6, y + 13, line.note, "start"))
    return _svg(body, _ROW * len(lines) + 4, title)


def _x(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    short = text if len(text) <= 30 else text[:29] + "…"
    told = f"<title>{escape(text)}</title>" if short != text else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">'
        f"{told}{escape(short)}</text>"
    )


def _svg(body: Sequence[str], height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img" font-family="sans-serif" '
        f'font-size="12"><title>{escape(title)}</title>{"".join(body)}</svg>'
    )
