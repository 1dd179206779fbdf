"""One training with several seeds: what each model reached, and what another seed would change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from research.seeds.seed_statistics import FIGURES, percent, spread
from rukh.errors import InputError, MissingDependency
from rukh.hub import model_folder
from rukh.utils.files import read_json

ALIKE = ("task", "pair", "relation", "tagger", "captions", "order", "part")
"""What models that differ in their seed alone have in common, of their ``config.json``."""
LEVEL = 0.95


def seeds(models: Sequence[str]) -> list[dict[str, Any]]:
    """The figures of models that were trained alike, as training measured them on val.

    Args:
        models: Folders, or shipped names; two or more.

    Returns:
        A mapping for each set of posts that all were measured on: its name ``on``, ``runs`` (for
        each model its name and figures), and for each of :data:`FIGURES` a mapping with ``mean``,
        ``deviation``, and ``interval``, the mean's 95 % interval over seeds by Student's t.

    Raises:
        InputError: Fewer than two models, one twice, one without figures of val, or models that
            differ in more than their weights.
        MissingDependency: scipy, which comes with scikit-learn, is not installed.
        WeightsError: There is no such model.
    """
    try:
        from scipy.stats import t
    except ImportError:
        raise MissingDependency("scikit-learn", "study") from None

    files = [model_folder(model) / "config.json" for model in models]
    if len({file.resolve() for file in files}) < max(2, len(models)):
        raise InputError("name two models or more, each once", field="MODEL")
    figures = {}
    alike: dict[str, Any] = {}
    for model, file in zip(models, files, strict=True):
        config = read_json(file)
        figures[model] = config.get("figures") or {}
        if "val" not in figures[model]:
            raise InputError(
                "holds no figures of val", where=str(file), fix="train with data.val set"
            )
        told = {key: config.get(key) for key in ALIKE}
        told |= {f"val's {key}": figures[model]["val"].get(key) for key in ("pairs", "positives")}
        if differs := [key for key in told if told[key] != alike.setdefault(key, told[key])]:
            raise InputError(
                f"differs from {models[0]} in {', '.join(differs)}",
                where=str(file),
                fix="name models that were trained alike, but for the seed",
            )
    reach = float(t.ppf((1 + LEVEL) / 2, len(models) - 1)) / len(models) ** 0.5
    rows: list[dict[str, Any]] = []
    for on in ("val", "val_without_captions"):
        if not all(on in told for told in figures.values()):
            continue
        row: dict[str, Any] = {
            "on": on,
            "runs": [{"model": model, **told[on]} for model, told in figures.items()],
        }
        for key in FIGURES:
            over = spread([told[on][key] for told in figures.values()])
            assert over["deviation"] is not None  # of two or more
            half = reach * over["deviation"]
            low, high = max(0.0, over["mean"] - half), min(1.0, over["mean"] + half)
            row[key] = {**over, "interval": [low, high]}
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of :func:`seeds` as a Markdown table, in per cent; of one model the interval is over
    posts, of all over seeds.
    """
    lines = ["| on | model | order-free F1 | given-order F1 | macro-F1 |", "| --- " * 5 + "|"]
    for row in rows:
        for run in row["runs"]:
            cells = [row["on"], run["model"]]
            for key in FIGURES:
                interval = run.get(f"{key}_ci")
                cells.append(f"{100 * run[key]:.1f}" + (_told(interval) if interval else ""))
            lines.append("| " + " | ".join(cells) + " |")
        cells = [row["on"], f"all {len(row['runs'])}"]
        cells += [percent(row[key]) + _told(row[key]["interval"]) for key in FIGURES]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _told(interval: Sequence[float]) -> str:
    low, high = interval
    return f" [{100 * low:.1f}, {100 * high:.1f}]"
