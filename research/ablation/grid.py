"""Ablation: train one configuration again and again, each time with one thing changed.

A grid is a YAML file: a base configuration, the changes that make each cell, and seeds. Every
finished cell is one small JSON file, so that a grid can be continued another day: cells whose file
exists are not trained again, and an interrupted cell resumes from its checkpoint.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from research.ablation.run_records import counts_by_post, identity, read_record
from research.paired_bootstrap import paired_difference
from research.seeds.seed_statistics import FIGURES, percent, seed_statistics
from rukh.config import load_config
from rukh.data.corpus import load_val
from rukh.errors import InputError, WeightsError, suggestion
from rukh.evaluation.evaluate import predict_pairs
from rukh.evaluation.metrics import (
    evaluate_predictions,
    order_free,
    positive_counts,
)
from rukh.extractor import Extractor
from rukh.hub import check_weights, model_folder
from rukh.records import Record
from rukh.registry import resolve
from rukh.schema.schema import RelationSchema
from rukh.training.relation_task import RelationTrainingConfig, train_relations
from rukh.utils.files import check_outputs, write_json
from rukh.utils.markdown import markdown_table


class AblationConfig(Record):
    """A grid of training runs.

    Attributes:
        base: The configuration that every cell changes.
        changes: ``key.sub=value`` each, for all cells.
        cells: The name of each cell and its changes.
        seeds: Every cell is trained once with each seed.
        reference: The cell that the others are compared with, or one for each cell.
        results: Folder of the finished cells' files.
    """

    task: Literal["ablation"]
    base: Path
    changes: tuple[str, ...] = ()
    cells: dict[str, tuple[str, ...]] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    reference: str | dict[str, str]
    results: Path

    @field_validator("cells")
    @classmethod
    def _valid_names(cls, cells: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in cells:
            if not re.fullmatch(r"[\w.-]+", name):
                raise ValueError(f"cell {name!r}: use letters, digits, '.', '-' and '_'")
        return cells

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is listed twice")
        return seeds


def run(
    config: AblationConfig, work: Path, only: Sequence[str] = (), finished: bool = False
) -> Iterator[dict[str, Any]]:
    """Train the cells that are not finished; yields the result of every cell.

    Args:
        work: Folder of unfinished runs; each is removed when its result is written.
        only: Names of the cells to run; empty: all.
        finished: Whether to train nothing and yield only finished results.

    Raises:
        InputError: Before anything is trained: an unknown cell, changes that are no configuration,
            a cell that cannot be evaluated on ``data.val`` or written, or a result that is broken
            or of another configuration.
        WeightsError: Before anything is trained: an encoder of some cell is missing.
    """
    reference = config.reference
    named = (reference,) if isinstance(reference, str) else (*reference, *reference.values())
    for name in (*named, *only):
        if name not in config.cells:
            raise InputError(f"no cell named {name!r}", fix=suggestion(name, list(config.cells)))
    cells = [
        (name, seed, cell_config(config, name, seed, finished))
        for name in config.cells
        for seed in config.seeds
    ]
    done = {
        (name, seed): read_record(path, name, seed, identity(cell, finished))
        for name, seed, cell in cells
        if (path := _file(config, name, seed)).exists()
    }
    cells = [cell for cell in cells if not only or cell[0] in only]
    if not finished:
        _check(config, [cell for cell in cells if cell[:2] not in done])
    for name, seed, cell in cells:
        if (name, seed) in done:
            yield done[name, seed]
        elif not finished:
            result = {"cell": name, "seed": seed, "configuration": identity(cell)}
            result |= _train_and_evaluate(cell, work / f"{name}-{seed}")
            write_json(result, _file(config, name, seed))
            shutil.rmtree(work / f"{name}-{seed}", ignore_errors=True)
            shutil.rmtree(work / f"{name}-{seed}.run", ignore_errors=True)
            yield result


def _file(config: AblationConfig, cell: str, seed: int) -> Path:
    return config.results / f"{cell}-{seed}.json"


def cell_config(
    config: AblationConfig, cell: str, seed: int, finished: bool
) -> RelationTrainingConfig:
    """The configuration of a cell, whose files may be absent if it is ``finished``."""
    changes = [*config.changes, *config.cells[cell], f"training.seed={seed}"]
    unset = "." if finished else None
    try:
        training = load_config(config.base, RelationTrainingConfig, changes, unset=unset)
    except InputError as error:
        raise error.at(f"cell {cell} of {error.where}") from None
    if training.data.val is None:
        raise InputError("a cell is evaluated on data.val, which is not set", where=f"cell {cell}")
    return training


def _check(
    config: AblationConfig, cells: Sequence[tuple[str, int, RelationTrainingConfig]]
) -> None:
    """Check that cells can be trained, evaluated and written, without doing so."""
    checked = set()
    for cell, seed, training in cells:
        try:
            resolve("scorers", training.relation.scorer)
            pair = training.pair
            check_weights((pair.text_encoder, "text"), (pair.vision_encoder, "vision"))
            if pair.init_from is not None:
                model_folder(pair.init_from)
        except (InputError, WeightsError) as error:
            raise type(error)(f"cell {cell}: {error}") from None
        data, schema = training.data, training.relation_schema
        val = (schema, data.format, data.val, data.val_images, data.val_captions)
        if val not in checked:  # most cells of a grid are evaluated on the same posts
            load_val(data, RelationSchema.load(schema))
            checked.add(val)
        check_outputs([_file(config, cell, seed)])


def _train_and_evaluate(config: RelationTrainingConfig, out: Path) -> dict[str, Any]:
    """Train a cell and evaluate it on ``data.val``: figures, and counts by post."""
    # Evaluated here, with the counts of each post, instead of by the training.
    data = config.data.model_copy(update={"val": None})
    trained = train_relations(config.model_copy(update={"data": data}), out)
    extractor = Extractor.from_pretrained(out)
    schema = extractor.schema
    predictions = predict_pairs(extractor, load_val(config.data, schema))
    gold, forward, backward = predictions.gold, predictions.forward, predictions.backward
    figures = evaluate_predictions(gold, forward, backward, predictions.post_ids, schema)
    keys = (*FIGURES, "micro_precision", "micro_recall", "accuracy", "pairs", "positives")
    counts: dict[str, Any] = {}
    rows = positive_counts(gold, order_free(forward, backward, schema), schema.nota)
    for post, row in zip(predictions.post_ids, rows, strict=True):
        counts[post] = counts.get(post, 0) + row
    return {
        "dev": trained["dev"],
        "val": {key: figures[key] for key in keys},
        # For paired tests: true, predicted and gold positives of each post, in the file's order.
        "counts": [" ".join(map(str, row)) for row in np.array([*counts.values()]).T.tolist()],
    }


def compare(
    results: Sequence[Mapping[str, Any]], reference: str | Mapping[str, str], draws: int = 2000
) -> list[dict[str, Any]]:
    """A row for each cell: means and deviations over seeds, and its difference to its reference.

    The difference is that of the mean order-free micro-F1 over the seeds that both cells have. Its
    interval and p-value come from a bootstrap over posts and seeds, the same for both cells.

    Returns:
        Mappings of ``cell, seeds``, a ``mean`` and ``deviation`` for each figure, its ``reference``
        (None for a reference cell), the seeds that both have (``shared``), and ``difference,
        difference_ci, p`` (None for a reference and if no seed is shared).
    """
    cells: dict[str, dict[int, Mapping[str, Any]]] = {}
    for result in results:
        cells.setdefault(result["cell"], {})[result["seed"]] = result
    rows = []
    for name, runs in cells.items():
        row: dict[str, Any] = {"cell": name, "seeds": sorted(runs)}
        for key in FIGURES:
            row[key] = seed_statistics([run["val"][key] for run in runs.values()])
        other = reference if isinstance(reference, str) else reference.get(name, name)
        other_runs = cells.get(other, {})
        shared = sorted(runs.keys() & other_runs.keys())
        row |= {"reference": None if name == other else other, "shared": shared}
        row |= {"difference": None, "difference_ci": None, "p": None}
        if name != other and shared:
            ours = np.array([counts_by_post(runs[seed]) for seed in shared])
            theirs = np.array([counts_by_post(other_runs[seed]) for seed in shared])
            if ours.shape != theirs.shape:
                raise InputError(f"cells {name!r} and {other!r} were evaluated on different posts")
            row |= paired_difference(ours, theirs, draws)
        rows.append(row)
    return rows


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of :func:`compare`'s rows should know, one line each."""
    lines = []
    for row in rows:
        cell, other = row["cell"], row["reference"]
        if other is not None and not row["shared"]:
            lines.append(f"{cell} is not compared: {other} has no finished result with its seeds")
        elif other is not None and len(row["shared"]) == 1:
            lines.append(
                f"{cell} and {other} share one seed, so that the interval covers other posts, not "
                "another training"
            )
    return lines


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of :func:`compare` as a Markdown table, in per cent."""
    lines = []
    for row in rows:
        cells = [row["cell"], len(row["seeds"]), *(percent(row[key]) for key in FIGURES)]
        if row["difference"] is None:
            cells += ["", ""]
        else:
            low, high = row["difference_ci"]
            cells.append(f"{100 * row['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
            cells.append(f"{row['p']:.3f}")
        lines.append(cells)
    header = ("cell", "seeds", "order-free F1", "given-order F1", "macro-F1", "difference", "p")
    return markdown_table(header, lines) + "\n"
