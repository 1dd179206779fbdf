"""Configuration files: errors name the dotted key; overrides and variables are applied."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rukh.config import load_config
from rukh.errors import InputError


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lora(Section):
    rank: int = 8


class Constant(Section):
    kind: Literal["constant"] = "constant"
    factor: float = 1.0


class Linear(Section):
    kind: Literal["linear"] = "linear"
    warmup: float = 0.1


class Training(Section):
    epochs: int = Field(default=3, ge=1)
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    shuffle: bool = True
    lora: Lora | None = None
    schedule: Annotated[Constant | Linear, Field(discriminator="kind")] = Constant()
    limit: int | float = 1


class Source(Section):
    path: Path
    format: Literal["mnre", "jsonl"] = "mnre"


class Config(Section):
    data: tuple[Source, ...] = ()
    training: Training = Training()
    note: str | None = None
    aliased: str | None = Field(default=None, alias="relations")

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.note == "contradiction":
            raise ValueError("note contradicts itself")
        return self


def load(folder: Path, text: str, *overrides: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, Config, overrides)


def failure(folder: Path, text: str, *overrides: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load(folder, text, *overrides)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    return caught.value


def test_reads_into_a_frozen_object(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        data: [{path: some/train.txt}, {path: more.jsonl, format: jsonl}]
        training:
          epochs: 2
          learning_rate: 3e-5   # a string in YAML 1.1
          betas: [0.9, 1]
          lora: {rank: 4}
          schedule: {kind: linear, warmup: .5}
        """,
    )
    assert config == Config(
        data=(Source(path=Path("some/train.txt")), Source(path=Path("more.jsonl"), format="jsonl")),
        training=Training(
            epochs=2,
            learning_rate=3e-5,
            betas=(0.9, 1.0),
            lora=Lora(rank=4),
            schedule=Linear(warmup=0.5),
        ),
    )
    with pytest.raises(ValidationError, match="frozen"):
        config.note = "changed"


def test_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing\n") == Config()


@pytest.mark.parametrize(
    ("text", "field", "known"),
    [
        ("trainin: {}", "trainin", "'training'"),
        ("training: {epoch: 2}", "training.epoch", "'epochs'"),
        ("training: {lora: {zzz: 2}}", "training.lora.zzz", "rank"),
        ("training: {schedule: {kind: linear, warmups: 1}}", "training.schedule.warmups", "warmup"),
        # The misspelt key is reported, not the one that is missing because of it.
        ("data: [{paht: x}]", "data[0].paht", "'path'"),
        ("3: x", "3", "data, note, relations, training"),
        ("relation: x", "relation", "'relations'"),  # the key in the file, not the field's name
        ("aliased: x", "aliased", "data, note, relations, training"),
    ],
)
def test_unknown_keys_get_a_suggestion(tmp_path: Path, text: str, field: str, known: str) -> None:
    error = failure(tmp_path, text)
    assert (error.where, error.field) == (str(tmp_path / "config.yaml"), field)
    assert known in str(error.fix)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("data: [{format: mnre}]", "data[0].path", ""),
        ("training: {betas: [1]}", "training.betas[1]", ""),
        ("training: {epochs: many}", "training.epochs", "'many'"),
        ('training: {epochs: "3"}', "training.epochs", "'3'"),
        ("training: {epochs: 0}", "training.epochs", "not 0"),
        ("training: {shuffle: 1}", "training.shuffle", "not 1"),
        ("data: [{path: x, format: csv}]", "data[0].format", "'csv'"),
        ("training: {limit: x}", "training.limit", "'x'"),
        ("relations: 3", "relations", "not 3"),
        ("note: contradiction", None, "contradicts"),
        ("[1, 2]", None, "[1, 2]"),
    ],
)
def test_bad_values_are_named_by_key(
    tmp_path: Path, text: str, field: str | None, value: str
) -> None:
    error = failure(tmp_path, text)
    assert error.field == field and value in error.problem


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("note: 2020-01-01x\nnote: b", ":2"),
        ("note: ok\ntraining: {", ":2"),
        ("note: 2020-13-45", ""),
        ("note: !!python/name:os.system", ":1"),
        ("? [a, b]\n: 1", ":1"),
        ("[" * 5000, ":1"),
    ],
)
def test_invalid_yaml_is_named_by_line(tmp_path: Path, text: str, line: str) -> None:
    assert failure(tmp_path, text).where == f"{tmp_path / 'config.yaml'}{line}"


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: cannot read: No such file"):
        load_config(tmp_path / "absent.yaml", Config)
    (tmp_path / "latin.yaml").write_bytes(b"note: \xe9")
    with pytest.raises(InputError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml", Config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${RUKH_DATA:-../data}/a", "/set/a"),
        ("${RUKH_ABSENT:-../data}/a", "../data/a"),
        ("${RUKH_EMPTY:-../data}/a", "../data/a"),
        ("${RUKH_ABSENT:-}a", "a"),
        ("${RUKH_DATA}${RUKH_DATA}", "/set/set"),
        ("$RUKH_DATA costs 5 $", "$RUKH_DATA costs 5 $"),
    ],
)
def test_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.setenv("RUKH_DATA", "/set")
    monkeypatch.setenv("RUKH_EMPTY", "")
    monkeypatch.delenv("RUKH_ABSENT", raising=False)
    config = load(tmp_path, f"note: '{text}'\ndata: [{{path: '{text}'}}]")
    assert config.note == expected
    assert config.data[0].path == Path(expected)


@pytest.mark.parametrize("text", ["${RUKH_ABSENT}", "${HOME}", "${HOME:-x}", "${RUKH_DATA", "${}"])
def test_variables_that_are_not_expanded(tmp_path: Path, text: str) -> None:
    assert "RUKH_ABSENT" not in os.environ
    error = failure(tmp_path, f"data: [{{path: '{text}'}}]")
    assert error.field == "data[0].path" and "${RUKH_" in str(error.fix)


def test_an_overridden_variable_need_not_be_set(tmp_path: Path) -> None:
    assert load(tmp_path, "note: ${RUKH_ABSENT}", "note=mine").note == "mine"


def test_overrides_are_yaml_and_the_last_one_wins(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "training: {epochs: 9, shuffle: true}\nnote: x",
        "training.epochs=3",
        "training.epochs=4",
        "training.learning_rate=1e-5",
        "training.betas=[0.5, 0.6]",
        "training.lora.rank=2",
        "training.shuffle=false",
        "note=",
    )
    assert config.training == Training(
        epochs=4, learning_rate=1e-5, betas=(0.5, 0.6), lora=Lora(rank=2), shuffle=False
    )
    assert config.note is None
    assert load(tmp_path, "", "note=a=b").note == "a=b"


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("training.epoch=3", "training.epoch"),
        ("training.epochs=x", "training.epochs"),
        ("note.x=3", "note"),
        ("training.epochs", None),
        ("training..epochs=3", None),
        ("note=[", None),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, field: str | None) -> None:
    error = failure(tmp_path, "note: text", override)
    assert error.field == field
    assert field or override in str(error)
