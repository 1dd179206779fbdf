"""The relation model: a pair encoder and a scorer, loaded from a folder or from the hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from rukh.errors import InputError, RukhError, WeightsError
from rukh.hub import hub_error, is_hub_name, model_folder
from rukh.modeling.adapters import load_trained_state, read_state, trained_state
from rukh.modeling.background import (
    MIN_PAIRS,
    EncodedPairs,
    compute_background,
    read_background,
)
from rukh.modeling.batch import PairBatch
from rukh.modeling.card import hub_card, minimal_card, rename_card
from rukh.modeling.device import choose_device
from rukh.modeling.directions import column_mask, merge_directions, to_probabilities
from rukh.modeling.image_features import FeatureCache, features_of
from rukh.modeling.model_files import (
    ANCHORS,
    BACKGROUND,
    CARD,
    TEXT_ENCODER,
    WEIGHTS,
    ModelConfig,
    check_pair_options,
    load_text_encoder,
    read_config,
    relation_model,
    write_model,
)
from rukh.modeling.pair_encoder import PairEncoder, configured_vision
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import PairScores, RetrievalScorer, Scorer, select_descriptions
from rukh.modeling.text_encoder import TextEncoder, encoder_key
from rukh.modeling.vision_encoder import VisionEncoder
from rukh.records import Post
from rukh.registry import resolve
from rukh.schema.schema import RelationSchema
from rukh.utils.files import sha256

logger = logging.getLogger(__name__)


class RelationModel(nn.Module, PyTorchModelHubMixin):
    """A pair encoder, and a scorer that compares encoded pairs with the relations of a bank.

    Args:
        config: Options; ``visual_dim`` must be the width of the vision encoder.
        schema: The relations that the model is trained on.
        text_encoder: The text encoder. None: the text encoder of ``config.pair`` is loaded.

    Attributes:
        identity: The name that the model was loaded by and the start of its weights' SHA-256, as
            ``name@hash``; None for a model that was not loaded.
        anchors: ``(A, dim + 1)`` anchors of ``config.anchored_relations``.
        background: Stored unrelated pairs, or None; see :mod:`rukh.modeling.background`.
        card: The model card, in Markdown; a minimal one if the model was not loaded with one.

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
        self.background: EncodedPairs | None = None
        self.identity: str | None = None
        self.card = minimal_card("model")
        self._adapters: dict[str, Tensor] = {}  # that loading merged into the text encoder

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
        if self.config.default_relations:
            return self.schema.restrict(self.config.default_relations)
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
            bank = replace(bank, trained=mask, background=self._background(bank, mask))
        anchors = dict(zip(self.config.anchored_relations, self.anchors.cpu(), strict=True))
        if not trained & anchors.keys():
            return bank
        zero = torch.zeros(self.config.pair.dim + 1)
        rows = [anchors.get(name, zero) if name in trained else zero for name in bank.names]
        return replace(bank, anchors=torch.stack(rows))

    def _background(self, bank: RelationBank, trained: Tensor) -> Tensor:
        pairs, can_score = self.background, isinstance(self.scorer, RetrievalScorer)
        if pairs is None or len(pairs.nota) < MIN_PAIRS or not can_score:
            return torch.zeros(len(trained))
        mode, moved = self.config.direction_mode, bank.to(self.device)
        values = compute_background(pairs, self.scorer, moved, mode)
        return values.masked_fill(trained, 0.0)

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

    def forward(
        self, inputs: PairBatch, bank: RelationBank, words: Tensor | None = None
    ) -> PairScores[Tensor]:
        """Score all pairs of a batch against a bank.

        The names of types are those in the bank's schema, else those in the model's schema.

        Args:
            words: See :meth:`rukh.modeling.pair_encoder.PairEncoder.forward`.
        """
        joint = self.config.direction_mode == "joint"
        bank = bank.to(self.device)
        type_words = {**self.schema.types, **bank.types}
        encodings = self.pair_encoder(inputs, type_words, both_directions=joint, words=words)
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
        return to_probabilities(self.calibrate(logits, bank), len(bank.names), directed)

    def threshold(self, bank: RelationBank) -> float:
        """Return the default threshold for predictions of the relations of a bank."""
        trained = bank.trained is None and bank.anchors is None
        unseen = None if trained else self.config.unseen_threshold
        return self.config.threshold if unseen is None else unseen

    def calibrate(self, logits: Tensor, bank: RelationBank) -> Tensor:
        """Scale and shift the logits of :meth:`forward`, so that a softmax is calibrated."""
        if bank.trained is None:
            return logits / self.config.temperature
        shift = torch.where(bank.trained, 0.0, self.config.unseen_shift)
        logits = bank.without_background(logits) + shift
        return logits / (self.config.unseen_temperature or self.config.temperature)

    def save(self, folder: str | Path, card: str | None = None) -> None:
        """Write the model and its card to a folder, which appears only when it is complete.

        Args:
            folder: The folder. If it is empty or a model, it is replaced.
            card: The model card, in Markdown. None: that of the model, with the name of the folder.

        Raises:
            InputError: ``folder`` is a file, or a folder with files that are no model.
            RukhError: The model was loaded, which merged its low-rank adapters into the text
                encoder, and the text encoder has been trained further.
        """
        folder, state = Path(folder), trained_state(self)
        if self._adapters:
            if not self._text_encoder_is_as_loaded():
                raise RukhError(
                    "cannot save a model whose text encoder was trained after its low-rank "
                    "adapters were merged on loading; to train it further, use start_from"
                )
            state = {name: v for name, v in state.items() if not name.startswith(TEXT_ENCODER)}
            state |= self._adapters
        if self.config.anchored_relations:
            state[ANCHORS] = self.anchors
        state = {name: value.half().contiguous() for name, value in state.items()}
        if card is None:
            card = rename_card(self.card, folder.name)
        write_model(folder, state, self.config, self.schema, card, self.background)

    def _text_encoder_is_as_loaded(self) -> bool:
        """Whether the text encoder is still the initial one with the merged adapters."""
        loaded = load_text_encoder(self.config.pair)
        adapters = self._adapters.items()
        load_trained_state(loaded, {k.removeprefix(TEXT_ENCODER): v for k, v in adapters})
        own = dict(self.pair_encoder.text_encoder.named_parameters())
        return all(
            torch.allclose(own[name].cpu().float(), value, atol=1e-6)
            for name, value in loaded.named_parameters()
        )

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        config: object = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, str] | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Do what :meth:`save` does, and then on request :meth:`push_to_hub`, as the mixin does.

        Args:
            save_directory: The folder. If it is empty or a model, it is replaced.
            config: None, because a model is saved with its own configuration.
            repo_id: Name on the hub, ``owner/name``, if the model is uploaded.
            push_to_hub: Whether to upload the model as well.
            model_card_kwargs: ``{"name": NAME}`` makes the card that of the hub's model ``NAME``.
            push_to_hub_kwargs: Further arguments of :meth:`push_to_hub`.

        Returns:
            The address of the commit, if the model was uploaded.

        Raises:
            InputError: ``config`` is given, or ``repo_id`` has another form.
            RukhError, WeightsError: See :meth:`save` and :meth:`push_to_hub`.
        """
        if config is not None:
            problem = "a model is saved with its own configuration"
            raise InputError(problem, field="config", fix="change model.config")
        # The mixin's own version is not atomic, and leaves an older model's background in place.
        card = hub_card(self.card, **model_card_kwargs) if model_card_kwargs else None
        self.save(save_directory, card)
        return self.push_to_hub(repo_id or "", **push_to_hub_kwargs) if push_to_hub else None

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model to the Hugging Face hub: the files that :meth:`save` writes.

        Args:
            repo_id: Name on the hub, ``owner/name``. The repository is created if it is missing.
            options: ``private``, ``commit_message``, ``branch``, ``create_pr`` and ``token``, as in
                ``huggingface_hub.PyTorchModelHubMixin.push_to_hub``.

        Returns:
            The address of the commit.

        Raises:
            InputError: ``repo_id`` has another form.
            WeightsError: The hub cannot be reached or refuses the upload.
            RukhError: The model cannot be saved; see :meth:`save`.
        """
        if not is_hub_name(repo_id):  # without the owner, nobody else finds it
            problem = f"{repo_id!r} is no name on the hub"
            raise InputError(problem, field="repo_id", fix="give OWNER/NAME")
        pair = self.config.pair
        names = [pair.text_encoder, pair.vision_encoder, pair.init_from]
        names += [self.config.tagger, self.config.default_schema]
        if paths := [name for name in names if name and os.path.exists(name)]:
            problem = "the model needs files of this machine, which are not uploaded: %s"
            logger.warning(problem, ", ".join(paths))
        options = {"delete_patterns": BACKGROUND} | options  # of an older model that had one
        try:
            return super().push_to_hub(repo_id, model_card_kwargs={"name": repo_id}, **options)
        except RukhError:
            raise
        except Exception as error:  # a network can fail in many ways
            raise hub_error(f"cannot push {repo_id!r} to the hub", error) from error

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "auto",
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> RelationModel:
        """Load a shipped model by name, or a model from a folder or from the Hugging Face hub.

        Only the files of the model are downloaded. Encoders and the tagger that its configuration
        names must be on this machine.

        Args:
            source: The model's name or folder, or its name on the hub, ``owner/name``.
            device: Name of a device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. ``auto``: the first
                of CUDA, MPS and CPU that this machine has.
            revision, local_files_only: See :func:`rukh.hub.model_folder`.

        Raises:
            WeightsError: There is no such model; it is not a relation model; its weights are
                missing, are damaged or do not fit its configuration; or an encoder is missing.
            InputError: The configuration or the schema is invalid, or there is no such device.
        """
        # The mixin's own version would ask the hub for a shipped model, and load pickles.
        device = choose_device(device)
        folder, config = relation_model(
            source, revision=revision, local_files_only=local_files_only
        )
        schema = RelationSchema.load(folder / "schema.yaml")
        # Low-rank adapters are merged on loading, so the module is created without adapters.
        pair = config.pair.model_copy(update={"lora_rank": 0})
        model = cls(config.model_copy(update={"pair": pair}), schema)
        model.config = config
        state = read_state(folder / WEIGHTS)
        name = source if isinstance(source, str) and is_hub_name(source) else Path(source).name
        model.identity = f"{name}@{sha256(folder / WEIGHTS)[:12]}"
        if config.anchored_relations:
            anchors = state.pop(ANCHORS, torch.zeros(0)).float()
            if anchors.shape != model.anchors.shape:
                raise WeightsError(f"{folder} is damaged: the anchors are missing")
            model.anchors = anchors
        if config.background_pairs:
            model.background = read_background(folder / BACKGROUND, config.pair.dim)
        load_trained_state(model, state)
        expected = set(trained_state(model))
        if config.pair.lora_rank:
            expected = {name for name in expected if not name.startswith(TEXT_ENCODER)}
            model._adapters = {k: v for k, v in state.items() if k.startswith(TEXT_ENCODER)}
        if missing := sorted(expected - state.keys()):
            raise WeightsError(f"{folder} is damaged: the weights {missing[0]!r} are missing")
        if (folder / CARD).exists():
            model.card = (folder / CARD).read_text(encoding="utf-8", errors="replace") or model.card
        return model.eval().to(device)


def copy_initial_weights(model: RelationModel) -> list[str]:
    """Copy all weights that fit, except the text encoder's, from ``pair.init_from``.

    This is only needed before training, because a saved model contains these weights.

    Returns:
        Names of the copied parameters, which have the same name and shape in both models. The list
        is empty if ``init_from`` is None or a tagger.
    """
    source = model.config.pair.init_from
    if source is None:
        return []
    folder = model_folder(source, local_files_only=True)
    if read_config(folder) is None:
        return []
    state, own = read_state(folder / WEIGHTS), dict(model.named_parameters())
    fitting = {
        name: value
        for name, value in state.items()
        if name in own and own[name].shape == value.shape and not name.startswith(TEXT_ENCODER)
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
    folder = check_pair_options(model.config.pair, source)
    state = read_state(folder / WEIGHTS)
    state.pop(ANCHORS, None)
    load_trained_state(model, state)
