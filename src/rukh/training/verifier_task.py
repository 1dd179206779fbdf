"""Training a verifier on posts whose pairs are decided (``task: verifier`` in a configuration)."""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from rukh.data.corpus import CorpusConfig
from rukh.errors import InputError
from rukh.extractor import Extractor
from rukh.modeling.adapters import trained_state, tune_top_layers
from rukh.modeling.model import RelationModel
from rukh.modeling.text_encoder import TextEncoder
from rukh.modeling.verifier import (
    MAX_MARKED,
    Statement,
    Verifier,
    VerifierConfig,
    VerifierInput,
    save_verifier,
    select_candidates,
)
from rukh.records import Post, Record, both_orders, labelled_pairs
from rukh.schema.schema import RelationSchema
from rukh.training.model_card import verifier_card
from rukh.training.trainer import TrainingConfig, fit
from rukh.utils.batching import batches_by_length

logger = logging.getLogger(__name__)

DEV_NEGATIVES = 12
"""Maximum number of false statements about each post of the dev set."""


class VerifierTrainingConfig(Record):
    """The configuration of a verifier and its training.

    Attributes:
        corpora: The corpora.
        dev: Corpora of the dev set, for early stopping and calibration.
        text_encoder: Name or path of the pretrained text encoder.
        trainable_layers: Number of top layers that are trained.
        retriever: Relation model whose candidates the verifier is calibrated on.
        statements: Maximum number of statements about a post in a training step. At most half of
            them are true.
        label_names: Probability that a statement is the name of its relation, not a description.
        card_notes: Markdown text on limits and rights for the model card.
    """

    task: Literal["verifier"]
    corpora: tuple[CorpusConfig, ...] = Field(min_length=1)
    dev: tuple[CorpusConfig, ...] = Field(min_length=1)
    text_encoder: str = "all-MiniLM-L6-v2"
    trainable_layers: int = Field(default=4, ge=0)
    retriever: str = "open"
    statements: int = Field(default=6, ge=2)
    label_names: float = Field(default=0.2, ge=0, le=1)
    card_notes: str = ""
    training: TrainingConfig = TrainingConfig()


class Fact(NamedTuple):
    """A relation from the argument ``head`` to the argument ``tail`` of a post."""

    head: str
    relation: str
    tail: str


class AllowedRelations:
    """The relations of a schema, except NOTA, by the types of the arguments that they allow."""

    def __init__(self, schema: RelationSchema) -> None:
        self.schema = schema
        self._by_types: dict[tuple[str | None, str | None], list[str]] = {}

    def relations(self, head: str | None, tail: str | None) -> list[str]:
        """Return the names of the relations that allow a head and a tail of these types."""
        if (head, tail) not in self._by_types:
            allowed = [r.name for r in self.schema.relations if r.allows(head, tail)]
            self._by_types[head, tail] = [name for name in allowed if name != self.schema.nota]
        return self._by_types[head, tail]


class StatementSampler:
    """Draws true and false statements about a post.

    False statements are the wrong relation of a related pair, a right relation turned round, a
    relation of the post between other arguments, and any relation between any arguments, of those
    that the types allow.

    Args:
        post: The post.
        allowed: Relations of the statements, and the types that they allow.
    """

    def __init__(self, post: Post, allowed: AllowedRelations) -> None:
        schema = allowed.schema
        self.schema = schema
        names = [entity.id for entity in post.entities][:MAX_MARKED]
        types = {entity.id: entity.type for entity in post.entities}
        self.true = {
            fact
            for pair in labelled_pairs(post)
            if pair.head in names and pair.tail in names
            for fact in same_facts(pair.head, str(pair.relation), pair.tail, schema)
        }
        pairs = dict.fromkeys(both_orders(post.pairs or ()))
        related = {(fact.head, fact.tail) for fact in self.true}
        relations = {fact.relation for fact in self.true}
        self.confusable: list[Fact] = []
        self.others: list[Fact] = []
        for head, tail in pairs:
            if head not in names or tail not in names:
                continue
            near = (head, tail) in related or (tail, head) in related
            for relation in allowed.relations(types[head], types[tail]):
                fact = Fact(head, relation, tail)
                if fact not in self.true:
                    confusable = near or relation in relations
                    (self.confusable if confusable else self.others).append(fact)

    def draw(self, count: int, generator: random.Random) -> list[tuple[Fact, bool]]:
        """Draw at most ``count`` facts, and whether each is true; at most half of them are."""
        true = sorted(self.true)
        true = generator.sample(true, min(len(true), count // 2))
        confusable = min(len(self.confusable), (2 * (count - len(true)) + 2) // 3)
        false = generator.sample(self.confusable, confusable)
        rest = min(len(self.others), count - len(true) - len(false))
        false += generator.sample(self.others, rest)
        return [(fact, True) for fact in true] + [(fact, False) for fact in false]


def same_facts(head: str, relation: str, tail: str, schema: RelationSchema) -> list[Fact]:
    """Return the fact, and the fact that states the same from tail to head, if there is one."""
    if relation == schema.nota:
        return []
    inverse = schema.inverse_of(relation)
    same = [Fact(head, relation, tail)]
    return same if inverse is None else [*same, Fact(tail, inverse, head)]


class VerifierTask:
    """Training of a verifier; see :class:`rukh.training.trainer.TrainingTask`.

    Raises:
        InputError: The data cannot be read, or there are too few posts.
        WeightsError: The text encoder is missing.
    """

    pretrained_prefix = "text_encoder."

    def __init__(self, config: VerifierTrainingConfig) -> None:
        torch.manual_seed(config.training.seed)
        self.config = config
        encoder = TextEncoder.load(config.text_encoder)
        tune_top_layers(encoder.model, config.trainable_layers)
        self.model = Verifier(VerifierConfig(text_encoder=config.text_encoder), encoder)
        posts: list[Post] = []
        samplers: list[StatementSampler] = []
        for corpus in (*config.corpora, *config.dev):
            for schema, added in corpus.read():
                allowed = AllowedRelations(schema)
                posts += added
                samplers += [StatementSampler(post, allowed) for post in added]
            if corpus is config.corpora[-1]:
                self.train = list(range(len(posts)))
        self.posts, self.samplers = posts, samplers
        self.dev = list(range(len(self.train), len(posts)))
        if not self.train or not any(samplers[i].true for i in self.dev):
            raise InputError(
                "too few posts with a relation: training and dev set need at least one each",
                where=str(config.corpora[0].train),
            )
        generator = random.Random(config.training.seed)
        self.dev_facts = [self._dev_facts(samplers[i], generator) for i in self.dev]

    def _dev_facts(
        self, sampler: StatementSampler, generator: random.Random
    ) -> list[tuple[Fact, bool]]:
        false = sampler.confusable + sampler.others
        drawn = generator.sample(false, min(len(false), DEV_NEGATIVES))
        return [(fact, True) for fact in sorted(sampler.true)] + [(fact, False) for fact in drawn]

    def batches(self, epoch: int) -> list[list[tuple[VerifierInput, list[float]]]]:
        """Draw statements about each post, and batches of posts of similar length."""
        config = self.config
        generator = random.Random(config.training.epoch_seed(epoch))
        items: list[tuple[VerifierInput, list[float]]] = []
        for i in self.train:
            post, sampler = self.posts[i], self.samplers[i]
            drawn = sampler.draw(config.statements, generator)
            statements = [self._statement(fact, sampler.schema, generator) for fact, _ in drawn]
            numbers = generator.sample(range(MAX_MARKED), min(MAX_MARKED, len(post.entities)))
            numbers += range(MAX_MARKED, len(post.entities))
            for one, part in self.model.tokenize(post, statements, numbers):
                items.append((one, [float(drawn[k][1]) for k in part]))
        lengths = [one.length for one, _ in items]
        seed = config.training.epoch_seed(epoch)
        batches = batches_by_length(lengths, config.training.batch_size, seed=seed)
        return [[items[i] for i in batch] for batch in batches]

    def _statement(self, fact: Fact, schema: RelationSchema, generator: random.Random) -> Statement:
        relation = schema.relation(fact.relation)
        text: str = generator.choice(relation.descriptions)
        if generator.random() < self.config.label_names:
            text = f"the head {relation.name} the tail"
        return Statement(fact.head, fact.tail, text)

    def loss(self, batch: Sequence[tuple[VerifierInput, list[float]]]) -> Tensor:
        """Compute the binary cross-entropy of the statements of a batch."""
        logits = self.model([one for one, _ in batch])
        labels = torch.tensor([label for _, some in batch for label in some])
        return binary_cross_entropy_with_logits(logits, labels)

    def validate(self) -> dict[str, float]:
        """Compute the average precision of the statements about the dev set as ``score``."""
        statements = [
            [
                Statement(fact.head, fact.tail, first_description(sampler.schema, fact.relation))
                for fact, _ in facts
            ]
            for sampler, facts in zip(
                (self.samplers[i] for i in self.dev), self.dev_facts, strict=True
            )
        ]
        logits = torch.cat(self.model.verify([self.posts[i] for i in self.dev], statements))
        labels = [label for facts in self.dev_facts for _, label in facts]
        return {"score": float(average_precision_score(labels, logits.numpy()))}

    def calibrate(self) -> dict[str, float]:
        """Fit the logit of candidates, and choose the threshold with the best F1 on the dev set.

        Candidates are those of the relation model ``retriever``, with the entities given.

        Returns:
            ``scale, retrieval_scale, bias, threshold`` of :class:`VerifierConfig`, and ``f1``,
            ``precision`` and ``recall`` of the triples at the threshold.
        """
        retriever = RelationModel.from_pretrained(self.config.retriever)
        by_schema: dict[str, list[int]] = defaultdict(list)
        for i in self.dev:
            by_schema[self.samplers[i].schema.name].append(i)
        pairs = [
            pair
            for indices in by_schema.values()
            for pair in self._judged_pairs(retriever, indices)
        ]
        gold = sum(
            len({frozenset((fact.head, fact.tail)) for fact in self.samplers[i].true})
            for indices in by_schema.values()
            for i in indices
        )
        return fit_candidates(pairs, gold)

    def _judged_pairs(
        self, retriever: RelationModel, indices: Sequence[int]
    ) -> list[list[JudgedCandidate]]:
        """Retrieve, verify and judge the candidates of all pairs of some posts of one schema."""
        extractor = Extractor(retriever, schema=self.samplers[indices[0]].schema)
        posts = extractor.assign_types([self.posts[i] for i in indices])
        pairs = [[(pair.head, pair.tail) for pair in post.pairs or ()] for post in posts]
        scores = extractor.verified(posts, pairs, extractor.scores(posts, pairs))
        judged: list[list[JudgedCandidate]] = []
        for i, post, some, one in zip(indices, posts, pairs, scores, strict=True):
            rows = select_candidates(some, one, extractor.bank, extractor.num_candidates)
            flat = [candidate for row in rows for candidate in row]
            statements = [Statement(c.head, c.tail, c.description) for c in flat]
            values = iter(self.model.verify([post], [statements])[0].tolist())
            true = self.samplers[i].true
            judged += (
                [
                    JudgedCandidate(next(values), c.margin, (c.head, c.relation, c.tail) in true)
                    for c in row
                ]
                for row in rows
            )
        return judged


class JudgedCandidate(NamedTuple):
    """A candidate's verifier output, its retrieval margin, and whether it is true."""

    logit: float
    margin: float
    true: bool


def fit_candidates(pairs: Sequence[Sequence[JudgedCandidate]], gold: int) -> dict[str, float]:
    """Fit the calibration of a verifier, and choose its threshold, from judged candidates.

    Args:
        pairs: The candidates of each pair.
        gold: Number of pairs with a relation, including those that retrieval missed.

    Returns:
        See :meth:`VerifierTask.calibrate`.
    """
    flat = [candidate for row in pairs for candidate in row]
    if len({candidate.true for candidate in flat}) < 2:
        raise InputError("too few candidates on the dev set to calibrate the verifier")
    features = np.array([(candidate.logit, candidate.margin) for candidate in flat])
    model = LogisticRegression(C=np.inf).fit(features, [candidate.true for candidate in flat])
    scale, retrieval_scale = (float(max(0.0, value)) for value in model.coef_[0])
    bias = float(model.intercept_[0])
    best: list[tuple[float, bool]] = []
    for row in pairs:
        if row:
            logits = torch.tensor(
                [0.0, *(scale * c.logit + retrieval_scale * c.margin + bias for c in row)]
            )
            probabilities = logits.softmax(0)[1:]
            index = int(probabilities.argmax())
            best.append((float(probabilities[index]), row[index].true))
    best.sort(reverse=True)
    correct = np.cumsum([true for _, true in best])
    f1s = 2 * correct / (np.arange(1, len(best) + 1) + max(1, gold))
    last = int(f1s.argmax())
    lower = best[last + 1][0] if last + 1 < len(best) else 0.0
    return {
        "scale": scale,
        "retrieval_scale": retrieval_scale,
        "bias": bias,
        "threshold": (best[last][0] + lower) / 2,
        "precision": float(correct[last] / (last + 1)),
        "recall": float(correct[last] / max(1, gold)),
        "f1": float(f1s[last]),
    }


def first_description(schema: RelationSchema, name: str) -> str:
    """Return the first description of a relation, or its name if it has none."""
    return next(iter(schema.relation(name).descriptions), name)


def train_verifier(config: VerifierTrainingConfig, out: Path) -> dict[str, Any]:
    """Train a verifier, or resume the run in ``<out>.run``, and write it to ``out``.

    Returns:
        The metrics: ``average_precision`` on the dev set, and ``f1, precision, recall`` of the
        triples of the dev set, with the entities given.

    Raises: See :class:`VerifierTask` and :func:`rukh.training.trainer.fit`.
    """
    task = VerifierTask(config)
    logger.info("%d training posts, %d dev posts", len(task.train), len(task.dev))
    later = {"training", "card_notes", "retriever"}
    identity = config.model_dump(mode="json", by_alias=True, exclude=later)
    best = fit(task, config.training, out.with_name(f"{out.name}.run"), identity)
    with torch.no_grad():
        # The weights are saved in half precision, so calibrate the verifier in it as well.
        for parameter in trained_state(task.model).values():
            parameter.copy_(parameter.half())
    fitted = task.calibrate()
    keys = ("scale", "retrieval_scale", "bias", "threshold")
    metrics: dict[str, Any] = {"average_precision": best["score"]}
    metrics |= {key: value for key, value in fitted.items() if key not in keys}
    update = {key: fitted[key] for key in keys} | {"metrics": metrics}
    task.model.config = task.model.config.model_copy(update=update)
    card = verifier_card(config.model_dump(mode="json", by_alias=True), metrics, out.name)
    save_verifier(task.model, out, card)
    return metrics
