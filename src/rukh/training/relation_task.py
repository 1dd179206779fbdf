"""Training a relation model (``task: relations`` in a configuration file)."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from rukh.arguments.label_map import normalize_types
from rukh.arguments.tagger import load_tagger
from rukh.data.corpus import (
    CorpusConfig,
    DataConfig,
    check_training_labels,
    load_val,
    merge_labels,
    read_corpus,
    warn_unseen_relations,
)
from rukh.evaluation.evaluate import evaluate_posts
from rukh.extractor import Extractor
from rukh.hub import cache_folder, check_weights
from rukh.modeling.adapters import trained_state
from rukh.modeling.background import EncodedPairs
from rukh.modeling.device import to_device
from rukh.modeling.directions import DirectionMode, column_mask, target_columns
from rukh.modeling.image_features import FeatureCache, features_of
from rukh.modeling.inference import (
    batch_inputs,
    encode_both_directions,
    score_posts,
    tokenize_pairs,
)
from rukh.modeling.markers import MarkedSequence
from rukh.modeling.model import RelationModel, copy_all_weights, copy_initial_weights
from rukh.modeling.model_files import ModelConfig, check_pair_options, init_from_sha256
from rukh.modeling.pair_encoder import PairConfig, configured_vision
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import RelationConfig, warn_undescribed
from rukh.modeling.type_constraints import EXCLUDED, type_penalties
from rukh.records import Post, Record, both_orders, labelled_pairs
from rukh.schema.schema import RelationSchema
from rukh.training.augmentation import AugmentedView, augment
from rukh.training.calibration import Calibration, calibrate
from rukh.training.loop import fit
from rukh.training.losses import LossTerm, gate_loss, info_nce
from rukh.training.model_card import relation_card
from rukh.training.processes import on_main_process, start_processes
from rukh.training.training_config import TrainingConfig, check_options
from rukh.utils.batching import batches_by_length

logger = logging.getLogger(__name__)

UNRELATED_PAIRS = 4
"""Unrelated pairs of a post of a complete corpus that are trained on: this many, or half as many
for each related pair. There are ten times as many, beside which the related ones are not learned.
"""


class LossConfig(Record):
    """The section ``loss`` of a configuration file.

    Attributes:
        gate_weight: Weight of :func:`rukh.training.losses.gate_loss`; 0 disables this loss.
        frequency_weight: Weight of the frequency of relations, see :func:`log_frequencies`; 0 lets
            the model learn that frequent relations are more likely.
    """

    gate_weight: float = Field(default=0.0, ge=0)
    frequency_weight: float = Field(default=0.0, ge=0, le=2)


class RelationTrainingConfig(Record):
    """The configuration of a relation model and its training.

    Attributes:
        data, pair, relation, loss, training: Sections, documented in their classes.
        relation_schema: Name of a shipped schema, or path of a YAML file (``schema`` in the file).
        extra_corpora: Additional corpora, whose relations the model learns as well.
        exclude_relations: Relations to leave out. Pairs that are labelled with them are removed.
        tagger: Tagger that assigns types to entities without a type; None leaves them untyped.
        direction_mode: Directions in which pairs are trained; see :mod:`rukh.modeling.directions`.
        unseen_calibration: Temperature, logit shift and threshold for relations that do not occur
            in training, the first two as fitted by ``python -m research.development``.
        threshold: Minimum probability of a prediction. None: the one with the best expected F1 on
            the dev set.
        start_from: Name, folder or hub name of a model with the same options in ``pair``, to train
            further.
        default_schema: Schema that the model predicts if none is given; None: that of its training.
        caption_source: Name of the source of the captions, stored with the model.
        background_pairs: Number of unrelated training pairs that the model stores; see
            :mod:`rukh.modeling.background`.
        card_notes: Markdown text on limits and rights for the model card.
    """

    task: Literal["relations"]
    data: DataConfig
    relation_schema: str = Field(default="mnre", alias="schema")
    extra_corpora: tuple[CorpusConfig, ...] = ()
    exclude_relations: tuple[str, ...] = ()
    tagger: str | None = "tagger"
    direction_mode: DirectionMode = "joint"
    unseen_calibration: tuple[float, float, float] | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    start_from: str | None = None
    default_schema: str | None = None
    caption_source: str | None = None
    background_pairs: int = Field(default=0, ge=0, le=10_000)
    card_notes: str = ""
    pair: PairConfig = PairConfig()
    relation: RelationConfig = RelationConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()


class TrainingItem(NamedTuple):
    """A marked sequence, the index of its post, and the gold columns ``(Q,)`` of its pairs."""

    post: int
    sequence: MarkedSequence
    columns: Tensor


class RelationTask:
    """Training of a relation model with InfoNCE; see :class:`rukh.training.loop.TrainingTask`.

    Args:
        config: The configuration.
        device: Device of the model, the tagger and the vision encoder.

    Raises:
        InputError: The data cannot be read, or there are too few labelled pairs.
        WeightsError: The text encoder, the vision encoder or the tagger is missing.
    """

    pretrained_prefix = "pair_encoder.text_encoder."

    def __init__(self, config: RelationTrainingConfig, device: str | torch.device = "cpu") -> None:
        self.config, device = config, torch.device(device)
        torch.manual_seed(config.training.seed)
        schema = RelationSchema.load(config.relation_schema)
        # Check the models before reading the data, so that missing ones are reported at once.
        start = None
        if config.start_from is not None:
            start = check_pair_options(config.pair, config.start_from)
        check_weights((config.pair.text_encoder, "text"), (config.pair.vision_encoder, "vision"))
        corpus = read_corpus(config.data, schema, config.extra_corpora)
        self.posts, train, self.dev, schemas, self.source, numbers = corpus
        complete = [False, *(extra.complete for extra in config.extra_corpora)]
        for i in train:
            if complete[numbers[i]]:
                self.posts[i] = drop_unrelated(self.posts[i], schemas[self.source[i]].nota)
        # Where there are posts that list all pairs, as many are unrelated as in use.
        self.natural = [i for i in self.dev if complete[numbers[i]]]
        if config.extra_corpora or config.exclude_relations:
            schema = RelationSchema.merge(schemas, config.exclude_relations)
            self.posts = [
                merge_labels(post, schemas[number], schema, config.exclude_relations)
                for post, number in zip(self.posts, self.source, strict=True)
            ]
        seen, where = [self.posts[i] for i in train], str(config.data.train)
        check_training_labels(seen, [self.posts[i] for i in self.dev], schema, where)
        if not config.extra_corpora:
            warn_unseen_relations(seen, schema, where)
        warn_undescribed(schema, config.relation)
        types = frozenset().union(*(own.argument_types for own in schemas))
        if config.tagger is not None:
            self.posts = load_tagger(config.tagger, device=device).assign_types(self.posts)
        self.posts = [normalize_types(post, types) for post in self.posts]
        vision = configured_vision(config.pair)
        self.model = RelationModel(
            ModelConfig(
                pair=config.pair,
                relation=config.relation,
                tagger=config.tagger,
                default_schema=config.default_schema,
                caption_source=config.caption_source,
                init_from_sha256=init_from_sha256(config.pair),
                visual_dim=1 if vision is None else vision.dim,
                direction_mode=config.direction_mode,
            ),
            schema,
        )
        copy_initial_weights(self.model)
        if start is not None:
            copy_all_weights(self.model, start)  # of the folder, so that the hub is asked once
        self.model.to(device)
        self.features: FeatureCache | None = None
        if vision is not None:
            self.features = FeatureCache(cache_folder() / "features", vision.to(device))
            self.features.fill([post.image for post in self.posts if post.image is not None])
        self.bank = self.model.bank()
        self.training_bank = self.model.bank(training=True)
        # Mask the logits of relations outside the pair's own corpus. An inverse, which another
        # corpus may have given to one of its relations, states the same in the other direction.
        masks = []
        for own in schemas:
            names = {*own.names} & {*schema.names}
            names |= {*filter(None, map(schema.inverse_of, names))}
            masks.append(column_mask(names, self.bank, config.direction_mode))
        self.bias = torch.where(torch.stack(masks), 0.0, -EXCLUDED)
        self.items = [item for i in train for item in self._items(i)]
        columns = torch.cat([item.columns for item in self.items])
        self.prior = log_frequencies(columns, self.bias.shape[1], config.loss.frequency_weight)

    def _items(self, index: int) -> list[TrainingItem]:
        post, schema, mode = self.posts[index], self.model.schema, self.config.direction_mode
        pairs, columns = training_pairs(post, self.bank, schema, mode)
        return [
            TrainingItem(index, one, torch.tensor([columns[pair.pair] for pair in one.pairs]))
            for one in (tokenize_pairs(self.model, post, pairs) if pairs else ())
        ]

    def batches(self, epoch: int) -> list[list[tuple[int, AugmentedView]]]:
        """Draw batches of items of similar length, as item indices and views of their posts."""
        seed = self.config.training.epoch_seed(epoch)
        views = augment(self.posts, [item.post for item in self.items], self.config.data, seed)
        lengths = [len(item.sequence) for item in self.items]
        batches = batches_by_length(lengths, self.config.training.batch_size, seed=seed)
        return [[(i, views[i]) for i in batch] for batch in batches]

    def loss(self, batch: Sequence[tuple[int, AugmentedView]]) -> list[LossTerm]:
        """Compute the InfoNCE loss of the pairs of a batch, and the loss of the image gate."""
        items = [self.items[i] for i, _ in batch]
        views = [view for _, view in batch]
        sequences = []
        for item, view in zip(items, views, strict=True):
            sequence = item.sequence if view.caption else item.sequence.without_caption()
            sequences.append(sequence if view.types else sequence.without_types())
        shown = [None if view.image is None else self.posts[view.image] for view in views]
        posts = [self.posts[item.post] for item in items]
        inputs = batch_inputs(self.model, sequences, posts, features_of(shown, self.features))
        device = self.model.device
        bank = self.training_bank.to(device)
        if count := self.config.relation.descriptions_per_step:
            bank = bank.sample(count)
        scores = self.model(inputs, bank)
        source = [self.source[item.post] for item in items for _ in item.columns]
        target = to_device(torch.cat([item.columns for item in items]), device)
        bias = to_device(self.bias[source] + self.prior, device)
        terms = [info_nce(scores.logits + bias, target)]
        if weight := self.config.loss.gate_weight:
            fits = torch.tensor([view.image_fits is not False for view in views])
            term = gate_loss(scores.gate, to_device(fits, device))
            terms.append(term._replace(total=weight * term.total))
        return terms

    def validate(self) -> dict[str, float]:
        """Calibrate on the dev set; ``score`` is the order-free micro-F1 on the dev set."""
        calibration = self.calibrate()
        return {"score": calibration.order_free, **calibration._asdict()}

    def calibrate(self) -> Calibration:
        """Calibrate the model with its current weights on the dev set, in both directions.

        If posts of the dev set list all their pairs, only these posts are used.
        """
        dev = self.natural or self.dev
        posts = [self.posts[i] for i in dev]
        labelled = [labelled_pairs(post) for post in posts]
        pairs = [both_orders(some) for some in labelled]
        features = features_of(posts, self.features)
        scored = score_posts(self.model, self.bank, posts, pairs, features)
        logits = torch.cat(
            [s.logits + self.bias[self.source[i]] for s, i in zip(scored, dev, strict=True)]
        )
        gold = [str(pair.relation) for some in labelled for pair in some]
        schema, mode = self.model.schema, self.config.direction_mode
        violations = torch.cat(type_penalties(posts, pairs, self.bank, schema, mode))
        return calibrate(logits, gold, self.bank, schema, mode, violations)

    def encode_unrelated(self) -> EncodedPairs:
        """Encode some unrelated training pairs, at most ``background_pairs``."""
        nota = self.model.schema.nota
        indices = sorted({item.post for item in self.items})
        listed = [(i, p) for i in indices for p in self.posts[i].pairs or () if p.relation == nota]
        count = min(self.config.background_pairs, len(listed))
        chosen = random.Random(0).sample(listed, count)
        posts = [self.posts[i].model_copy(update={"pairs": (pair,)}) for i, pair in chosen]
        self.model.eval()
        features = features_of(posts, self.features)
        return encode_both_directions(self.model, self.bank, posts, features)


def log_frequencies(columns: Tensor, num_columns: int, weight: float) -> Tensor:
    """Compute what the logits of relations gain in training because the relations are frequent.

    Logits then need not tell how frequent a relation is, which helps relations that are rare or new
    (logit adjustment: Menon et al., ICLR 2021). NOTA is left as it is, and so is the mean over
    related pairs.

    Args:
        columns: Gold column of each pair.
        weight: Weight of the logarithm of the number of pairs.

    Returns:
        ``(num_columns,)`` numbers to add to the logits.

    Example:
        >>> log_frequencies(torch.tensor([0, 0, 1, 1, 1, 2]), 3, 1.0).round(decimals=2)
        tensor([ 0.0000,  0.1700, -0.5200])
    """
    counts = columns.bincount(minlength=num_columns).float()
    counts[0] = 0
    logs = (counts + 1).log()
    gain = weight * (logs - (logs * counts).sum() / counts.sum())
    gain[0] = 0
    return gain


def drop_unrelated(post: Post, nota: str | None) -> Post:
    """Keep only some of the pairs labelled NOTA: as many as :data:`UNRELATED_PAIRS` says."""
    pairs = post.pairs or ()
    unrelated = [i for i, pair in enumerate(pairs) if pair.relation == nota]
    count = max(UNRELATED_PAIRS, UNRELATED_PAIRS * (len(pairs) - len(unrelated)) // 2)
    generator = random.Random(post.text)
    kept = {*generator.sample(unrelated, min(count, len(unrelated)))}
    chosen = [p for i, p in enumerate(pairs) if p.relation != nota or i in kept]
    return post.model_copy(update={"pairs": tuple(chosen)})


def training_pairs(
    post: Post, bank: RelationBank, schema: RelationSchema, mode: DirectionMode
) -> tuple[list[tuple[str, str]], list[int]]:
    """Return the pairs of a post to train on, head first, and the gold column of each.

    In mode ``given``, only the annotated direction of each labelled pair is used. Otherwise, both
    directions are used. A pair is then left out if another pair already states the same fact in the
    reverse direction, or if it is labelled NOTA although a relation holds between its arguments.
    """
    pairs: list[tuple[str, str]] = []
    columns: list[int] = []
    facts: set[tuple[str, str, str | None]] = set()
    labelled = labelled_pairs(post)
    related = {frozenset((p.head, p.tail)) for p in labelled if p.relation != schema.nota}
    for pair in labelled:
        targets = target_columns(pair.relation, bank, schema.nota, mode)
        if mode == "given":
            pairs.append((pair.head, pair.tail))
            columns.append(targets[0])
            continue
        if pair.relation == schema.nota and frozenset((pair.head, pair.tail)) in related:
            continue
        if (pair.tail, pair.head, schema.inverse_of(pair.relation)) in facts:
            continue
        facts.add((pair.head, pair.tail, pair.relation))
        pairs += both_orders([pair])
        columns += targets
    return pairs, columns


def train_relations(
    config: RelationTrainingConfig, out: Path, device: str | torch.device = "auto"
) -> dict[str, Any]:
    """Train a relation model, or resume the run in ``<out>.run``, and write it to ``out``.

    Returns:
        The metrics: ``dev``, ``step`` of the best validation, and ``val`` if there is a val file.

    Raises: See :func:`rukh.training.processes.start_processes`, :class:`RelationTask` and
        :func:`rukh.training.loop.fit`.
    """
    state, device = start_processes(device)
    check_options(config.training, device)
    with state.main_process_first():  # the others find the images and descriptions in the caches
        task = RelationTask(config, device)
    # Read the val file before training, so that errors in it are reported at once.
    val = None if config.data.val is None else load_val(config.data, task.model.schema)
    trained_on = {post.text for post in task.posts if post.text}
    if shared := sum(post.text in trained_on for post in val or ()):
        logger.warning("%d posts of %s are also in the training data", shared, config.data.val)
    logger.info("%d training sequences, %d dev posts", len(task.items), len(task.dev))
    later = {"training", "card_notes", "background_pairs"}
    later |= {"unseen_calibration", "threshold", "default_schema"}
    identity = config.model_dump(mode="json", by_alias=True, exclude=later)
    best = fit(task, config.training, out.with_name(f"{out.name}.run"), identity)
    return on_main_process(lambda: _finish(task, val, best["step"], out))


def _finish(
    task: RelationTask, val: Sequence[Post] | None, step: float, out: Path
) -> dict[str, Any]:
    """Calibrate and evaluate a trained model, write it to ``out``, and return the metrics."""
    config, model = task.config, task.model
    with torch.no_grad():
        # The weights are saved in half precision, so calibrate and evaluate them in it as well.
        for parameter in trained_state(model).values():
            parameter.copy_(parameter.half())
    calibration = task.calibrate()._asdict()
    metrics: dict[str, Any] = {"dev": calibration, "step": step}
    update = {name: calibration[name] for name in ("temperature", "type_penalty", "threshold")}
    if config.threshold is not None:
        update["threshold"] = config.threshold
    model.config = model.config.model_copy(update=update)
    if val is not None:
        metrics["val"] = _evaluate(model, val)
        if config.pair.caption_words and config.data.val_captions is not None:
            without = [post.model_copy(update={"caption": None}) for post in val]
            metrics["val_without_captions"] = _evaluate(model, without)
    update = {"metrics": metrics}
    if config.unseen_calibration is not None:
        names = ("unseen_temperature", "unseen_shift", "unseen_threshold")
        update |= dict(zip(names, config.unseen_calibration, strict=True))
    model.config = model.config.model_copy(update=update)
    if config.background_pairs:
        model.background = task.encode_unrelated()
    model.save(out, relation_card(config.model_dump(mode="json", by_alias=True), metrics, out.name))
    return metrics


def _evaluate(model: RelationModel, posts: Sequence[Post]) -> dict[str, Any]:
    """Evaluate a model; return the metrics that are short enough for a model card."""
    omitted = {"per_relation", "confusion", "seconds"}
    metrics = evaluate_posts(Extractor(model, schema=model.schema), posts)
    return {name: value for name, value in metrics.items() if name not in omitted}
