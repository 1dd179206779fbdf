"""The files of a relation model: ``config.json``, and what it takes to read and write them.

A model folder contains ``config.json``, ``model.safetensors``, ``schema.yaml``, the model card
``README.md``, and optionally ``background.safetensors``. The weights are stored in fp16, without
those that are equal to the weights of the pretrained encoders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from safetensors.torch import save
from torch import Tensor

from rukh.errors import InputError, WeightsError
from rukh.hub import model_folder
from rukh.modeling.adapters import load_trained_state, read_state
from rukh.modeling.background import EncodedPairs, background_to_bytes
from rukh.modeling.directions import DirectionMode
from rukh.modeling.pair_encoder import PairConfig
from rukh.modeling.scorers import RelationConfig
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Record, as_input_error
from rukh.schema.schema import RelationSchema
from rukh.utils.files import (
    atomic_folder,
    atomic_open,
    check_replaceable,
    read_json,
    sha256,
    write_json,
)

WEIGHTS = "model.safetensors"
BACKGROUND = "background.safetensors"
CARD = "README.md"
ANCHORS = "anchors"
"""Name of the tensor in :data:`WEIGHTS` that contains the anchors."""
TEXT_ENCODER = "pair_encoder.text_encoder."
"""Prefix of the names of the text encoder's weights."""


class ModelConfig(Record):
    """The contents of ``config.json``.

    Attributes:
        task: Task of the model, which distinguishes relation models from taggers.
        pair: Options of the pair encoder.
        relation: Options for the descriptions and the scores of relations.
        tagger: Name or path of the tagger that detects entities and assigns types, or None.
        default_schema: Name or path of the schema to predict if none is given. None: the schema
            that the model was trained on.
        default_relations: The relations of that schema to predict if no schema is given. Empty: as
            ``default_schema`` says.
        caption_source: Name of the source of the captions in training, or None.
        init_from_sha256: Hash of the weights of ``pair.init_from``. Weights that are not stored in
            the model folder are loaded from there.
        visual_dim: Width of the vision encoder's patch states.
        direction_mode: Directions in which the model was trained, which determine the columns of
            its logits; see :mod:`rukh.modeling.directions`.
        temperature: Divisor of the logits, fitted on the dev set.
        unseen_temperature: Temperature for schemas with relations that the model was not trained
            on. None: the same temperature as for other schemas.
        unseen_shift: Number added to the logits of relations that the model was not trained on,
            because their descriptions are less similar to their pairs than those of trained ones.
            See also :mod:`rukh.modeling.background`.
        type_penalty: Number subtracted from a relation's logit for each argument type that the
            relation does not allow; see :mod:`rukh.modeling.type_constraints`.
        threshold: Minimum probability of a prediction.
        unseen_threshold: The same for schemas with relations that the model was not trained on, or
            that it knows from a few examples. None: ``threshold``.
        anchored_relations: Relations with few-shot anchors, in the order of the stored anchors; see
            :mod:`rukh.training.few_shot`.
        background_pairs: Number of unrelated pairs in ``background.safetensors``.
        metrics: Metrics on the dev set and on the validation data at the end of training.
    """

    task: Literal["relations"] = "relations"
    pair: PairConfig = PairConfig()
    relation: RelationConfig = RelationConfig()
    tagger: str | None = "tagger"
    default_schema: str | None = None
    default_relations: tuple[str, ...] = ()
    caption_source: str | None = None
    init_from_sha256: str | None = None
    visual_dim: int = Field(default=1, ge=1)
    direction_mode: DirectionMode = "both"
    temperature: float = Field(default=1.0, gt=0)
    unseen_temperature: float | None = Field(default=None, gt=0)
    unseen_shift: float = 0.0
    type_penalty: float = Field(default=0.0, ge=0)
    threshold: float = Field(default=0.5, ge=0, le=1)
    unseen_threshold: float | None = Field(default=None, ge=0, le=1)
    anchored_relations: tuple[str, ...] = ()
    background_pairs: int = Field(default=0, ge=0)
    metrics: dict[str, Any] = {}


def load_text_encoder(config: PairConfig) -> TextEncoder:
    """Load the initial text encoder of a pair encoder: the pretrained one or that of ``init_from``.

    Raises:
        WeightsError: ``init_from`` is not a model, or a pretrained encoder is missing.
        InputError: The text encoder of ``init_from`` differs from that of the configuration.
    """
    if config.init_from is None:
        return TextEncoder.load(config.text_encoder)
    folder = model_folder(config.init_from, local_files_only=True)
    model_config = read_config(folder)
    if model_config is None:
        prefix = "encoder."
        name = (read_json(folder / "config.json") or {}).get("text_encoder")
        if name is None:
            raise WeightsError(f"{folder} contains neither a tagger nor a relation model")
    else:
        prefix = TEXT_ENCODER
        name = model_config.pair.text_encoder
    if name != config.text_encoder:
        raise InputError(
            f"{config.init_from!r} has the text encoder {name!r}, not {config.text_encoder!r}",
            field="pair.init_from",
            fix=f"set pair.text_encoder={name}, or pair.init_from=null to start from the encoder",
        )
    encoder = (
        TextEncoder.load(name) if model_config is None else load_text_encoder(model_config.pair)
    )
    state = read_state(folder / WEIGHTS)
    load_trained_state(
        encoder,
        {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)},
    )
    return encoder


def check_pair_options(pair: PairConfig, source: str | Path) -> Path:
    """Check that a model has these options of the pair encoder, so that it can be trained further.

    Returns:
        The folder of the model.

    Raises:
        WeightsError: There is no such model.
        InputError: Options differ; the message lists them with the values of the model.
    """
    folder, config = relation_model(source)
    own, other = pair.model_dump(), config.pair.model_dump()
    if different := [name for name in own if own[name] != other[name]]:
        wrong = ", ".join(f"{name} is {own[name]!r}" for name in different)
        right = " ".join(f"pair.{name}={json.dumps(other[name])}" for name in different)
        raise InputError(
            f"{str(source)!r} has other options of the pair encoder: in the configuration, {wrong}",
            field="start_from",
            fix=f"set {right}, or start_from=null to train without it",
        )
    return folder


def init_from_sha256(config: PairConfig) -> str | None:
    """Return the hash of the weights of ``config.init_from``, or None if it is None."""
    if config.init_from is None:
        return None
    return sha256(model_folder(config.init_from, local_files_only=True) / WEIGHTS)


def write_model(
    folder: Path,
    state: dict[str, Tensor],
    config: ModelConfig,
    schema: RelationSchema,
    card: str,
    background: EncodedPairs | None = None,
) -> None:
    """Write the files of a model folder, which appears only when it is complete.

    Raises:
        InputError: ``folder`` is a file, or a folder with files that are no model.
    """
    check_replaceable(folder)
    count = 0 if background is None else len(background.nota)
    config = config.model_copy(update={"background_pairs": count})
    with atomic_folder(folder) as part:
        with atomic_open(part / WEIGHTS, "wb") as stream:
            stream.write(save(state))
        if background is not None:
            with atomic_open(part / BACKGROUND, "wb") as stream:
                stream.write(background_to_bytes(background))
        write_json(config.model_dump(mode="json"), part / "config.json")
        (part / "schema.yaml").write_text(schema.to_yaml(), encoding="utf-8")
        (part / CARD).write_text(card, encoding="utf-8")


def relation_model(
    source: str | Path, *, revision: str | None = None, local_files_only: bool = False
) -> tuple[Path, ModelConfig]:
    """Return a relation model's folder and configuration; see :func:`rukh.hub.model_folder`.

    Raises:
        WeightsError: There is no such model, or it is not a relation model.
        InputError: The configuration is invalid.
    """
    folder = model_folder(source, revision=revision, local_files_only=local_files_only)
    config = read_config(folder)
    if config is None:
        raise WeightsError(f"{str(source)!r} is not a relation model of rukh: {folder}")
    return folder, config


def read_config(folder: Path) -> ModelConfig | None:
    """Read ``config.json``; return None if it does not belong to a relation model."""
    file = folder / "config.json"
    data = read_json(file)
    if not isinstance(data, dict) or data.get("task") != "relations":
        return None
    try:
        config = ModelConfig.model_validate(data)
    except ValidationError as error:
        raise as_input_error(error, str(file)) from None
    if config.init_from_sha256 not in (None, init_from_sha256(config.pair)):
        raise WeightsError(
            f"the weights of {config.pair.init_from!r} have changed since {folder} was trained "
            "from them; restore them, or train the model again"
        )
    return config
