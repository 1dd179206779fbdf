"""Reports of the robustness study: a Markdown table, a plot, and an HTML page with both."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rukh.errors import InputError, MissingDependency
from rukh.utils.files import atomic_open
from rukh.utils.markdown import markdown_table

_COLUMNS = 4
_STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 70rem; margin: 2rem auto }
table { border-collapse: collapse; margin: .8rem 0 }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left }
code { overflow-wrap: anywhere } img { max-width: 100% }
"""
_HEADER = (
    "perturbation", "posts changed", "order-free F1 at 0", "1", "2", "3", "difference at 3",
    "given-order F1 at 0", "1", "2", "3", "difference at 3",
)  # fmt: skip


def group_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """A model's rows by perturbation, in order of severity."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["perturbation"], []).append(row)
    return groups


def table_rows(model: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of one model: a row for each perturbation, in per cent."""
    out = []
    for name, rows in group_rows(model["rows"]).items():
        cells = [name, ", ".join(str(row["changed"]) for row in rows[1:])]
        for figure in ("micro_f1_order_free", "micro_f1"):
            cells += [f"{100 * row[figure]:.1f}" for row in rows]
            low, high = rows[-1][f"{figure}_difference_ci"]
            difference = 100 * rows[-1][f"{figure}_difference"]
            cells.append(f"{difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        out.append(tuple(cells))
    return out


def markdown(result: Mapping[str, Any]) -> str:
    """Tables of all models.

    Args:
        result: What :func:`research.robustness.study.robustness` returned.
    """
    blocks = []
    for model in result["models"]:
        blocks.append(f"{model['model']}:\n")
        blocks.append(markdown_table(_HEADER, table_rows(model)) + "\n")
        if model["untouched"]:
            blocks.append(f"Not applicable: {', '.join(model['untouched'])}.\n")
    return "\n".join(blocks)


def png(result: Mapping[str, Any]) -> bytes:
    """A panel for each perturbation: F1 against severity, a colour for each model.

    Solid is order-free, with the interval of its difference to severity 0; dashed is given-order.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependency("matplotlib", "dev") from None
    panels: dict[str, list[tuple[str, list[Mapping[str, Any]]]]] = {}
    for model in result["models"]:
        for name, rows in group_rows(model["rows"]).items():
            panels.setdefault(name, []).append((model["model"], rows))
    if not panels:
        raise InputError("no perturbation changed anything, so that there is nothing to draw")
    order = [model["model"] for model in result["models"]]
    high = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(3 * _COLUMNS, 2.4 * high + 0.6), layout="constrained")
    axes = figure.subplots(high, _COLUMNS, squeeze=False, sharey=True, sharex=True)
    colours = matplotlib.colormaps["tab10"]
    for panel, (name, lines) in zip(axes.flat, panels.items(), strict=False):
        for model, rows in lines:
            colour, severity = colours(order.index(model) % 10), [row["severity"] for row in rows]
            free = [100 * row["micro_f1_order_free"] for row in rows]
            ends = [row.get("micro_f1_order_free_difference_ci", (0.0, 0.0)) for row in rows]
            low, top = ([free[0] + 100 * end[side] for end in ends] for side in (0, 1))
            panel.fill_between(severity, low, top, color=colour, alpha=0.2, linewidth=0)
            panel.plot(severity, free, color=colour, marker="o", markersize=3, label=model)
            given = [100 * row["micro_f1"] for row in rows]
            panel.plot(severity, given, color=colour, linestyle="--", linewidth=1)
        panel.set_title(name, fontsize=10, parse_math=False)
        panel.set_xticks(range(4))
        panel.grid(color="#e6e6e6", linewidth=0.6)
    for panel in list(axes.flat)[len(panels) :]:
        panel.set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside upper left", ncols=3, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel("micro-F1, solid order-free, dashed given order", fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def html(result: Mapping[str, Any], command: str | None = None) -> str:
    """One self-contained page with the tables and the plot."""
    blocks = [
        "<h1>Robustness</h1>",
        f"<p>{result['pairs']:,} pairs of {result['posts']:,} posts, seed {result['seed']}, "
        f"{result['seconds']} s. Micro-F1 in per cent; differences to severity 0 with 95 % "
        "intervals, bootstrapped over posts.</p>",
        f"<p>Made by <code>{escape(command)}</code>.</p>" if command else "",
        f'<img alt="F1 against severity" src="data:image/png;base64,{_embedded(result)}">',
    ]
    for model in result["models"]:
        head = "".join(f"<th>{escape(name)}</th>" for name in _HEADER)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in table_rows(model)
        )
        blocks.append(f"<h2>{escape(model['model'])}</h2><table><tr>{head}</tr>{body}</table>")
        if model["untouched"]:
            blocks.append(f"<p>Not applicable: {escape(', '.join(model['untouched']))}.</p>")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Robustness</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(filter(None, blocks))
        + "\n</body></html>\n"
    )


def check_report(path: Path) -> None:
    """Raise InputError for a report that is neither HTML nor PNG, before the measurement."""
    if path.suffix.lower() not in {".html", ".png"}:
        raise InputError("a report must end in .html or .png", where=str(path))


def write(result: Mapping[str, Any], path: Path, command: str | None = None) -> None:
    """Write the page (``.html``) or the plot (``.png``)."""
    check_report(path)
    if path.suffix.lower() == ".png":
        with atomic_open(path, "wb") as stream:
            stream.write(png(result))
    else:
        with atomic_open(path) as stream:
            stream.write(html(result, command))


def _embedded(result: Mapping[str, Any]) -> str:
    return b64encode(png(result)).decode()
