"""Ablation: one configuration trained again and again, each time with one thing changed.

A grid is a YAML file: a base configuration, the changes that make each cell, and seeds. Every
finished cell is one small JSON file, so that the grid can go on another day: cells whose file is
there are not trained again, and one that was interrupted goes on from its checkpoint.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from research.ablation.run_records import counts_of, identity, read_cell
from research.seeds.seed_statistics import FIGURES, percent, spread
from rukh.config import load_config
from rukh.data.corpus import load_val
from rukh.errors import InputError, WeightsError, suggestion
from rukh.evaluation.evaluate import predict_pairs
from rukh.evaluation.metrics import (
    evaluate_predictions,
    order_free,
    paired_difference,
    positive_counts,
)
from rukh.extractor import Extractor
from rukh.hub import check_weights, model_folder
from rukh.records import Record
from rukh.registry import resolve
from rukh.schema.schema import RelationSchema
from rukh.training.relation_task import RelationTrainingConfig, train_relations
from rukh.utils.files import check_outputs, write_json


class AblationConfig(Record):
    """A grid of training runs.

    Attributes:
        base: The configuration that every cell changes.
        changes: ``key.sub=value`` each, for all cells.
        cells: Each cell's name and its changes.
        seeds: Every cell is trained once with each.
        reference: The cell that the others are compared with, or for each cell its own.
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
    def _names(cls, cells: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in cells:
            if not re.fullmatch(r"[\w.-]+", name):
                raise ValueError(f"cell {name!r}: a name of letters, digits, '.', '-' and '_'")
        return cells

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands twice")
        return seeds


def run(
    config: AblationConfig, work: Path, only: Sequence[str] = (), finished: bool = False
) -> Iterator[dict[str, Any]]:
    """Train what is not finished yet; yields every cell's result, finished before or now.

    Args:
        work: Folder of the unfinished runs; each is removed when its result is written.
        only: Names of the cells to run; all where empty.
        finished: Whether to train nothing, and to yield finished results alone.

    Raises:
        InputError: Before anything is trained: an unknown cell, a change that makes no
            configuration, a cell that cannot be measured on ``data.val`` or written, or a result
            that is broken or of another configuration.
        WeightsError: Before that, too: an encoder of some cell is not there.
    """
    own = config.reference
    named = (own,) if isinstance(own, str) else (*own, *own.values())
    for name in (*named, *only):
        if name not in config.cells:
            raise InputError(f"no cell named {name!r}", fix=suggestion(name, list(config.cells)))
    cells = [
        (name, seed, _told(config, name, seed, finished))
        for name in config.cells
        for seed in config.seeds
    ]
    known = {
        (name, seed): read_cell(path, name, seed, identity(told, finished))
        for name, seed, told in cells
        if (path := _file(config, name, seed)).exists()
    }
    cells = [cell for cell in cells if not only or cell[0] in only]
    if not finished:
        _check(config, [cell for cell in cells if cell[:2] not in known])
    for name, seed, told in cells:
        if (name, seed) in known:
            yield known[name, seed]
        elif not finished:
            result = {"cell": name, "seed": seed, "configuration": identity(told)}
            result |= _measure(told, work / f"{name}-{seed}")
            write_json(result, _file(config, name, seed))
            shutil.rmtree(work / f"{name}-{seed}", ignore_errors=True)
            shutil.rmtree(work / f"{name}-{seed}.run", ignore_errors=True)
            yield result


def _file(config: AblationConfig, cell: str, seed: int) -> Path:
    return config.results / f"{cell}-{seed}.json"


def _told(config: AblationConfig, cell: str, seed: int, finished: bool) -> RelationTrainingConfig:
    """The configuration of a cell."""
    changes = [*config.changes, *config.cells[cell], f"training.seed={seed}"]
    try:
        told = load_config(
            config.base, RelationTrainingConfig, changes, unset="." if finished else None
        )
    except InputError as error:
        raise error.at(f"cell {cell} of {error.where}") from None
    if told.data.val is None:
        raise InputError("a cell is measured on data.val", where=f"cell {cell}")
    return told


def _check(
    config: AblationConfig, cells: Sequence[tuple[str, int, RelationTrainingConfig]]
) -> None:
    """See that cells can be trained, measured and written, without doing so."""
    measured = set()
    for cell, seed, told in cells:
        try:
            resolve("heads", told.relation.head)
            check_weights((told.pair.text_encoder, "text"), (told.pair.vision_encoder, "vision"))
            if told.pair.init_from is not None:
                model_folder(told.pair.init_from)
        except (InputError, WeightsError) as error:
            raise type(error)(f"cell {cell}: {error}") from None
        data = told.data
        on = (told.relations, data.format, data.val, data.val_images, data.val_captions)
        if on not in measured:  # most cells of a grid are measured on the same posts
            load_val(data, RelationSchema.load(told.relations))
            measured.add(on)
        check_outputs([_file(config, cell, seed)])


def _measure(config: RelationTrainingConfig, out: Path) -> dict[str, Any]:
    """Train a cell, and measure it on ``data.val``: figures, and counts by post."""
    # Measured here, once, with what each post adds; not by training itself as well.
    alone = config.model_copy(update={"data": config.data.model_copy(update={"val": None})})
    trained = train_relations(alone, out)
    extractor = Extractor.from_pretrained(out)
    judged = predict_pairs(extractor, load_val(config.data, extractor.schema))
    gold, names, forward, backward = judged.gold, judged.post_ids, judged.forward, judged.backward
    found = evaluate_predictions(gold, forward, backward, names, extractor.schema)
    figures = {
        key: found[key]
        for key in (
            "micro_f1_order_free", "micro_f1", "micro_precision", "micro_recall", "macro_f1",
            "accuracy", "pairs", "positives",
        )
    }  # fmt: skip
    free = order_free(forward, backward, extractor.schema)
    counts: dict[str, list[int]] = {}
    nota = extractor.schema.nota
    for post, label, told in zip(names, gold, free, strict=True):
        sums = counts.setdefault(post, [0, 0, 0])
        for i, count in enumerate(positive_counts([label], [told], nota)[0].tolist()):
            sums[i] += count
    return {
        "fold": trained["dev"],
        "val": figures,
        # For paired tests: right, told and gold positives of each post, in the file's order.
        "counts": [" ".join(map(str, row)) for row in zip(*counts.values(), strict=True)],
    }


def compare(
    results: Sequence[Mapping[str, Any]], reference: str | Mapping[str, str], draws: int = 2000
) -> list[dict[str, Any]]:
    """A row for each cell: means and deviations over seeds, and its difference to its reference.

    The difference is that of the mean order-free micro-F1 over seeds that both cells have, its
    interval and p-value those of a bootstrap that resamples posts and seeds, the same for both.

    Returns:
        Mappings of ``cell, seeds``, a ``mean`` and ``deviation`` for each figure, its ``reference``
        (None for one), the seeds that both have (``shared``), and ``difference, difference_ci, p``
        (None for a reference and where no seed is shared).
    """
    cells: dict[str, dict[int, Mapping[str, Any]]] = {}
    for result in results:
        cells.setdefault(result["cell"], {})[result["seed"]] = result
    rows = []
    for name, runs in cells.items():
        row: dict[str, Any] = {"cell": name, "seeds": sorted(runs)}
        for key in FIGURES:
            row[key] = spread([run["val"][key] for run in runs.values()])
        other = reference if isinstance(reference, str) else reference.get(name, name)
        against = cells.get(other, {})
        shared = sorted(runs.keys() & against.keys())
        row |= {"reference": None if name == other else other, "shared": shared}
        row |= {"difference": None, "difference_ci": None, "p": None}
        if name != other and shared:
            ours = np.array([counts_of(runs[seed]) for seed in shared])
            theirs = np.array([counts_of(against[seed]) for seed in shared])
            if ours.shape != theirs.shape:
                raise InputError(f"cells {name!r} and {other!r} measure different posts")
            row |= paired_difference(ours, theirs, draws)
        rows.append(row)
    return rows


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of :func:`compare`'s rows should know, a line each."""
    found = []
    for row in rows:
        cell, other = row["cell"], row["reference"]
        if other is not None and not row["shared"]:
            found.append(
                f"{cell} is compared with nothing: no result of {other} with the same seed is "
                "finished and among the cells that were asked"
            )
        elif other is not None and len(row["shared"]) == 1:
            found.append(
                f"{cell} and {other} have one seed in common, so that the interval tells what "
                "other posts would change, not what another training would"
            )
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of :func:`compare` as a Markdown table, in per cent."""
    lines = [
        "| cell | seeds | order-free F1 | given-order F1 | macro-F1 | difference | p |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [row["cell"], str(len(row["seeds"]))]
        for key in FIGURES:
            cells.append(percent(row[key]))
        if row["difference"] is None:
            cells += ["", ""]
        else:
            low, high = row["difference_ci"]
            cells.append(f"{100 * row['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
            cells.append(f"{row['p']:.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
