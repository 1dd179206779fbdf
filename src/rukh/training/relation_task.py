"""Training the relation model (``task: relations`` in a config file)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot, pad

from rukh.data.corpus import (
    DataConfig,
    ExtraCorpusConfig,
    labelled_pairs,
    load_val,
    read_corpus,
    relabelled,
)
from rukh.errors import InputError
from rukh.evaluation.evaluate import evaluate_posts
from rukh.extractor import Extractor
from rukh.hub import cache_folder, check_weights
from rukh.modeling.adapters import trained_state
from rukh.modeling.directions import DirectionMode, column_mask, num_columns
from rukh.modeling.image_features import FeatureCache, image_features
from rukh.modeling.inference import batch_inputs, remember, score_posts, tokenize_pairs
from rukh.modeling.markers import MarkedSequence
from rukh.modeling.memory import Memory, MemoryConfig, sampled
from rukh.modeling.model import (
    ModelConfig,
    RelationModel,
    configured_vision,
    init_from_sha256,
    start_heads,
)
from rukh.modeling.pair_encoder import PairConfig
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import RelationConfig
from rukh.modeling.type_constraints import violations
from rukh.records import Post, Record, both_orders
from rukh.schema.schema import RelationSchema
from rukh.training.augmentation import AugmentedView, augment
from rukh.training.calibration import Calibration, calibrate
from rukh.training.losses import gate_loss, info_nce
from rukh.training.model_card import relation_card
from rukh.training.trainer import TrainingConfig, fit
from rukh.training.training_banks import TrainingBanks
from rukh.utils.batching import batches_by_length


class LossConfig(Record):
    """Attributes:
    label_smoothing: Label smoothing.
    nota_weight: Weight of pairs without a relation.
    gate_weight: Weight of the gate's own loss: does the picture fit the text? 0 leaves the gate to
        the loss of the relations.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    nota_weight: float = Field(default=1.0, gt=0)
    gate_weight: float = Field(default=0.0, ge=0)


class RelationTrainingConfig(Record):
    """A relation model to be trained.

    Attributes:
        data, pair, relation, loss, memory, training: See their classes.
        relations: The schema, a shipped name or a YAML file.
        mix: Other corpora, trained on together with ``data``; the model knows the relations of all.
        without: Relations that are left out of everything: no pair that carries one is shown.
        tagger: Types entities that the data does not type; None leaves them without.
        order: ``joint`` decides between both orders of a pair at once. ``both`` shows every pair
            in both orders, the reverse of a pair that is not symmetric being NOTA or its declared
            inverse. ``given`` shows only the order of the data, which gives labels away in MNRE;
            for comparison only. See :mod:`rukh.modeling.directions`.
        unseen: ``[temperature, shift]`` for relations that training never shows, as a split of
            `rukh study zero-shot` found them; see :class:`rukh.modeling.model.ModelConfig`.
        caption_source: Name of the caption source, stored in the model.
        notes: What its model card says of limits and rights, in Markdown.
    """

    task: Literal["relations"]
    data: DataConfig
    relation_schema: str = Field(default="mnre", alias="schema")
    extra_corpora: tuple[ExtraCorpusConfig, ...] = ()
    exclude_relations: tuple[str, ...] = ()
    tagger: str | None = "tagger"
    direction_mode: DirectionMode = "joint"
    unseen_calibration: tuple[float, float] | None = None
    caption_source: str | None = None
    card_notes: str = ""
    pair: PairConfig = PairConfig()
    relation: RelationConfig = RelationConfig()
    loss: LossConfig = LossConfig()
    memory: MemoryConfig = MemoryConfig()
    training: TrainingConfig = TrainingConfig()

    def schemas(self) -> list[RelationSchema]:
        """The schemas of ``data`` and of each of ``mix``, in this order."""
        names = [self.relation_schema, *(other.relation_schema for other in self.extra_corpora)]
        return [RelationSchema.load(name) for name in names]


class RelationTask:
    """Both towers under InfoNCE; see :class:`rukh.training.trainer.TrainingTask`."""

    def __init__(self, config: RelationTrainingConfig) -> None:
        self.config = config
        torch.manual_seed(config.training.seed)
        own = config.schemas()
        schema = own[0]
        if config.extra_corpora or config.exclude_relations:
            schema = RelationSchema.merge(own, config.exclude_relations)
        # What is not there is told before hours of work.
        check_weights((config.pair.text_encoder, "text"), (config.pair.vision_encoder, "vision"))
        corpus = read_corpus(config.data, config.tagger, own, config.extra_corpora)
        self.posts, self.fold = corpus.posts, corpus.fold
        self.source = corpus.source
        self.summary = corpus.summary()
        if schema is not own[0]:
            self.posts = [
                relabelled(post, own[k], schema, config.exclude_relations)
                for post, k in zip(corpus.posts, corpus.source, strict=True)
            ]
        vision = configured_vision(config.pair)
        self.model = RelationModel(
            ModelConfig(
                pair=config.pair,
                relation=config.relation,
                tagger=config.tagger,
                caption_source=config.caption_source,
                init_from_sha256=init_from_sha256(config.pair),
                visual_dim=1 if vision is None else vision.dim,
                direction_mode=config.direction_mode,
            ),
            schema,
        )
        start_heads(self.model)
        self.features: FeatureCache | None = None
        if vision is not None:
            frozen = FeatureCache(cache_folder() / "features", vision)
            frozen.fill([post.image for post in self.posts if post.image is not None])
            self.features = frozen
        self.banks = TrainingBanks(self.model)
        # A pair is told from its own corpus's relations only; the bias shuts the others out.
        known = torch.stack(
            [column_mask(one.names, self.bank, config.direction_mode) for one in own]
        )
        self.bias = torch.where(known, 0.0, -1e4)
        self.rows = self._rows(corpus.train)
        if not self.rows or not any(self._pairs(self.posts[i])[0] for i in self.fold):
            raise InputError(
                "too few posts with labelled pairs: both the training posts and the fold, which "
                "shares no picture and no sentence with them, need some",
                where=str(config.data.train),
            )
        weights = torch.ones(num_columns(self.bank, config.direction_mode))
        weights[0] = config.loss.nota_weight
        self.weights = weights
        self._shown: list[AugmentedView] = []

    def _pairs(self, post: Post) -> tuple[list[tuple[str, str]], list[int]]:
        schema, where = self.model.schema, str(self.config.data.train)
        return labelled_pairs(post, self.bank, schema, self.config.direction_mode, where)

    def _rows(self, chosen: list[int]) -> list[tuple[int, MarkedSequence, Tensor]]:
        """Rows of the chosen posts, each with the targets ``(Q, C)`` of its asks."""
        columns = num_columns(self.bank, self.config.direction_mode)
        out = []
        for i in chosen:
            pairs, right = self._pairs(self.posts[i])
            if not right:
                continue
            target = one_hot(torch.tensor(right), columns).float()
            _, rows = tokenize_pairs(self.model, self.posts[i], pairs)
            out += [(i, row, target[[ask.pair for ask in row.asks]]) for row in rows]
        return out

    def pretrained(self) -> set[str]:
        """See :class:`rukh.training.trainer.TrainingTask`."""
        pretrained = ("pair_encoder.text_encoder.", "relation_text.")
        return {n for n, _ in self.model.named_parameters() if n.startswith(pretrained)}

    def batches(self, epoch: int) -> list[list[int]]:
        """See :class:`rukh.training.trainer.TrainingTask`."""
        self.banks.restart()
        lengths = [len(row) for _, row, _ in self.rows]
        seed = self.config.training.seed * 1000 + epoch
        chosen = [i for i, _, _ in self.rows]
        self._shown = augment(self.posts, chosen, self.config.data, seed)
        return batches_by_length(lengths, self.config.training.batch_size, seed=seed)

    def loss(self, batch: list[int]) -> Tensor:
        """See :class:`rukh.training.trainer.TrainingTask`."""
        chosen = [self.rows[b] for b in batch]
        posts = [self.posts[i] for i, _, _ in chosen]
        shown = [self._shown[b] for b in batch]
        rows = []
        for one, (_, row, _) in zip(shown, chosen, strict=True):
            row = row if one.caption else row.without_caption()
            rows.append(row if one.types else row.without_types())
        pictured = [None if one.picture is None else self.posts[one.picture] for one in shown]
        inputs = batch_inputs(self.model, rows, posts, image_features(pictured, self.features))
        bank, contrasts = self.banks.step()
        scores, encoded = self.model(inputs, bank)
        source = [self.source[i] for i, row, _ in chosen for _ in row.asks]
        logits, weights = scores.logits + self.bias[source], self.weights
        target = torch.cat([targets for _, _, targets in chosen])
        if contrasts is not None:
            apart = self.model.scorer(encoded, contrasts).logits[:, 1:]
            logits, more = torch.cat([logits, apart], 1), apart.shape[1]
            target, weights = pad(target, (0, more)), pad(weights, (0, more), value=1.0)
        loss = info_nce(logits, target, weights, self.config.loss.label_smoothing)
        if self.config.loss.gate_weight:
            fits = torch.tensor([float(one.fits is not False) for one in shown])
            loss = loss + self.config.loss.gate_weight * gate_loss(encoded.gate, fits)
        return loss

    def checkpointed(self) -> None:
        """See :class:`rukh.training.trainer.TrainingTask`."""
        self.banks.restart()

    @property
    def bank(self) -> RelationBank:
        """The relations as the finished model will know them."""
        return self.banks.asked

    def validate(self) -> dict[str, float]:
        """See :class:`rukh.training.trainer.TrainingTask`."""
        self.banks.settle()
        judged = self._judge()
        return {
            "score": judged.order_free,
            "given_order": judged.given_order,
            "threshold": judged.threshold,
        }

    def _judge(self) -> Calibration:
        """What the fold says of the model, both orders asked."""
        posts = [self.posts[i] for i in self.fold]
        given = [[p for p in post.pairs or () if p.relation is not None] for post in posts]
        both = [both_orders(pairs) for pairs in given]
        scored = score_posts(
            self.model, self.bank, posts, both, image_features(posts, self.features)
        )
        gold = [str(p.relation) for pairs in given for p in pairs]
        logits = torch.cat(
            [s.logits + self.bias[self.source[i]] for s, i in zip(scored, self.fold, strict=True)]
        )
        schema, order = self.model.schema, self.config.direction_mode
        violated = torch.cat(violations(posts, both, self.bank, schema, order))
        return calibrate(logits, gold, self.bank, schema, order, violated)

    def finish(self) -> dict[str, float]:
        """Set the trained model's temperature and threshold by the fold; returns its figures."""
        judged = self._judge()
        self.model.config = self.model.config.model_copy(
            update={
                "temperature": judged.temperature,
                "type_penalty": judged.type_penalty,
                "threshold": judged.threshold,
            }
        )
        return judged._asdict()

    def remember(self) -> Memory:
        """Some of the pairs that it was trained on, by ``memory``."""
        shown = sorted({i for i, _, _ in self.rows})
        pairs = [(i, pair) for i in shown for pair in self.posts[i].pairs or ()]
        kept = [
            pairs[k]
            for k in sampled(
                [pair.relation for _, pair in pairs], self.config.memory, self.model.schema.nota
            )
        ]
        posts = [self.posts[i].model_copy(update={"pairs": (pair,)}) for i, pair in kept]
        pictures = image_features(posts, self.features)
        self.model.eval()
        return remember(self.model, self.bank, posts, pictures, [i for i, _ in kept])


def train_relations(config: RelationTrainingConfig, out: Path) -> dict[str, Any]:
    """Train in ``<out>.run``, write the model to ``out``; returns its figures."""
    task = RelationTask(config)
    # Read before the training, so that a mistake in it is not told hours later.
    val = None if config.data.val is None else load_val(config.data, task.model.schema)
    print(task.summary, file=sys.stderr, flush=True)
    identity = config.model_dump(
        mode="json", exclude={"training", "card_notes", "unseen_calibration", "memory"}
    )
    result = fit(task, config.training, out.with_name(out.name + ".run"), identity)
    with torch.no_grad():
        # What is judged from here on is what is saved: half precision.
        for parameter in trained_state(task.model).values():
            parameter.copy_(parameter.half())
    task.banks.settle()
    figures: dict[str, Any] = {"fold": task.finish(), "step": result.best["step"]}
    if val is not None:
        shown = {"val": val}
        if config.pair.caption_words and config.data.val_captions is not None:
            bare = [post.model_copy(update={"caption": None}) for post in val]
            shown["val_without_captions"] = bare
        for name, some in shown.items():
            figures[name] = _figures(task.model, some)
    told: dict[str, Any] = {"figures": figures}
    if config.unseen_calibration is not None:
        told["unseen_temperature"], told["unseen_shift"] = config.unseen_calibration
    task.model.config = task.model.config.model_copy(update=told)
    if config.memory.pairs_per_relation:
        task.model.memory = task.remember()
    task.model.save(out, relation_card(config.model_dump(mode="json"), figures))
    return figures


def _figures(model: RelationModel, posts: Sequence[Post]) -> dict[str, Any]:
    """What is told of a model on these posts."""
    long = {"per_relation", "confusion", "risk_coverage", "seconds"}
    measured = evaluate_posts(Extractor(model), posts)
    return {name: value for name, value in measured.items() if name not in long}
