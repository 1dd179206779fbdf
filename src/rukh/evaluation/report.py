"""Reports of an evaluation: in words and aligned columns for a terminal, and in Markdown.

Whatever people read is in per cent; results, as Python values or JSON, hold fractions.
The result of :func:`rukh.evaluation.evaluate.evaluate_posts` may be read from JSON.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rukh.utils.markdown import escape, markdown_table, percent

_METRICS = {
    "micro_f1_order_free": ("micro-F1, order-free", "all relations together"),
    "micro_f1": ("micro-F1, given order", "all relations together"),
    "micro_precision": ("micro precision, given order", "share of the answers that are right"),
    "micro_recall": ("micro recall, given order", "share of the relations that are found"),
    "macro_f1": ("macro-F1, given order", "mean of the relations' F1: rare ones count as much"),
    "accuracy": ("accuracy, given order", "share of all pairs that are right"),
    "relation_accuracy": ("best relation correct", "of related pairs, whatever its probability"),
    "relation_auroc": ("AUROC", "chance that a related pair scores above an unrelated one"),
    "expected_calibration_error": ("calibration error", "mean gap of probability and accuracy"),
}
_MISTAKES = {
    "right": "related, predicted correctly",
    "reversed": "related, predicted in the wrong direction",
    "confused": "related, predicted as the wrong relation",
    "missed": "related, no answer",
    "invented": "unrelated, but an answer (spurious)",
    "invented_reversed": "of these, predicted from tail to head",
}
_EXPLANATION = (
    "Micro figures count all labels but none-of-the-above. *Given order* predicts each pair as "
    "the data lists it, as the field does; *order-free* predicts both orders, takes the more "
    "probable relation, and requires the right direction. 95 % intervals, by a bootstrap over "
    "posts."
)
_MAX_CONFUSIONS = 15


def in_words(mistakes: Mapping[str, int]) -> str:
    """Say in words what was found and what went wrong.

    Args:
        mistakes: Numbers of pairs, see :func:`rukh.evaluation.evaluate.error_analysis`.

    Example:
        >>> counts = {"right": 6, "reversed": 1, "confused": 0, "missed": 3, "invented": 1}
        >>> print(in_words(counts))
        found 6 of 10 relations (60.0 %), no answer for 3; 2 of 8 answers wrong (25.0 %): \
1 spurious, 0 wrong relation, 1 wrong direction
    """
    right, missed = mistakes["right"], mistakes["missed"]
    misread = mistakes["reversed"] + mistakes["confused"]
    kinds = {"spurious": "invented", "wrong relation": "confused", "wrong direction": "reversed"}
    listed = ", ".join(f"{mistakes[key]:,} {name}" for name, key in kinds.items())
    wrong = misread + mistakes["invented"]
    found = _share(right, right + misread + missed, "relations")
    answers = _share(wrong, right + wrong, "answers wrong")
    return f"found {found}, no answer for {missed:,}; {answers}: {listed}"


def summary(result: Mapping[str, Any]) -> str:
    """Format the result of :func:`rukh.evaluation.evaluate.evaluate_posts` for a terminal."""
    return "\n".join(
        [
            f"{result['pairs']:,} pairs of {result['posts']:,} posts, {result['positives']:,} with "
            f"a relation, in {result['seconds']} s",
            f"order-free: {in_words(result['mistakes'])}",
            "",
            *_aligned([("", "%", "95 % interval", ""), *_metrics(result)]),
        ]
    )


def end_to_end_summary(result: Mapping[str, Any]) -> str:
    """Format the figures of :func:`rukh.evaluation.end_to_end.evaluate_end_to_end` likewise."""
    entities, given, raw = result["entities"], result["given"], result["raw"]
    figures = {
        "entities, span": entities["span"],
        "entities, span and type": entities["typed"],
        "triples, entities given": given["strict"],
        "triples, raw text": raw["strict"],
        "   overlapping spans": raw["relaxed"],
    }
    rows = [
        (
            name,
            *(percent(row[key]) for key in ("precision", "recall", "f1")),
            _interval(row["f1_ci"]),
        )
        for name, row in figures.items()
    ]
    lines = [
        f"{result['posts']:,} posts, {result['silent_posts']:,} of them without a relation; "
        f"{result['gold_entities']:,} entities, {result['gold_triples']:,} relations; threshold "
        f"{result['threshold']:.2f}; {result['seconds']} s",
        f"entities given: {_triples_in_words(given['strict'])}",
        f"raw text: {_triples_in_words(raw['strict'])}",
    ]
    if given["silent_answered"] is not None:
        lines.append(
            "posts without a relation that get an answer: entities given "
            f"{percent(given['silent_answered'])} %, raw text {percent(raw['silent_answered'])} %"
        )
    lines += ["", *_aligned([("%", "precision", "recall", "F1", "95 % interval"), *rows])]
    error = percent(result["expected_calibration_error"])
    return "\n".join([*lines, f"calibration error, entities given: {error} %"])


def training_summary(metrics: Mapping[str, Any]) -> str:
    """Say in words what a trained model or tagger scores, from the metrics of its training."""
    lines = []
    for name, scores in metrics.items():
        split, _, key = name.partition("_")
        if name == "dev":
            ratios = f"order-free {percent(scores['order_free'])} %"
            ratios += f", given order {percent(scores['given_order'])} %"
            lines.append(f"dev set: micro-F1 {ratios}")
        elif key == "span_f1":
            lines.append(f"{split} set: F1 of entities {percent(scores)} %")
        elif split == "val":
            label = name.replace("_", " ")
            f1, interval = scores["micro_f1_order_free"], scores["micro_f1_order_free_ci"]
            lines.append(f"{label}: {in_words(scores['mistakes'])}")
            lines.append(f"{label}: micro-F1 order-free {percent(f1)} % [{_interval(interval)}]")
    return "\n".join(lines)


def markdown(result: Mapping[str, Any], title: str, command: str | None = None) -> str:
    """Format an evaluation as a Markdown page, with the command that produced it."""
    blocks = [f"# {escape(title)}"]
    if command:
        blocks.append("Made by\n\n" + textwrap.indent(command.strip(), "    "))
    blocks.append(_EXPLANATION)
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
        markdown_table(("metric", "%", "95 % interval", "meaning"), _metrics(result)),
        markdown_table(("", "value"), others),
        "## By relation",
        markdown_table(header, relations),
    ]
    if counts := result.get("mistakes"):
        blocks.insert(-4, f"Order-free: {in_words(counts)}.")
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


def _metrics(result: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the name of each metric, its value and interval in per cent, and what it means."""
    return [
        (name, percent(result[key]), _interval(result.get(f"{key}_ci") or ()), note)
        for key, (name, note) in _METRICS.items()
        if result.get(key) is not None
    ]


def _interval(bounds: Sequence[float]) -> str:
    return " to ".join(map(percent, bounds))


def _share(part: int, whole: int, noun: str) -> str:
    """Format a share such as ``3 of 4 relations (75.0 %)``."""
    return f"{part:,} of {whole:,} {noun}" + (f" ({percent(part / whole)} %)" if whole else "")


def _triples_in_words(figures: Mapping[str, Any]) -> str:
    right, gold, predicted = (figures[key] for key in ("correct", "gold", "predicted"))
    wrong = _share(predicted - right, predicted, "answers wrong")
    return f"found {_share(right, gold, 'relations')}; {wrong}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns of a terminal's font: the first and the last to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if 0 < i < len(row) - 1 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
