"""One training with several seeds: what each model reached, and what another seed would change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scipy.stats import t

from research.seeds.seed_statistics import FIGURES, percent, seed_statistics
from rukh.errors import InputError
from rukh.hub import model_folder
from rukh.utils.files import read_json
from rukh.utils.markdown import markdown_table

EQUAL_KEYS = ("task", "pair", "relation", "tagger", "caption_source", "direction_mode")
"""Keys of `config.json` in which models that differ only in their seed agree."""
LEVEL = 0.95


def seeds(models: Sequence[str]) -> list[dict[str, Any]]:
    """The val figures of models that were trained alike, and their statistics.

    Args:
        models: Folders or shipped names; two or more.

    Returns:
        A mapping for each set of posts that all models were scored on: its name ``on``, ``runs``
        (each model's name and figures), and for each of :data:`FIGURES` a mapping with ``mean``,
        ``deviation``, and ``interval``, the mean's 95 % interval over seeds by Student's t.

    Raises:
        InputError: Fewer than two models, a model twice, one without val figures, or models that
            differ in more than their weights.
        WeightsError: There is no such model.
    """
    files = [model_folder(model) / "config.json" for model in models]
    if len({file.resolve() for file in files}) < max(2, len(models)):
        raise InputError("name two or more different models", field="MODEL")
    figures = {}
    first: dict[str, Any] = {}
    for model, file in zip(models, files, strict=True):
        config = read_json(file)
        figures[model] = config.get("metrics") or {}
        if "val" not in figures[model]:
            raise InputError(
                "holds no figures of val", where=str(file), fix="train with data.val set"
            )
        own = {key: config.get(key) for key in EQUAL_KEYS}
        own |= {f"val's {key}": figures[model]["val"].get(key) for key in ("pairs", "positives")}
        if differing := [key for key in own if own[key] != first.setdefault(key, own[key])]:
            raise InputError(
                f"differs from {models[0]} in {', '.join(differing)}",
                where=str(file),
                fix="name models that differ only in their seed",
            )
    half_width = float(t.ppf((1 + LEVEL) / 2, len(models) - 1)) / len(models) ** 0.5
    rows: list[dict[str, Any]] = []
    for on in ("val", "val_without_captions"):
        if not all(on in own for own in figures.values()):
            continue
        row: dict[str, Any] = {
            "on": on,
            "runs": [{"model": model, **own[on]} for model, own in figures.items()],
        }
        for key in FIGURES:
            statistics = seed_statistics([own[on][key] for own in figures.values()])
            mean, half = statistics["mean"], half_width * (statistics["deviation"] or 0.0)
            row[key] = {**statistics, "interval": [max(0.0, mean - half), min(1.0, mean + half)]}
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of :func:`seeds` as a Markdown table, in per cent.

    The interval of a model is over posts, that of all models over seeds.
    """
    lines = []
    for row in rows:
        for run in row["runs"]:
            cells = [f"{100 * run[key]:.1f}" + _interval(run.get(f"{key}_ci")) for key in FIGURES]
            lines.append((row["on"], run["model"], *cells))
        cells = [percent(row[key]) + _interval(row[key]["interval"]) for key in FIGURES]
        lines.append((row["on"], f"all {len(row['runs'])}", *cells))
    header = ("on", "model", "order-free F1", "given-order F1", "macro-F1")
    return markdown_table(header, lines) + "\n"


def _interval(bounds: Sequence[float] | None) -> str:
    return f" [{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]" if bounds else ""
