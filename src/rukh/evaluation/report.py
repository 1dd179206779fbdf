"""An evaluation for people: a Markdown page and a picture.

Both take what :func:`rukh.evaluation.metrics.evaluate_predictions` returns, or the same read back from JSON,
with whatever else a command put beside it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rukh.errors import MissingDependency
from rukh.utils.files import atomic_open

_FIGURES = {
    "micro_f1_order_free": "micro-F1, order-free",
    "micro_f1": "micro-F1, given order",
    "micro_precision": "micro precision, given order",
    "micro_recall": "micro recall, given order",
    "macro_f1": "macro-F1, given order",
    "accuracy": "accuracy, given order",
}
_MISTAKES = {
    "right": "with a relation, told right",
    "reversed": "with a relation, told the other way round",
    "confused": "with a relation, told as another",
    "missed": "with a relation, not told",
    "invented": "without one, told as related",
    "invented_reversed": "of these, told from tail to head",
}
_APART = {
    "relation_accuracy": "the best relation is right, where there is one, %",
    "relation_auroc": "related or not, AUROC, %",
}
_CONFUSIONS = 15
_DRAWN = 40


def markdown(result: Mapping[str, Any], title: str, command: str | None = None) -> str:
    """The evaluation as a Markdown page.

    Args:
        result: The figures; further plain values (``seconds``, say) are listed as they are.
        title: The page's heading.
        command: The command that made it, shown so that it can be typed again.
    """
    blocks = [f"# {_escape(title)}"]
    if command:
        blocks.append("Made by\n\n" + textwrap.indent(command.strip(), "    "))
    blocks.append(
        "Micro figures count all labels but none-of-the-above. *Given order* asks each pair as the "
        "data lists it, as the field does; *order-free* asks both orders, takes the better, and "
        "wants the direction right too. Intervals are 95 %, bootstrapped over posts."
    )
    figures = []
    for key, name in _FIGURES.items():
        bounds = result.get(f"{key}_ci") or ()
        interval = " to ".join(_percent(bound) for bound in bounds)
        figures.append((name, _percent(result[key]), interval))
    blocks.append(_table(("figure", "%", "95 % interval"), figures))
    others = [
        (_escape(key.replace("_", " ")), _escape(f"{value:,}" if type(value) is int else value))
        for key, value in result.items()
        if key not in {*_FIGURES, *_APART} and isinstance(value, str | int | float)
    ]
    blocks.append(_table(("", "value"), others))

    rows = [
        (
            _escape(row["relation"]),
            *(_percent(row[key]) for key in ("precision", "recall", "f1")),
            row["support"],
            row["predicted"],
        )
        for row in result["per_relation"]
    ]
    header = ("relation", "precision", "recall", "F1", "gold", "predicted")
    blocks += ["## By relation", _table(header, rows)]

    if counts := result.get("mistakes"):
        lost: list[tuple[str, Any]] = [(name, counts[key]) for key, name in _MISTAKES.items()]
        for key, name in _APART.items():
            if result.get(key) is not None:
                lost.append((name, _percent(result[key])))
        blocks += ["## Where the order-free figure is lost", _table(("what", "pairs"), lost)]
    confusions = _confusions(result["confusion"])
    blocks.append("## Most frequent confusions")
    if confusions:
        blocks.append(_table(("gold", "predicted", "pairs"), confusions[:_CONFUSIONS]))
    else:
        blocks.append("None: every pair is right.")
    return "\n\n".join(blocks) + "\n"


def draw(result: Mapping[str, Any], path: str | Path, title: str = "") -> None:
    """Write a PNG: the confusion matrix, and beside each of its rows the relation's F1.

    Labels are sorted by how often gold carries them; those that neither gold nor a prediction
    carries are left out, and beyond 40 the rarest ones too.

    Raises:
        MissingDependency: matplotlib is not installed.
        InputError: The file cannot be written.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.colors import LogNorm
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependency("matplotlib", "train") from None
    import numpy as np

    labels = result["confusion"]["labels"]
    counts = np.asarray(result["confusion"]["counts"], dtype=np.int64)
    support = counts.sum(axis=1)
    occurring = [i for i, n in enumerate(support + counts.sum(axis=0)) if n]
    shown = sorted(occurring, key=lambda i: -support[i])[:_DRAWN] or [0]
    matrix = counts[np.ix_(shown, shown)]
    names = [_shorten(_name(labels[i])) for i in shown]
    rows = {row["relation"]: row for row in result["per_relation"]}
    size = len(shown)

    height = 3.4 + 0.3 * size
    figure = Figure(figsize=(height + 4.5, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(size + 4, 0.35 * size + 6))

    palette = colormaps["Blues"].with_extremes(bad="white")
    norm = LogNorm(vmin=1, vmax=max(10, int(matrix.max(initial=0))))
    left.imshow(np.ma.masked_equal(matrix, 0), cmap=palette, norm=norm, aspect="auto")
    for y, x in zip(*np.nonzero(matrix), strict=True):
        dark = norm(matrix[y, x]) > 0.55
        left.text(
            x, y, str(matrix[y, x]), ha="center", va="center", fontsize=7,
            color="white" if dark else "#333333",
        )  # fmt: skip
    # Names are data: a dollar sign in one is no mathematics.
    ticks = range(size)
    left.set_yticks(ticks, names, fontsize=8, parse_math=False)
    left.set_xticks(
        ticks, names, fontsize=8, rotation=45, ha="right", rotation_mode="anchor", parse_math=False
    )
    left.set(xlabel="predicted", ylabel="gold", xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    left.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    left.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    left.grid(which="minor", color="#e6e6e6", linewidth=0.6)
    left.tick_params(which="both", length=0)
    left.set_title("Confusions (pairs, log colour)", fontsize=10)

    for y, i in enumerate(shown):
        row = rows.get(labels[i])
        if row is None:
            note, f1 = f"{support[i]:,} gold, not counted in F1", 0.0
        else:
            note, f1 = f"{_percent(row['f1'])}   ({row['support']:,} gold)", 100 * row["f1"]
        right.barh(y, f1, color="#3b7ab8", height=0.72)
        right.text(f1 + 1.2, y, note, va="center", fontsize=8, color="#333333")
    right.set(xlim=(0, 142), ylim=(size - 0.5, -0.5), yticks=[], xticks=range(0, 101, 20))
    right.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    right.set_axisbelow(True)
    right.tick_params(length=0, labelsize=8)
    for side in ("top", "right", "bottom"):
        right.spines[side].set_visible(False)
    right.set_title("F1 by relation (%, given order)", fontsize=10, loc="left")

    free, given = (_with_interval(result, key) for key in ("micro_f1_order_free", "micro_f1"))
    heading = f"micro-F1 {free} order-free, {given} given order, on {result['pairs']:,} pairs"
    if size < len(occurring):
        heading += f"; the {size} commonest of {len(occurring)} labels"
    figure.suptitle(f"{title}\n{heading}" if title else heading, fontsize=11, parse_math=False)
    with atomic_open(Path(path), "wb") as stream:
        figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})


def _confusions(confusion: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Gold, predicted, pairs: all mistakes, the most frequent first, then in the labels' order."""
    labels = confusion["labels"]
    mistakes = [
        (_escape(_name(gold)), _escape(_name(predicted)), count)
        for gold, row in zip(labels, confusion["counts"], strict=True)
        for predicted, count in zip(labels, row, strict=True)
        if count and predicted != gold
    ]
    return sorted(mistakes, key=lambda mistake: -mistake[2])


def _table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A Markdown table: the first column to the left, columns of numbers to the right."""
    body = [[str(cell) for cell in row] for row in rows]
    rule = [
        "---:" if body and all(re.match(r"[\d.]|$", row[i]) for row in body) else "---"
        for i in range(len(header))
    ]
    lines = [list(header), rule, *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _with_interval(result: Mapping[str, Any], key: str) -> str:
    low, high = result[f"{key}_ci"]
    return f"{_percent(result[key])} [{_percent(low)}, {_percent(high)}]"


def _name(label: str | None) -> str:
    return "(no answer)" if label is None else label


def _escape(value: object) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_|<>\[\]#])", r"\\\1", " ".join(str(value).split()))


def _shorten(name: str, limit: int = 28) -> str:
    """A name for an axis; of a long one the end, which tells relations apart, is kept."""
    name = " ".join(name.split())
    return name if len(name) <= limit else "…" + name[1 - limit :]
