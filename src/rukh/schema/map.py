"""A map of a schema's relations: where they lie in the encoder's space, and beside which others.

Each relation is the mean of its descriptions' vectors; the map shows their two principal
components, the table their nearest relations in the whole space, of which two dimensions tell only
a part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rukh.errors import InputError, MissingDependency
from rukh.schema.schema import RelationSchema
from rukh.schema.similarity import Embed, embed_schema
from rukh.utils.files import atomic_open, write_json

NEAREST = 3
FORMATS = (".html", ".png", ".json")
_COLOURS = (
    "#3b7ab8",
    "#b03030",
    "#3a8a4d",
    "#8a5aa8",
    "#b87a1e",
    "#2a8a8a",
    "#a04878",
    "#555555",
    "#7aa6d6",
    "#d88a8a",
    "#8cc49a",
    "#c9b458",
)
_WIDTH, _HEIGHT, _MARGIN = 860, 560, 90
_STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 60rem; margin: 2rem auto }
table { border-collapse: collapse } svg { max-width: 100%; height: auto }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums }
"""  # noqa: E501


def principal(points: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """The two principal components of points.

    Args:
        points: ``(R, d)``.

    Returns:
        ``(R, 2)`` coordinates, and the share of the points' variance that they hold. The sign of a
        component, which is arbitrary, is such that its greatest coordinate is positive.

    Example:
        >>> places, share = principal(np.array([[0.0, 0, 0], [1, 0, 0], [5, 0, 0]]))
        >>> places[:, 0].round(6).tolist(), round(share, 6)
        ([-2.0, -1.0, 3.0], 1.0)
    """
    centred = np.asarray(points, dtype=np.float64)
    centred = centred - centred.mean(0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(centred), 2))
    kept = min(2, len(scale))
    places[:, :kept] = left[:, :kept] * scale[:kept]
    places[np.abs(places) < 1e-9] = 0.0
    for column in range(2):
        if places[:, column].size and places[np.abs(places[:, column]).argmax(), column] < 0:
            places[:, column] *= -1
    total = float((scale**2).sum())
    return places, float((scale[:kept] ** 2).sum()) / total if total > 0 else 1.0


def schema_map(schema: RelationSchema, embed: Embed, nearest: int = NEAREST) -> dict[str, Any]:
    """Places of a schema's relations and their nearest relations, as plain data.

    Args:
        schema: The relations.
        embed: Texts to vectors, see :mod:`rukh.schema.similarity`.
        nearest: How many of the nearest relations are told of each.

    Returns:
        ``schema``, ``shown`` (the share of the variance that the map holds), and ``relations``:
        ``name``, ``words`` (the name where several have the same words), ``head``, ``tail``, ``x``,
        ``y``, ``nearest``; each of these is ``name``, ``cosine`` of the means, ``closest`` of two
        descriptions, and these as ``texts``.
    """
    table = embed_schema(schema, embed)
    places, shown = principal(table.centres)
    counts = Counter(one.words for one in table.relations)
    rows = [
        {
            "name": one.name,
            "words": one.words if counts[one.words] == 1 else one.name,
            "head": list(one.head),
            "tail": list(one.tail),
            "x": round(float(places[i, 0]), 4),
            "y": round(float(places[i, 1]), 4),
            "nearest": [near._asdict() for near in table.nearest(i, nearest)],
        }
        for i, one in enumerate(table.relations)
    ]
    return {"schema": schema.name, "shown": round(shown, 4), "relations": rows}


def save(data: dict[str, Any], path: Path) -> None:
    """Write a map as a page, a picture or data, as the file's name ends.

    Raises:
        InputError: It ends otherwise, or cannot be written.
        MissingDependency: matplotlib, which draws the picture, is not installed.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise InputError(f"{path.name!r} is no {', '.join(FORMATS)} file", where=str(path))
    if ending == ".json":
        write_json(data, path)
    elif ending == ".html":
        with atomic_open(path) as stream:
            stream.write(html(data))
    else:
        _png(data, path)


def html(data: dict[str, Any]) -> str:
    """The map and its table as one page that loads nothing."""
    rows = "".join(
        f"<tr><td>{escape(one['name'])}</td>"
        + (
            f"<td>{escape(near['name'])}</td>"
            f'<td class="n">{near["cosine"]:.2f}</td><td class="n">{near["closest"]:.2f}</td>'
            f"<td>{'<br>'.join(map(escape, near['texts']))}</td></tr>"
            if (near := next(iter(one["nearest"]), None))
            else "<td></td><td></td><td></td><td></td></tr>"
        )
        for one in _by_confusability(data)
    )
    title = f"Relations of {escape(data['schema'])}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        f"<p>Two principal components of the mean description vectors; they hold "
        f"{100 * data['shown']:.0f} % of the variance, so what looks near may be far. Colours are "
        f"types of head and tail.</p>\n{_svg(data['relations'])}\n<h2>Nearest relations</h2>\n"
        "<p>In the whole space, most confusable first: the cosine of the means, that of the two "
        "closest descriptions, and these.</p>\n<table><tr><th>relation</th><th>nearest of its "
        "types, else of all</th><th>means</th><th>closest</th><th>descriptions</th></tr>\n"
        f"{rows}</table>\n</body></html>\n"
    )


def _by_confusability(data: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = data["relations"]
    return sorted(rows, key=lambda one: -max((n["cosine"] for n in one["nearest"]), default=-1))


def _colours(rows: Sequence[dict[str, Any]]) -> list[str]:
    kinds = list(dict.fromkeys((*one["head"], "", *one["tail"]) for one in rows))
    index = {kind: i for i, kind in enumerate(kinds)}
    return [_COLOURS[index[(*o["head"], "", *o["tail"])] % len(_COLOURS)] for o in rows]


def _svg(rows: Sequence[dict[str, Any]]) -> str:
    def scaled(key: str, size: int) -> list[float]:
        values = np.array([one[key] for one in rows], dtype=float)
        spread = np.ptp(values) or 1.0
        place = _MARGIN + (values - values.min()) / spread * (size - 2 * _MARGIN)
        return [float(value) for value in place]

    xs, ys = scaled("x", _WIDTH), scaled("y", _HEIGHT)
    marks = [
        f'<circle cx="{x:.1f}" cy="{_HEIGHT - y:.1f}" r="5" fill="{colour}">'
        f"<title>{escape(one['name'])}</title></circle>"
        f'<text x="{x:.1f}" y="{_HEIGHT - y - 9:.1f}" font-size="12" text-anchor="middle">'
        f"{escape(one['words'])}</text>"
        for one, x, y, colour in zip(rows, xs, ys, _colours(rows), strict=True)
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="map of the relations">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fafafa"/>' + "".join(marks) + "</svg>"
    )


def _png(data: dict[str, Any], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependency("matplotlib", "train") from None
    rows = data["relations"]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.add_subplot()
    xs, ys = [one["x"] for one in rows], [one["y"] for one in rows]
    axes.scatter(xs, ys, c=_colours(rows))
    for one in rows:
        place = (one["x"], one["y"])
        # A label is text, not mathematics, whatever dollar signs it holds.
        axes.annotate(
            one["words"], place, (0, 6), textcoords="offset points", ha="center", parse_math=False
        )
    axes.margins(0.12)
    axes.set_title(
        f"Relations of {data['schema']}: {100 * data['shown']:.0f} % of the variance",
        parse_math=False,
    )
    with atomic_open(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=120)
