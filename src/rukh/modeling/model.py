"""The model: both towers, the schema they were trained on, and what a decision needs.

A saved model is a folder: ``config.json``, ``model.safetensors`` (only what differs from the base
encoders, fp16), ``schema.yaml``, ``README.md``, its model card, and, where it keeps some of its
training pairs, ``memory.safetensors``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from rukh.arguments.token_tagger import TokenTagger
from rukh.errors import InputError, RukhError, WeightsError
from rukh.hub import find_weights, known, model_folder
from rukh.modeling.adapters import load_trained_state, read_state, trained_state, tune_top_layers
from rukh.modeling.batch import PairBatch
from rukh.modeling.directions import DirectionMode, column_mask, merge_directions, to_probabilities
from rukh.modeling.memory import Memory, read_memory, stored
from rukh.modeling.pair_encoder import PairConfig, PairEncoder, PairEncoding
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import PairScores, RelationConfig, Scorer, worded
from rukh.modeling.text_encoder import TextEncoder
from rukh.modeling.vision_encoder import VisionEncoder, load_vision_encoder
from rukh.records import Direction, Record, as_input_error
from rukh.registry import resolve
from rukh.schema.schema import RelationSchema
from rukh.utils.files import atomic_folder, atomic_open, read_json, sha256, write_json

ANCHORS = "anchors"
"""Under which name the anchors are stored."""
MEMORY = "memory.safetensors"
"""The file of the memory."""


class ModelConfig(Record):
    """All that is stored beside the weights.

    Attributes:
        task: Tells a relation model's folder from a tagger's.
        pair, relation: Options of the two towers.
        tagger: Name or path of the tagger that types entities without a type; None types nothing.
        captions: The one caption source that it was trained for, or None.
        init_from_sha256: Hash of the weights that ``pair.init_from`` stands for; the layers below
            the tuned ones are read from there.
        visual_dim: Width of the vision encoder's patch states.
        order: How its training showed pairs, and so what its logits stand for; see
            :mod:`rukh.modeling.directions`.
        temperature: Divides the logits before they become probabilities (calibration).
        unseen_temperature, unseen_shift: The temperature of a bank with relations that training
            never showed, and what is added to the logits of these: descriptions fit them less well
            than those that were trained on. None: the temperature of the others.
        type_penalty: What a type that a relation does not allow takes off the relation's logit;
            see :mod:`rukh.modeling.type_constraints`.
        threshold: The least probability of the best relation at which it is told.
        anchored_relations: Relations that a few examples have moved, in the order of the stored ``anchors``;
            see :mod:`rukh.training.few_shot`.
        memory_size: How many pairs of its training stand in its memory; see :mod:`rukh.modeling.memory`.
        figures: What training measured.
    """

    task: Literal["relations"] = "relations"
    pair: PairConfig = PairConfig()
    relation: RelationConfig = RelationConfig()
    tagger: str | None = "tagger"
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
    figures: dict[str, Any] = {}


def load_text_encoder(config: PairConfig) -> TextEncoder:
    """The text encoder that a pair tower starts from."""
    if config.init_from is None:
        return TextEncoder.load(config.text_encoder)
    before = _relations_before(config)
    if before is not None:
        encoder = before.pair_encoder.text_encoder
    else:
        encoder = TokenTagger.from_pretrained(config.init_from).encoder
    if encoder.name != config.text_encoder:
        raise InputError(
            f"{config.init_from!r} is built on {encoder.name!r}, not {config.text_encoder!r}",
            field="pair.init_from",
        )
    return encoder


def _relations_before(config: PairConfig) -> RelationModel | None:
    """The relation model that ``config.init_from`` stands for; None where it stands for a tagger."""
    if config.init_from is None:
        return None
    told = read_json(model_folder(config.init_from) / "config.json")
    if not isinstance(told, dict) or told.get("task") != "relations":
        return None
    return RelationModel.from_pretrained(config.init_from)


def configured_vision(config: PairConfig) -> VisionEncoder | None:
    """The vision encoder that a pair tower reads pictures with; None where it reads none."""
    name = config.vision_encoder
    if name is None:
        return None
    return load_vision_encoder(
        name, size=config.image_size, intermediate_features=config.intermediate_features
    )


def start_heads(model: RelationModel) -> list[str]:
    """Give a new model what stands behind the text encoder of the relation model that it starts
    from; a saved model holds all of this itself.

    Returns:
        Names of the parameters that were copied: those of like name and shape.
    """
    before = _relations_before(model.config.pair)
    known = {} if before is None else dict(before.named_parameters())
    copied = []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            old = known.get(name)
            if (
                old is None
                or name.startswith("pair_encoder.text_encoder.")
                or old.shape != parameter.shape
            ):
                continue
            parameter.copy_(old)
            copied.append(name)
    return copied


def init_from_sha256(config: PairConfig) -> str | None:
    """Hash of the weights that ``config.init_from`` stands for, or None."""
    if config.init_from is None:
        return None
    return sha256(model_folder(config.init_from) / "model.safetensors")


class RelationModel(nn.Module):
    """The two towers and where they meet.

    Args:
        config: Options; ``visual_dim`` must fit the vision encoder.
        schema: The relations it is trained on.
        text: A text encoder; loaded by the config's name where None.

    Attributes:
        anchors: ``(A, dim + 1)`` of the relations in ``config.anchored_relations``.
        memory: Some of its training pairs, or None.

    Example:
        >>> model = RelationModel.from_pretrained("mnre")
        >>> model.schema.nota
        'None'
    """

    def __init__(
        self, config: ModelConfig, schema: RelationSchema, text: TextEncoder | None = None
    ) -> None:
        super().__init__()
        self.config, self.schema = config, schema
        text = text or load_text_encoder(config.pair)
        self.pair_encoder = PairEncoder(config.pair, text, config.visual_dim)
        self.scorer: Scorer = resolve("scorers", config.relation.scorer)(
            config.pair.dim, text.dim, config.relation, schema
        )
        self.relation_text: TextEncoder | None = None
        if config.relation.encoder == "separate":
            self.relation_text = TextEncoder.load(config.pair.text_encoder)
            tune_top_layers(self.relation_text.model, config.relation.trainable_layers)
        self.anchors = torch.zeros(len(config.anchored_relations), config.pair.dim + 1)
        self.memory: Memory | None = None

    @cached_property
    def vision(self) -> VisionEncoder | None:
        """The frozen vision encoder, if any, loaded when it is first needed."""
        return configured_vision(self.config.pair)

    def bank(self, schema: RelationSchema | None = None, *, training: bool = False) -> RelationBank:
        """Embed a schema (the model's own where None) with the relation tower.

        Training may show more texts of a relation; see ``names`` of
        :class:`rukh.modeling.scorers.RelationConfig`.
        """
        asked = schema or self.schema
        bank = self._embedded(worded(asked, self.config.relation, training))
        known = self._known(asked)
        seen = column_mask(known, bank, self.config.direction_mode)
        if not seen.all():
            bank = replace(bank, seen=seen)
        own = dict(zip(self.config.anchored_relations, self.anchors, strict=True))
        if not known & own.keys():
            return bank
        none = torch.zeros(self.config.pair.dim + 1)
        rows = [own[name] if name in known & own.keys() else none for name in bank.names]
        return replace(bank, anchors=torch.stack(rows))

    def _known(self, schema: RelationSchema) -> set[str]:
        """Names of the relations that training showed: those that bear a name of its schema and
        share a description, which says what they mean.
        """
        own = {relation.name: {*relation.descriptions} for relation in self.schema.relations}
        known = set()
        for relation in schema.relations:
            texts = own.get(relation.name)
            if texts is not None and (texts & {*relation.descriptions} or not texts):
                known.add(relation.name)
        return known

    def _embedded(self, schema: RelationSchema) -> RelationBank:
        name = self.config.pair.text_encoder
        if self.config.relation.encoder == "shared":
            return RelationBank.build(schema, self.pair_encoder.text_encoder.embed_sentences)
        if self.relation_text is not None:
            return RelationBank.build(schema, self.relation_text.embed_sentences)
        # The tower's own encoder has been tuned; the base is loaded anew, and only if the cache
        # lacks one of these descriptions.
        base = lru_cache(maxsize=1)(lambda: TextEncoder.load(name).eval())
        with torch.no_grad():
            return RelationBank.build(
                schema, lambda texts: base().embed_sentences(texts), key=_content(name)
            )

    def forward(self, inputs: PairBatch, bank: RelationBank) -> tuple[PairScores, PairEncoding]:
        """Score all asked pairs of a batch against a bank: logits ``(Q, 1 + R)``, NOTA first; with
        order ``joint`` ``(Q, 1 + R + A)``, see :func:`rukh.modeling.directions.merge_directions`.

        A type reads as the bank's schema words it, else as the model's own schema does.
        """
        joint = self.config.direction_mode == "joint"
        encoded: PairEncoding = self.pair_encoder(
            inputs, {**self.schema.types, **bank.types}, back=joint
        )
        scores = self.scorer(encoded, bank)
        if encoded.back is not None:
            # Each order knows the other, as an indexed bank is scored alike in both.
            back = self.scorer(encoded.back._replace(back=encoded), bank)
            scores = scores._replace(logits=merge_directions(scores.logits, back.logits, bank))
        return scores, encoded

    def probabilities(
        self, logits: Tensor, bank: RelationBank, direction: Direction = "either"
    ) -> Tensor:
        """Calibrated probabilities of the asked order, ``(Q, 1 + R)``, NOTA first, from what
        :meth:`forward` gives; see :func:`rukh.modeling.directions.to_probabilities`.
        """
        config, temperature = self.config, self.config.temperature
        if bank.seen is not None:
            logits = logits + torch.where(bank.seen, 0.0, config.unseen_shift)
            temperature = config.unseen_temperature or temperature
        return to_probabilities(logits / temperature, len(bank.names), direction)

    def save(self, folder: Path, card: str) -> None:
        """Write a model folder, as a whole or not at all.

        Raises:
            RukhError: The model was loaded, and its low-rank adapters merged.
        """
        state = {name: value.half().contiguous() for name, value in trained_state(self).items()}
        if self.config.pair.lora_rank and not any(".lora_" in name for name in state):
            raise RukhError("the model's low-rank adapters were merged when it was loaded")
        write_model(folder, state, self.config, self.schema, card, self.memory)

    @classmethod
    def from_pretrained(cls, source: str | Path) -> RelationModel:
        """Load a shipped model by name, or a folder.

        Raises:
            WeightsError: No such model, not a relation model, its weights are missing, damaged or
                another configuration's, or its base encoder is missing.
            InputError: Its config or schema is broken.
        """
        folder = model_folder(source)
        data = read_json(folder / "config.json")
        if not isinstance(data, dict) or data.get("task") != "relations":
            raise WeightsError(f"{folder} holds no relation model")
        try:
            config = ModelConfig.model_validate(data)
        except ValidationError as error:
            raise as_input_error(error, str(folder / "config.json")) from None
        schema = RelationSchema.load(folder / "schema.yaml")
        if config.init_from_sha256 not in (None, init_from_sha256(config.pair)):
            raise WeightsError(
                f"{folder} was trained from another {config.pair.init_from!r} than the one that "
                "is here"
            )
        # Adapters are merged on loading, so the module itself needs none.
        plain = config.model_copy(update={"pair": config.pair.model_copy(update={"lora_rank": 0})})
        model = cls(plain, schema)
        model.config = config
        state = read_state(folder / "model.safetensors")
        if config.anchored_relations:
            anchors = state.pop(ANCHORS, model.anchors[:0]).float()
            if anchors.shape != model.anchors.shape:
                raise WeightsError(f"{folder} lacks the anchors that its config names")
            model.anchors = anchors
        if config.memory_size or (folder / MEMORY).exists():
            model.memory = read_memory(folder / MEMORY, config.pair.dim)
        load_trained_state(model, state)
        stored = trained_state(model).keys() - state.keys()
        merged = "pair_encoder.text_encoder." if config.pair.lora_rank else "nothing."
        if lacking := sorted(n for n in stored if not n.startswith(merged)):
            raise WeightsError(f"{folder} lacks the weights of {lacking[0]!r}; it is damaged")
        return model.eval()


def write_model(
    folder: Path,
    state: dict[str, Tensor],
    config: ModelConfig,
    schema: RelationSchema,
    card: str,
    memory: Memory | None = None,
) -> None:
    """Write the files of a model folder, as a whole or not at all."""
    from safetensors.torch import save

    config = config.model_copy(update={"memory_size": 0 if memory is None else len(memory)})
    with atomic_folder(folder) as part:
        with atomic_open(part / "model.safetensors", "wb") as stream:
            stream.write(save(state))
        if memory is not None:
            with atomic_open(part / MEMORY, "wb") as stream:
                stream.write(stored(memory))
        write_json(config.model_dump(mode="json"), part / "config.json")
        (part / "schema.yaml").write_text(schema.to_yaml(), encoding="utf-8")
        (part / "README.md").write_text(card, encoding="utf-8")


def _content(name: str) -> str:
    """What a text encoder is: a known name stands for its weights, a folder's may change."""
    if known(name) is not None:
        return name
    files = [
        f
        for f in find_weights(name, kind="text").iterdir()
        if f.suffix in {".json", ".safetensors"}
    ]
    return " ".join(sha256(file) for file in sorted(files))
