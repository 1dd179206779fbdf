"""Training the relation model (``task: relations`` in a config file)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from rukh.batching import length_buckets
from rukh.calibration import Calibration, calibrate
from rukh.encoders.adapt import trained_state
from rukh.encoders.vision import load_vision_encoder
from rukh.errors import InputError
from rukh.evaluation import evaluate_posts
from rukh.extraction import Extractor, both_orders
from rukh.features import FeatureCache, pictures_of
from rukh.folds import split_fold
from rukh.losses import info_nce
from rukh.markers import Row
from rukh.model import ModelConfig, RelationModel, initial_sha256
from rukh.model_card import relation_card
from rukh.orders import Order, columns, width
from rukh.pair import PairConfig
from rukh.readers import group_posts, read, read_captions
from rukh.records import Post, Record
from rukh.relation import RelationConfig
from rukh.schema import RelationSchema
from rukh.scoring import batch_inputs, rows_of, score_posts
from rukh.tagging import load_tagger
from rukh.training import TrainingConfig, fit
from rukh.weights import cache


class DataConfig(Record):
    """Where the data stands.

    Attributes:
        train: The training file; a fold of it decides everything that is to be decided.
        format: Its format, a reader's name.
        images: Folder of the pictures, or None.
        captions: Caption file of the training pictures, or None.
        val: Scored once, when training is over; None scores nothing.
        val_captions: Caption file of its pictures.
        val_images: Folder of its pictures.
        fold: Share of the training posts in the fold.
        share: Share of the remaining training posts that is used, for low-resource figures and
            quick comparisons; the fold stays whole.
    """

    train: Path
    format: str = "mnre"
    images: Path | None = None
    captions: Path | None = None
    val: Path | None = None
    val_images: Path | None = None
    val_captions: Path | None = None
    fold: float = Field(default=0.1, gt=0, lt=0.5)
    share: float = Field(default=1.0, gt=0, le=1)


class LossConfig(Record):
    """Attributes:
    smoothing: Label smoothing.
    nota_weight: Weight of pairs without a relation.
    """

    smoothing: float = Field(default=0.0, ge=0, lt=1)
    nota_weight: float = Field(default=1.0, gt=0)


class RelationTrainingConfig(Record):
    """A relation model to be trained.

    Attributes:
        data, pair, relation, loss, training: See their classes.
        relations: The schema, a shipped name or a YAML file.
        tagger: Types entities that the data does not type; None leaves them without.
        order: ``joint`` decides between both orders of a pair at once. ``both`` shows every pair
            in both orders, the reverse of a pair that is not symmetric being NOTA or its declared
            inverse. ``given`` shows only the order of the data, which gives labels away in MNRE;
            for comparison only. See :mod:`rukh.orders`.
        caption_source: Name of the caption source, stored in the model.
        notes: What its model card says of limits and rights, in Markdown.
    """

    task: Literal["relations"]
    data: DataConfig
    relations: str = "mnre"
    tagger: str | None = "tagger"
    order: Order = "joint"
    caption_source: str | None = None
    notes: str = ""
    pair: PairConfig = PairConfig()
    relation: RelationConfig = RelationConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()


class RelationTask:
    """Both towers under InfoNCE; see :class:`rukh.training.Task`."""

    def __init__(self, config: RelationTrainingConfig) -> None:
        self.config = config
        torch.manual_seed(config.training.seed)
        schema = RelationSchema.load(config.relations)
        posts = load_posts(config.data.train, config.data, config.data.images, config.data.captions)
        if not posts:
            raise InputError("no posts to train on", where=str(config.data.train))
        if config.tagger is not None:
            posts = load_tagger(config.tagger).type_posts(posts)
        name = config.pair.vision_encoder
        vision = None if name is None else load_vision_encoder(name)
        self.model = RelationModel(
            ModelConfig(
                pair=config.pair,
                relation=config.relation,
                tagger=config.tagger,
                captions=config.caption_source,
                initial_sha256=initial_sha256(config.pair),
                visual_dim=1 if vision is None else vision.dim,
                order=config.order,
            ),
            schema,
        )
        self.posts = posts
        self.features: FeatureCache | None = None
        if vision is not None:
            self.features = FeatureCache(cache() / "features", vision)
            self.features.fill([post.image for post in posts if post.image is not None])
        self.bank = self.model.bank()
        train, self.fold = split_fold(posts, config.data.fold)
        if config.data.share < 1:
            order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
            kept = order[: max(1, round(config.data.share * len(train)))]
            train = [train[i] for i in sorted(kept.tolist())]
        self.rows = [item for i in train for item in self._rows(i)]
        if not self.rows or not any(self._pairs(posts[i])[0] for i in self.fold):
            raise InputError(
                "too few posts with labelled pairs: both the training posts and the fold, which "
                "shares no picture and no sentence with them, need some",
                where=str(config.data.train),
            )
        weights = torch.ones(width(self.bank, config.order))
        weights[0] = config.loss.nota_weight
        self.weights = weights
        self._since_refresh = 0

    def _pairs(self, post: Post) -> tuple[list[tuple[str, str]], list[int]]:
        """A post's labelled pairs in the orders to be shown, and their targets."""
        schema = self.model.schema
        asked: list[tuple[str, str]] = []
        targets: list[int] = []
        related = {
            frozenset((pair.head, pair.tail))
            for pair in post.pairs or ()
            if pair.relation not in (None, schema.nota)
        }
        for pair in post.pairs or ():
            if pair.relation is None:
                continue
            if (
                self.config.order != "given"
                and pair.relation == schema.nota
                and frozenset((pair.head, pair.tail)) in related
            ):
                continue  # the other way round there is a relation, which is shown both ways
            schema.check_label(pair.relation, f"{self.config.data.train}: post {post.id!r}")
            both = both_orders([pair])
            right = columns(pair.relation, self.bank, schema.nota, self.config.order)
            shown = 1 if self.config.order == "given" else 2
            asked += both[:shown]
            targets += right[:shown]
        return asked, targets

    def _rows(self, i: int) -> list[tuple[int, Row, list[int]]]:
        asked, targets = self._pairs(self.posts[i])
        if not asked:
            return []
        _, rows = rows_of(self.model, self.posts[i], asked)
        return [(i, row, [targets[ask.pair] for ask in row.asks]) for row in rows]

    def pretrained(self) -> set[str]:
        """See :class:`rukh.training.Task`."""
        return {n for n, _ in self.model.named_parameters() if n.startswith("pair.text.")}

    def batches(self, epoch: int) -> list[list[int]]:
        """See :class:`rukh.training.Task`."""
        self._since_refresh = 0
        lengths = [len(row) for _, row, _ in self.rows]
        seed = self.config.training.seed * 1000 + epoch
        return length_buckets(lengths, self.config.training.batch_size, seed)

    def loss(self, batch: list[int]) -> Tensor:
        """See :class:`rukh.training.Task`."""
        shared = self.config.relation.encoder == "shared"
        if shared and self._since_refresh % self.config.relation.refresh_steps == 0:
            self._refresh()
        self._since_refresh += 1
        chosen = [self.rows[b] for b in batch]
        posts = [self.posts[i] for i, _, _ in chosen]
        inputs = batch_inputs(
            self.model, [row for _, row, _ in chosen], posts, pictures_of(posts, self.features)
        )
        scores, _ = self.model(inputs, self.bank)
        target = torch.tensor([t for _, _, targets in chosen for t in targets])
        return info_nce(scores.logits, target, self.weights, self.config.loss.smoothing)

    def checkpointed(self) -> None:
        """See :class:`rukh.training.Task`."""
        self._since_refresh = 0

    def _refresh(self) -> None:
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            self.bank = self.model.bank()
        self.model.train(training)

    def validate(self) -> dict[str, float]:
        """See :class:`rukh.training.Task`."""
        if self.config.relation.encoder == "shared":
            self._refresh()
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
        scored = score_posts(self.model, self.bank, posts, both, pictures_of(posts, self.features))
        gold = [str(p.relation) for pairs in given for p in pairs]
        logits = torch.cat([s.logits for s in scored])
        return calibrate(logits, gold, self.bank, self.model.schema, self.config.order)

    def finish(self) -> dict[str, float]:
        """Set the trained model's temperature and threshold by the fold; returns its figures."""
        judged = self._judge()
        self.model.config = self.model.config.model_copy(
            update={"temperature": judged.temperature, "threshold": judged.threshold}
        )
        return judged._asdict()


def load_posts(
    path: Path, data: DataConfig, images: Path | None, captions: Path | None
) -> list[Post]:
    """Posts of a file, with their captions, pairs of the same post brought together."""
    told = read_captions(captions) if captions is not None else None
    return group_posts(read(path, data.format, images=images, captions=told))


def train_relations(config: RelationTrainingConfig, out: Path) -> dict[str, Any]:
    """Train in ``<out>.run``, write the model to ``out``; returns its figures."""
    task = RelationTask(config)
    identity = config.model_dump(mode="json", exclude={"training", "notes"})
    result = fit(task, config.training, out.with_name(out.name + ".run"), identity)
    with torch.no_grad():
        # What is judged from here on is what is saved: half precision.
        for parameter in trained_state(task.model).values():
            parameter.copy_(parameter.half())
    if config.relation.encoder == "shared":
        task._refresh()
    figures: dict[str, Any] = {"fold": task.finish(), "step": result.best["step"]}
    if config.data.val is not None:
        data = config.data
        posts = load_posts(config.data.val, data, data.val_images, data.val_captions)
        measured = evaluate_posts(Extractor(task.model), posts)
        figures["val"] = {
            k: v for k, v in measured.items() if k not in {"per_relation", "confusion", "seconds"}
        }
    task.model.config = task.model.config.model_copy(update={"figures": figures})
    task.model.save(out, relation_card(config.model_dump(mode="json"), figures))
    return figures
