"""The relation model, and the folder in which it is saved.

A model folder contains ``config.json``, ``model.safetensors``, ``schema.yaml``, the model card
``README.md``, and optionally ``memory.safetensors``. The weights are stored in fp16, without those
that are equal to the weights of the pretrained encoders.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from rukh.errors import InputError, RukhError, WeightsError
from rukh.hub import model_folder
from rukh.modeling.adapters import load_trained_state, read_state, trained_state
from rukh.modeling.batch import PairBatch
from rukh.modeling.device import choose_device
from rukh.modeling.directions import DirectionMode, column_mask, merge_directions, to_probabilities
from rukh.modeling.image_features import FeatureCache, features_of
from rukh.modeling.memory import Memory, memory_to_bytes, read_memory
from rukh.modeling.pair_encoder import PairConfig, PairEncoder, configured_vision
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import PairScores, RelationConfig, Scorer, select_descriptions
from rukh.modeling.text_encoder import TextEncoder, encoder_key
from rukh.modeling.vision_encoder import VisionEncoder
from rukh.records import Post, Record, as_input_error
from rukh.registry import resolve
from rukh.schema.schema import RelationSchema
from rukh.utils.files import atomic_folder, atomic_open, read_json, sha256, write_json

WEIGHTS = "model.safetensors"
MEMORY = "memory.safetensors"
ANCHORS = "anchors"
"""Name of the tensor in :data:`WEIGHTS` that contains the anchors."""
_TEXT_ENCODER = "pair_encoder.text_encoder."


class ModelConfig(Record):
    """The contents of ``config.json``.

    Attributes:
        task: Task of the model, which distinguishes relation models from taggers.
        pair: Options of the pair encoder.
        relation: Options for the descriptions and the scores of relations.
        tagger: Name or path of the tagger that detects entities and assigns types, or None.
        default_schema: Name or path of the schema to predict if none is given. None: the schema
            that the model was trained on.
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
        type_penalty: Number subtracted from a relation's logit for each argument type that the
            relation does not allow; see :mod:`rukh.modeling.type_constraints`.
        threshold: Minimum probability of a prediction.
        anchored_relations: Relations with few-shot anchors, in the order of the stored anchors; see
            :mod:`rukh.training.few_shot`.
        memory_size: Number of training pairs in ``memory.safetensors``.
        metrics: Metrics on the dev set and on the validation data at the end of training.
    """

    task: Literal["relations"] = "relations"
    pair: PairConfig = PairConfig()
    relation: RelationConfig = RelationConfig()
    tagger: str | None = "tagger"
    default_schema: str | None = None
    caption_source: str | None = None
    init_from_sha256: str | None = None
    visual_dim: int = Field(default=1, ge=1)
    direction_mode: DirectionMode = "both"
    temperature: float = Field(default=1.0, gt=0)
    unseen_temperature: float | None = Field(default=None, gt=0)
    unseen_shift: float = 0.0
    type_penalty: float = Field(default=0.0, ge=0)
    threshold: float = Field(default=0.5, ge=0, le=1)
    anchored_relations: tuple[str, ...] = ()
    memory_size: int = Field(default=0, ge=0)
    metrics: dict[str, Any] = {}


class RelationModel(nn.Module):
    """A pair encoder, and a scorer that compares encoded pairs with the relations of a bank.

    Args:
        config: Options; ``visual_dim`` must be the width of the vision encoder.
        schema: The relations that the model is trained on.
        text_encoder: The text encoder. None: the text encoder of ``config.pair`` is loaded.

    Attributes:
        anchors: ``(A, dim + 1)`` anchors of ``config.anchored_relations``.
        memory: Stored training pairs, or None. They stay in the CPU's memory.

    Example:
        >>> model = RelationModel.from_pretrained("mnre")
        >>> model.schema.nota
        'None'
    """

    anchors: Tensor

    def __init__(
        self, config: ModelConfig, schema: RelationSchema, text_encoder: TextEncoder | None = None
    ) -> None:
        super().__init__()
        self.config, self.schema = config, schema
        if text_encoder is None:
            text_encoder = load_text_encoder(config.pair)
        self.pair_encoder = PairEncoder(config.pair, text_encoder, config.visual_dim)
        self.scorer: Scorer = resolve("scorers", config.relation.scorer)(
            config.pair.dim, text_encoder.dim, config.relation, schema
        )
        # Not in the state dict, which is read by the names of the parameters.
        anchors = torch.zeros(len(config.anchored_relations), config.pair.dim + 1)
        self.register_buffer("anchors", anchors, persistent=False)
        self.memory: Memory | None = None

    @property
    def device(self) -> torch.device:
        """The device of the weights. ``model.to(device)`` changes it."""
        return self.pair_encoder.text_encoder.device

    @property
    def vision(self) -> VisionEncoder | None:
        """The frozen vision encoder, loaded at first use; None if the model does not have one."""
        return None if self._vision is None else self._vision.to(self.device)

    @cached_property
    def _vision(self) -> VisionEncoder | None:
        return configured_vision(self.config.pair)

    @property
    def default_schema(self) -> RelationSchema:
        """The schema to predict if none is given."""
        name = self.config.default_schema
        return self.schema if name is None else RelationSchema.load(name)

    @torch.no_grad()
    def bank(self, schema: RelationSchema | None = None, *, training: bool = False) -> RelationBank:
        """Embed the relations of a schema, by default those of the model.

        The bank is in the CPU's memory; :meth:`forward` copies it to the device of the model.

        Args:
            training: Whether to use the descriptions for training; see ``label_names`` of
                :class:`rukh.modeling.scorers.RelationConfig`.
        """
        schema = schema or self.schema
        selected = select_descriptions(schema, self.config.relation, training)
        # Descriptions are embedded by the pretrained text encoder, but that of the pair encoder has
        # been trained. The pretrained one is loaded again only if the cache lacks a description.
        name = self.config.pair.text_encoder
        load = cache(lambda: TextEncoder.load(name).eval().to(self.device))
        bank = RelationBank.build(
            selected, lambda texts: load().embed_sentences(texts), encoder_key(name)
        )
        trained = self._trained_relations(schema)
        mask = column_mask(trained, bank, self.config.direction_mode)
        if not mask.all():
            bank = replace(bank, trained=mask)
        anchors = dict(zip(self.config.anchored_relations, self.anchors.cpu(), strict=True))
        if not trained & anchors.keys():
            return bank
        zero = torch.zeros(self.config.pair.dim + 1)
        rows = [anchors.get(name, zero) if name in trained else zero for name in bank.names]
        return replace(bank, anchors=torch.stack(rows))

    def _trained_relations(self, schema: RelationSchema) -> set[str]:
        """Return the names of the schema's relations that the model was trained on.

        They have the name of a relation of the model's schema and share a description with it, if
        it has any. The second condition excludes different relations with the same name.
        """
        own = {relation.name: {*relation.descriptions} for relation in self.schema.relations}
        return {
            relation.name
            for relation in schema.relations
            if relation.name in own
            and (not own[relation.name] or own[relation.name] & {*relation.descriptions})
        }

    def forward(self, inputs: PairBatch, bank: RelationBank) -> PairScores[Tensor]:
        """Score all pairs of a batch against a bank.

        The names of types are those in the bank's schema, else those in the model's schema.
        """
        joint = self.config.direction_mode == "joint"
        bank = bank.to(self.device)
        type_words = {**self.schema.types, **bank.types}
        encodings = self.pair_encoder(inputs, type_words, both_directions=joint)
        scores = [self.scorer(encoding, bank) for encoding in encodings]
        if not joint:
            return scores[0]
        forward, backward = scores
        return forward._replace(logits=merge_directions(forward.logits, backward.logits, bank))

    def encode_pairs(self, posts: Sequence[Post]) -> Tensor:
        """Return the embeddings of the pairs that posts list, to which relations are compared.

        Pairs of similar meaning have a high dot product. Entity types are used as given;
        :meth:`rukh.extractor.Extractor.assign_types` adds missing ones. Like :meth:`forward`, this
        expects a model in evaluation mode, which a loaded model is in.

        Returns:
            ``(Q, dim)`` vectors of length 1 in the CPU's memory, one for each pair, in the order of
            the posts and their pairs, and in the direction from head to tail. A post without listed
            pairs has none.

        Example:
            >>> post = Post(id="1", text="Ann in Rome", entities=[
            ...     {"id": "a", "start": 0, "end": 3}, {"id": "r", "start": 7, "end": 11}],
            ...     pairs=[{"head": "a", "tail": "r"}, {"head": "r", "tail": "a"}])
            >>> RelationModel.from_pretrained("open").encode_pairs([post]).shape
            torch.Size([2, 384])
        """
        from rukh.modeling.inference import encode_posts

        has_image = any(post.image is not None for post in posts)
        vision = self.vision if has_image else None
        images = features_of(posts, None if vision is None else FeatureCache(None, vision))
        pairs = [[(pair.head, pair.tail) for pair in post.pairs or ()] for post in posts]
        type_words = {**self.schema.types, **self.default_schema.types}
        embeddings = encode_posts(self, type_words, posts, pairs, images)
        return torch.cat([torch.zeros(0, self.config.pair.dim), *embeddings])

    def probabilities(self, logits: Tensor, bank: RelationBank, directed: bool = False) -> Tensor:
        """Convert the logits of :meth:`forward` to calibrated probabilities.

        Args:
            directed: Whether the direction of each pair is known, see
                :func:`rukh.modeling.directions.to_probabilities`.

        Returns:
            ``(Q, 1 + R)`` probabilities, NOTA first.
        """
        config, temperature = self.config, self.config.temperature
        if bank.trained is not None:
            logits = logits + torch.where(bank.trained, 0.0, config.unseen_shift)
            temperature = config.unseen_temperature or temperature
        return to_probabilities(logits / temperature, len(bank.names), directed)

    def save(self, folder: Path, card: str) -> None:
        """Write the model and its card to a folder, which appears only when it is complete.

        Raises:
            RukhError: The low-rank adapters were merged because the model was loaded from a folder.
        """
        state = {name: value.half().contiguous() for name, value in trained_state(self).items()}
        if self.config.pair.lora_rank and not any(".lora_" in name for name in state):
            raise RukhError("cannot save a model whose low-rank adapters were merged on loading")
        write_model(folder, state, self.config, self.schema, card, self.memory)

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, device: str | torch.device = "auto"
    ) -> RelationModel:
        """Load a shipped model by name, or a model from a folder.

        Args:
            source: The model's name or folder.
            device: Name of a device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. ``auto``: the first
                of CUDA, MPS and CPU that this machine has.

        Raises:
            WeightsError: There is no such model; it is not a relation model; its weights are
                missing, are damaged or do not fit its configuration; or an encoder is missing.
            InputError: The configuration or the schema is invalid, or there is no such device.
        """
        device = choose_device(device)
        folder, config = _relation_model(source)
        schema = RelationSchema.load(folder / "schema.yaml")
        # Low-rank adapters are merged on loading, so the module is created without adapters.
        pair = config.pair.model_copy(update={"lora_rank": 0})
        model = cls(config.model_copy(update={"pair": pair}), schema)
        model.config = config
        state = read_state(folder / WEIGHTS)
        if config.anchored_relations:
            anchors = state.pop(ANCHORS, torch.zeros(0)).float()
            if anchors.shape != model.anchors.shape:
                raise WeightsError(f"{folder} is damaged: the anchors are missing")
            model.anchors = anchors
        if config.memory_size or (folder / MEMORY).exists():
            model.memory = read_memory(folder / MEMORY, config.pair.dim)
        load_trained_state(model, state)
        expected = set(trained_state(model))
        if config.pair.lora_rank:
            expected = {name for name in expected if not name.startswith(_TEXT_ENCODER)}
        if missing := sorted(expected - state.keys()):
            raise WeightsError(f"{folder} is damaged: the weights {missing[0]!r} are missing")
        return model.eval().to(device)


def load_text_encoder(config: PairConfig) -> TextEncoder:
    """Load the initial text encoder of a pair encoder: the pretrained one or that of ``init_from``.

    Raises:
        WeightsError: ``init_from`` is not a model, or a pretrained encoder is missing.
        InputError: The text encoder of ``init_from`` differs from that of the configuration.
    """
    if config.init_from is None:
        return TextEncoder.load(config.text_encoder)
    folder = model_folder(config.init_from)
    model_config = _read_config(folder)
    if model_config is None:
        prefix = "encoder."
        name = (read_json(folder / "config.json") or {}).get("text_encoder")
        if name is None:
            raise WeightsError(f"{folder} contains neither a tagger nor a relation model")
    else:
        prefix = _TEXT_ENCODER
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


def copy_initial_weights(model: RelationModel) -> list[str]:
    """Copy all weights that fit, except the text encoder's, from ``pair.init_from``.

    This is only needed before training, because a saved model contains these weights.

    Returns:
        Names of the copied parameters, which have the same name and shape in both models. The list
        is empty if ``init_from`` is None or a tagger.
    """
    source = model.config.pair.init_from
    if source is None or _read_config(folder := model_folder(source)) is None:
        return []
    state, own = read_state(folder / WEIGHTS), dict(model.named_parameters())
    fitting = {
        name: value
        for name, value in state.items()
        if name in own and own[name].shape == value.shape and not name.startswith(_TEXT_ENCODER)
    }
    load_trained_state(model, fitting)
    return list(fitting)


def copy_all_weights(model: RelationModel, source: str | Path) -> None:
    """Copy the trained weights of a model with the same options, to train it further.

    Low-rank adapters are continued, so that the result does not depend on the source.

    Raises:
        WeightsError: There is no such model, or its weights do not fit.
        InputError: The models have different options of the pair encoder.
    """
    check_pair_options(model.config.pair, source)
    folder, _ = _relation_model(source)
    state = read_state(folder / WEIGHTS)
    state.pop(ANCHORS, None)
    load_trained_state(model, state)


def check_pair_options(pair: PairConfig, source: str | Path) -> None:
    """Check that a model has these options of the pair encoder, so that it can be trained further.

    Raises:
        WeightsError: There is no such model.
        InputError: Options differ; the message lists them with the values of the model.
    """
    _, config = _relation_model(source)
    own, other = pair.model_dump(), config.pair.model_dump()
    if different := [name for name in own if own[name] != other[name]]:
        wrong = ", ".join(f"{name} is {own[name]!r}" for name in different)
        right = " ".join(f"pair.{name}={json.dumps(other[name])}" for name in different)
        raise InputError(
            f"{str(source)!r} has other options of the pair encoder: in the configuration, {wrong}",
            field="start_from",
            fix=f"set {right}, or start_from=null to train without it",
        )


def init_from_sha256(config: PairConfig) -> str | None:
    """Return the hash of the weights of ``config.init_from``, or None if it is None."""
    return None if config.init_from is None else sha256(model_folder(config.init_from) / WEIGHTS)


def write_model(
    folder: Path,
    state: dict[str, Tensor],
    config: ModelConfig,
    schema: RelationSchema,
    card: str,
    memory: Memory | None = None,
) -> None:
    """Write the files of a model folder, which appears only when it is complete."""
    config = config.model_copy(update={"memory_size": 0 if memory is None else len(memory)})
    with atomic_folder(folder) as part:
        with atomic_open(part / WEIGHTS, "wb") as stream:
            stream.write(save(state))
        if memory is not None:
            with atomic_open(part / MEMORY, "wb") as stream:
                stream.write(memory_to_bytes(memory))
        write_json(config.model_dump(mode="json"), part / "config.json")
        (part / "schema.yaml").write_text(schema.to_yaml(), encoding="utf-8")
        (part / "README.md").write_text(card, encoding="utf-8")


def _relation_model(source: str | Path) -> tuple[Path, ModelConfig]:
    """Return the folder and the configuration of a relation model, given by path or name."""
    folder = model_folder(source)
    config = _read_config(folder)
    if config is None:
        raise WeightsError(f"{folder} does not contain a relation model")
    return folder, config


def _read_config(folder: Path) -> ModelConfig | None:
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
