"""The finished cells of a grid: what their files hold, and whose they are.

A file holds figures and counts by post, never a text or a label. It is believed only where it is of
the configuration that is asked for, and where its figure is that of its counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field, ValidationError, model_validator

from rukh.errors import InputError
from rukh.files import read_json, sha256
from rukh.records import Record
from rukh.relation_training import RelationTrainingConfig
from rukh.studies.bootstrap import f1

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Counts: TypeAlias = Annotated[str, Field(pattern=r"^\d{1,9}( \d{1,9})*$")]
_FILES = ("train", "val", "captions", "val_captions")
_HASHED = re.compile(r".* [0-9a-f]{16}", re.S)


class _Figures(Record):
    micro_f1_order_free: Share
    micro_f1: Share
    micro_precision: Share
    micro_recall: Share
    macro_f1: Share
    accuracy: Share
    pairs: int
    positives: int

    @model_validator(mode="after")
    def _agree(self) -> _Figures:
        both = self.micro_precision + self.micro_recall
        told = 2 * self.micro_precision * self.micro_recall / both if both else 0.0
        if abs(told - self.micro_f1) > 1e-9:
            raise ValueError("micro_f1 is not that of its precision and recall")
        return self


class _Result(Record):
    """What a finished cell's file holds."""

    cell: str
    seed: int
    configuration: dict[str, Any]
    fold: dict[str, float]
    val: _Figures
    counts: tuple[Counts, Counts, Counts]

    @model_validator(mode="after")
    def _of_the_same_posts(self) -> _Result:
        if len({row.count(" ") for row in self.counts}) > 1:
            raise ValueError("counts are of different numbers of posts")
        return self


def read_cell(path: Path, cell: str, seed: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A finished cell's file. Raises InputError where it is broken or not that cell's."""
    result: dict[str, Any] = read_json(path)
    where, fix = str(path), "remove it, or name another results folder"
    try:
        told = _Result.model_validate(result)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"is no result of a cell: {first['msg']}",
            where=where,
            field=".".join(map(str, first["loc"])) or None,
            fix=fix,
        ) from None
    if (told.cell, told.seed) != (cell, seed):
        raise InputError(f"the result is of {told.cell}, seed {told.seed}", where=where, fix=fix)
    stored = _filled(told.configuration)
    for key in _FILES:
        # Where a file is not at hand, its name has to do.
        named = asked["data"][key]
        if stored is not None and named and not _HASHED.fullmatch(named):
            stored["data"][key] = str(stored["data"][key])[: -len(" 0123456789abcdef")]
    if stored != asked:
        differs = "it is none" if stored is None else ", ".join(_differences(stored, asked))
        raise InputError(
            f"the result is of another configuration: {differs}",
            where=where,
            fix="mend the grid, remove the result, or name another results folder",
        )
    counted = f1(np.array(counts_of(result)).sum(-1, keepdims=True)[None]).item()
    if abs(counted - told.val.micro_f1_order_free) > 1e-9:
        raise InputError(
            f"order-free F1 is {told.val.micro_f1_order_free:.4f}, but {counted:.4f} by its counts",
            where=where,
            fix=fix,
        )
    return result


def identity(config: RelationTrainingConfig, finished: bool = False) -> dict[str, Any]:
    """The configuration without notes, and with files known by their content, not their place;
    by their name alone where they are not at hand and nothing is to be trained.
    """
    plain = config.model_dump(mode="json", exclude={"notes"})
    for key in _FILES:
        file = getattr(config.data, key)
        if file is None:
            continue
        if not file.is_file() and not finished:
            raise InputError("no such file", where=str(file))
        plain["data"][key] = f"{file.name} {sha256(file)[:16]}" if file.is_file() else file.name
    for key in ("images", "val_images"):
        folder = getattr(config.data, key)
        plain["data"][key] = None if folder is None else folder.name
    # Without teachers the unlabelled files are not read.
    files = config.distillation.unlabelled if config.distillation.teachers else ()
    plain["distillation"]["unlabelled"] = [file.name for file in files]
    found: dict[str, Any] = json.loads(json.dumps(plain))
    return found


def _filled(stored: Mapping[str, Any]) -> dict[str, Any] | None:
    """A finished cell's configuration with the defaults of keys that came after it: a key that is
    added keeps, by its default, what was done before. None for what is no configuration.
    """
    try:
        told = RelationTrainingConfig.model_validate(stored)
    except ValidationError:
        return None
    found: dict[str, Any] = json.loads(json.dumps(told.model_dump(mode="json", exclude={"notes"})))
    return found


def _differences(stored: Mapping[str, Any], asked: Mapping[str, Any], at: str = "") -> list[str]:
    """The keys in which two configurations of the same form differ, with both values."""
    found = []
    for key, value in asked.items():
        other = stored[key]
        if isinstance(value, dict) and isinstance(other, dict):
            found += _differences(other, value, f"{at}{key}.")
        elif value != other:
            found.append(f"{at}{key} is {other!r} there and {value!r} here")
    return found


def counts_of(result: Mapping[str, Any]) -> list[list[int]]:
    """A result's right, told and gold positives by post, ``(3, posts)``."""
    return [[int(count) for count in row.split()] for row in result["counts"]]
