"""The finished cells of a grid: what their files hold, and whose they are.

A file holds figures and counts by post, never a text or a label. It is believed only where it is of
the configuration that is asked for, and where its figure is that of its counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field, ValidationError, model_validator

from rukh.errors import InputError
from rukh.evaluation.metrics import f1_from_counts
from rukh.records import Record
from rukh.schema.schema import RelationSchema
from rukh.training.relation_task import RelationTrainingConfig
from rukh.utils.files import read_json, sha256

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
    if stored is not None:
        for key in _FILES:
            stored["data"][key] = _same(stored["data"][key], asked["data"][key])
        for mine, other in zip([stored, *stored["mix"]], [asked, *asked["mix"]], strict=False):
            mine["relations"] = _same(mine["relations"], other["relations"])
            if "train" in other:
                mine["train"] = _same(mine["train"], other["train"])
    if stored != asked:
        differs = "it is none" if stored is None else ", ".join(_differences(stored, asked))
        raise InputError(
            f"the result is of another configuration: {differs}",
            where=where,
            fix="mend the grid, remove the result, or name another results folder",
        )
    counted = float(f1_from_counts(np.array(counts_of(result)).sum(-1)))
    if abs(counted - told.val.micro_f1_order_free) > 1e-9:
        raise InputError(
            f"order-free F1 is {told.val.micro_f1_order_free:.4f}, but {counted:.4f} by its counts",
            where=where,
            fix=fix,
        )
    return result


def identity(config: RelationTrainingConfig, finished: bool = False) -> dict[str, Any]:
    """The configuration without notes, and with data files and schemas known by their content, not
    their place; by their name alone where they are not at hand and nothing is to be trained.
    Taggers, encoders, teachers and unlabelled files are known by name.
    """
    plain = config.model_dump(mode="json", exclude={"notes"})
    for key in _FILES:
        if (file := getattr(config.data, key)) is not None:
            plain["data"][key] = _file(file, finished)
    plain["relations"] = _schema(config.relation_schema, finished)
    for told, other in zip(plain["mix"], config.extra_corpora, strict=True):
        told["train"] = _file(other.train, finished)
        told["relations"] = _schema(other.relations, finished)
    for key in ("images", "val_images"):
        folder = getattr(config.data, key)
        plain["data"][key] = None if folder is None else folder.name
    # Without teachers the unlabelled files are not read.
    files = config.distillation.unlabelled if config.distillation.teachers else ()
    plain["distillation"]["unlabelled"] = [file.name for file in files]
    found: dict[str, Any] = json.loads(json.dumps(plain))
    return found


def _file(file: Path, finished: bool) -> str:
    if file.is_file():
        return f"{file.name} {sha256(file)[:16]}"
    if not finished:
        raise InputError("no such file", where=str(file))
    return file.name


def _schema(source: str, finished: bool) -> str:
    try:
        schema = RelationSchema.load(source)
    except InputError:
        if not finished:
            raise
        return Path(source).name
    # Without defaults, so that a field that is added later changes nothing.
    content = schema.model_dump_json(exclude_defaults=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    return f"{Path(source).name} {digest[:16]}"


def _same(stored: Any, asked: Any) -> Any:
    """``asked``, where one of the two is a name alone, and it is the other's name: what is not at
    hand now, or was not looked into when the cell was finished, is known by its name.
    """
    if not (stored and asked) or (_HASHED.fullmatch(stored) and _HASHED.fullmatch(asked)):
        return stored
    names = {Path(one[:-17] if _HASHED.fullmatch(one) else one).name for one in (stored, asked)}
    return asked if len(names) == 1 else stored


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
