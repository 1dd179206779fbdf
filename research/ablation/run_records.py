"""The finished cells of a grid: what their files hold, and how they are checked.

A file holds figures and counts by post, never a text or a label. It is used only if it belongs to
the requested configuration, and if its figure agrees with its counts.
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

Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Counts: TypeAlias = Annotated[str, Field(pattern=r"^\d{1,9}( \d{1,9})*$")]
_FILES = ("train", "val", "captions", "val_captions")
_NAME_AND_HASH = re.compile(r".* [0-9a-f]{16}", re.S)


class _Figures(Record):
    micro_f1_order_free: Fraction
    micro_f1: Fraction
    micro_precision: Fraction
    micro_recall: Fraction
    macro_f1: Fraction
    accuracy: Fraction
    pairs: int
    positives: int

    @model_validator(mode="after")
    def _agree(self) -> _Figures:
        total = self.micro_precision + self.micro_recall
        f1 = 2 * self.micro_precision * self.micro_recall / total if total else 0.0
        if abs(f1 - self.micro_f1) > 1e-9:
            raise ValueError("micro_f1 does not follow from precision and recall")
        return self


class _RunRecord(Record):
    """The content of a finished cell's file."""

    cell: str
    seed: int
    configuration: dict[str, Any]
    dev: dict[str, float]
    val: _Figures
    counts: tuple[Counts, Counts, Counts]

    @model_validator(mode="after")
    def _same_posts(self) -> _RunRecord:
        if len({row.count(" ") for row in self.counts}) > 1:
            raise ValueError("counts are of different numbers of posts")
        return self


def read_record(path: Path, cell: str, seed: int, requested: Mapping[str, Any]) -> dict[str, Any]:
    """A finished cell's file. Raises InputError if it is broken or of another cell."""
    result: dict[str, Any] = read_json(path)
    where, fix = str(path), "remove it, or name another results folder"
    try:
        record = _RunRecord.model_validate(result)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"not the result of a cell: {first['msg']}",
            where=where,
            field=".".join(map(str, first["loc"])) or None,
            fix=fix,
        ) from None
    if (record.cell, record.seed) != (cell, seed):
        raise InputError(f"the result of {record.cell}, seed {record.seed}", where=where, fix=fix)
    stored = _with_defaults(record.configuration)
    if stored is not None:
        for key in _FILES:
            stored["data"][key] = _match(stored["data"][key], requested["data"][key])
        corpora = zip(
            [stored, *stored["extra_corpora"]],
            [requested, *requested["extra_corpora"]],
            strict=False,
        )
        for mine, other in corpora:
            mine["schema"] = _match(mine["schema"], other["schema"])
            if "train" in other:
                mine["train"] = _match(mine["train"], other["train"])
    if stored != requested:
        difference = "invalid" if stored is None else ", ".join(_differences(stored, requested))
        raise InputError(
            f"the result of another configuration: {difference}",
            where=where,
            fix="correct the grid, remove the result, or name another results folder",
        )
    f1 = float(f1_from_counts(np.array(counts_by_post(result)).sum(-1)))
    if abs(f1 - record.val.micro_f1_order_free) > 1e-9:
        raise InputError(
            f"order-free F1 is {record.val.micro_f1_order_free:.4f}, but {f1:.4f} by its counts",
            where=where,
            fix=fix,
        )
    return result


def identity(config: RelationTrainingConfig, finished: bool = False) -> dict[str, Any]:
    """The configuration, with data files and schemas identified by their content, not their path.

    Files that are absent are identified by their name if nothing is to be trained (``finished``).
    Taggers and encoders are identified by name. The notes for the model card are left out.
    """
    plain = config.model_dump(mode="json", by_alias=True, exclude={"card_notes"})
    for key in _FILES:
        if (file := getattr(config.data, key)) is not None:
            plain["data"][key] = _file(file, finished)
    plain["schema"] = _schema(config.relation_schema, finished)
    for entry, other in zip(plain["extra_corpora"], config.extra_corpora, strict=True):
        entry["train"] = _file(other.train, finished)
        entry["schema"] = _schema(other.relation_schema, finished)
    for key in ("images", "val_images"):
        folder = getattr(config.data, key)
        plain["data"][key] = None if folder is None else folder.name
    result: dict[str, Any] = json.loads(json.dumps(plain))
    return result


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
    return f"{Path(source).name} {hashlib.sha256(content).hexdigest()[:16]}"


def _match(stored: Any, requested: Any) -> Any:
    """``requested`` if it and ``stored`` have the same name and at most one of them has a hash,
    else ``stored``.
    """
    if not (stored and requested) or (
        _NAME_AND_HASH.fullmatch(stored) and _NAME_AND_HASH.fullmatch(requested)
    ):
        return stored
    names = {
        Path(one[:-17] if _NAME_AND_HASH.fullmatch(one) else one).name
        for one in (stored, requested)
    }
    return requested if len(names) == 1 else stored


def _with_defaults(stored: Mapping[str, Any]) -> dict[str, Any] | None:
    """A stored configuration with the defaults of keys that were added later; None if invalid."""
    try:
        config = RelationTrainingConfig.model_validate(stored)
    except ValidationError:
        return None
    plain = config.model_dump(mode="json", by_alias=True, exclude={"card_notes"})
    result: dict[str, Any] = json.loads(json.dumps(plain))
    return result


def _differences(
    stored: Mapping[str, Any], requested: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """The keys in which two configurations of the same form differ, with both values."""
    lines = []
    for key, value in requested.items():
        other = stored[key]
        if isinstance(value, dict) and isinstance(other, dict):
            lines += _differences(other, value, f"{prefix}{key}.")
        elif value != other:
            lines.append(f"{prefix}{key} is {other!r} there and {value!r} here")
    return lines


def counts_by_post(result: Mapping[str, Any]) -> list[list[int]]:
    """A result's true, predicted and gold positives by post, ``(3, posts)``."""
    return [[int(count) for count in row.split()] for row in result["counts"]]
