"""Reports of an evaluation in Markdown.

The result of :func:`rukh.evaluation.evaluate.evaluate_posts` may be read from JSON.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

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


def _name(label: str | None) -> str:
    return "(no prediction)" if label is None else label
