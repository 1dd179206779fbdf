"""Readable reports of an evaluation: a Markdown page and a plot.

Both take the result of :func:`rukh.evaluation.evaluate.evaluate_posts`, which may come from JSON.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rukh.errors import MissingDependency
from rukh.utils.files import atomic_open
from rukh.utils.markdown import escape, markdown_table, percent

_METRICS = {
    "micro_f1_order_free": "micro-F1, order-free",
    "micro_f1": "micro-F1, given order",
    "micro_precision": "micro precision, given order",
    "micro_recall": "micro recall, given order",
    "macro_f1": "macro-F1, given order",
    "accuracy": "accuracy, given order",
    "relation_accuracy": "best relation correct, of related pairs",
    "relation_auroc": "related or unrelated, AUROC",
}
_MISTAKES = {
    "right": "related, predicted correctly",
    "reversed": "related, predicted in the reverse direction",
    "confused": "related, predicted as another relation",
    "missed": "related, predicted as none",
    "invented": "unrelated, predicted as related",
    "invented_reversed": "of these, predicted from tail to head",
}
_EXPLANATION = (
    "Micro figures count all labels but none-of-the-above. *Given order* predicts each pair as "
    "the data lists it, as the field does; *order-free* predicts both orders, takes the more "
    "probable relation, and requires the right direction. 95 % intervals, by a bootstrap over "
    "posts."
)
_MAX_CONFUSIONS = 15
_MAX_PLOTTED = 40


def markdown(result: Mapping[str, Any], title: str, command: str | None = None) -> str:
    """Format an evaluation as a Markdown page, with the command that produced it."""
    blocks = [f"# {escape(title)}"]
    if command:
        blocks.append("Made by\n\n" + textwrap.indent(command.strip(), "    "))
    blocks.append(_EXPLANATION)
    metrics = [
        (name, percent(result[key]), " to ".join(map(percent, result.get(f"{key}_ci") or ())))
        for key, name in _METRICS.items()
        if result.get(key) is not None
    ]
    others = [
        (escape(key.replace("_", " ")), escape(f"{value:,}" if type(value) is int else value))
        for key, value in result.items()
        if key not in _METRICS and isinstance(value, str | int | float)
    ]
    relations = [
        (
            escape(row["relation"]),
            *(percent(row[key]) for key in ("precision", "recall", "f1")),
            *(row[key] for key in ("support", "predicted")),
        )
        for row in result["per_relation"]
    ]
    header = ("relation", "precision", "recall", "F1", "gold", "predicted")
    blocks += [
        markdown_table(("metric", "%", "95 % interval"), metrics),
        markdown_table(("", "value"), others),
        "## By relation",
        markdown_table(header, relations),
    ]
    if counts := result.get("mistakes"):
        mistakes = [(name, counts[key]) for key, name in _MISTAKES.items()]
        blocks += ["## Mistakes, order-free", markdown_table(("pairs", "count"), mistakes)]
    labels = [escape(_name(label)) for label in result["confusion"]["labels"]]
    confusions = [
        (gold, predicted, count)
        for gold, row in zip(labels, result["confusion"]["counts"], strict=True)
        for predicted, count in zip(labels, row, strict=True)
        if count and predicted != gold
    ]
    confusions = sorted(confusions, key=lambda row: -row[2])[:_MAX_CONFUSIONS]
    table = markdown_table(("gold", "predicted", "pairs"), confusions)
    nothing = "None: every pair is predicted correctly."
    blocks += ["## Most frequent confusions", table if confusions else nothing]
    return "\n\n".join(blocks) + "\n"


def draw(result: Mapping[str, Any], path: str | Path, title: str = "") -> None:
    """Plot the confusion matrix, with each relation's F1 next to its row, as a PNG file.

    Labels are sorted by their number of gold pairs. Only the 40 most frequent ones are shown, and
    unused labels are omitted.

    Raises:
        MissingDependency: matplotlib is not installed.
        InputError: The file cannot be written.
    """
    try:
        from matplotlib.colors import LogNorm
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependency("matplotlib", "train") from None

    labels = result["confusion"]["labels"]
    counts = np.asarray(result["confusion"]["counts"], dtype=np.int64)
    support = counts.sum(axis=1)
    used = np.flatnonzero(support + counts.sum(axis=0)).tolist()
    rows = sorted(used, key=lambda i: -support[i])[:_MAX_PLOTTED]
    matrix, size = counts[np.ix_(rows, rows)], len(rows)
    names = [_shorten(_name(labels[i])) for i in rows]
    f1s = {row["relation"]: row["f1"] for row in result["per_relation"]}

    height = 3.4 + 0.3 * size
    # pyplot is not used, because it would keep the figure in memory.
    figure = Figure(figsize=(height + 4.5, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(size + 4, 0.35 * size + 6))
    norm = LogNorm(vmin=1, vmax=max(10, int(matrix.max())))
    left.imshow(np.ma.masked_equal(matrix, 0), cmap="Blues", norm=norm, aspect="auto")
    for y, x in zip(*np.nonzero(matrix), strict=True):
        color = "white" if norm(matrix[y, x]) > 0.55 else "#333333"
        left.text(x, y, str(matrix[y, x]), ha="center", va="center", fontsize=7, color=color)
    # Names come from the data, so a dollar sign in a name must not start a formula.
    text = {"fontsize": 8, "parse_math": False}
    left.set_yticks(range(size), names, **text)
    left.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor", **text)
    left.set(xlabel="predicted", ylabel="gold", title="Confusions (pairs, log colour)")
    for y, i in enumerate(rows):
        f1 = f1s.get(labels[i], 0.0)
        note = percent(f1) if labels[i] in f1s else "not in F1"
        right.barh(y, 100 * f1, color="#3b7ab8")
        right.text(100 * f1 + 1, y, f"{note}   ({support[i]:,} gold)", va="center", fontsize=8)
    right.set(xlim=(0, 142), ylim=(size - 0.5, -0.5), yticks=[], xticks=range(0, 101, 20))
    right.set_title("F1 (%, given order)")
    right.spines[["top", "right", "bottom"]].set_visible(False)

    free, given = (_with_interval(result, key) for key in ("micro_f1_order_free", "micro_f1"))
    heading = f"micro-F1 {free} order-free, {given} given order, on {result['pairs']:,} pairs"
    if size < len(used):
        heading += f"; the {size} most frequent of {len(used)} labels"
    figure.suptitle(f"{title}\n{heading}" if title else heading, fontsize=11, parse_math=False)
    with atomic_open(Path(path), "wb") as stream:
        figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})


def _with_interval(result: Mapping[str, Any], key: str) -> str:
    low, high = result[f"{key}_ci"]
    return f"{percent(result[key])} [{percent(low)}, {percent(high)}]"


def _name(label: str | None) -> str:
    return "(no prediction)" if label is None else label


def _shorten(name: str, limit: int = 28) -> str:
    """Shorten an axis label to its end, which distinguishes relations better than its beginning."""
    name = " ".join(name.split())
    return name if len(name) <= limit else "…" + name[1 - limit :]
