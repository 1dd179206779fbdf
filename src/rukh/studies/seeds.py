"""One training with several seeds: what each model reached, and what another seed would change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rukh.errors import InputError, MissingDependency
from rukh.files import read_json
from rukh.studies.spread import percent, spread
from rukh.weights import model_folder

FIGURES = ("micro_f1_order_free", "micro_f1", "macro_f1")
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
        InputError: Fewer than two models, one twice, or one without figures of val.
        MissingDependency: scipy, which comes with scikit-learn, is not installed.
        WeightsError: There is no such model.
    """
    try:
        from scipy.stats import t
    except ImportError:
        raise MissingDependency("scikit-learn", "study") from None

    if len(set(models)) < max(2, len(models)):
        raise InputError("name two models or more, each once", field="MODEL")
    figures = {}
    for model in models:
        file = model_folder(model) / "config.json"
        figures[model] = read_json(file).get("figures") or {}
        if "val" not in figures[model]:
            raise InputError(
                "holds no figures of val",
                where=str(file),
                fix="train with data.val, which measures",
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
            row[key] = {**over, "interval": [over["mean"] - half, over["mean"] + half]}
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
