"""Figures on relations that a model never saw: which relation, whether any, and after a few
examples.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from sklearn.metrics import accuracy_score, roc_auc_score
from torch import Tensor
from torch.nn.functional import cross_entropy

from rukh.evaluation.metrics import (
    OrderedDecision,
    calibration_error,
    macro_f1,
    per_relation,
    take_better,
)
from rukh.extractor import Extractor
from rukh.modeling.directions import column_mask, target_columns
from rukh.modeling.model import RelationModel
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Post, both_orders
from rukh.schema.schema import RelationSchema
from rukh.training.calibration import fit_temperature
from rukh.training.few_shot import add_relations


def only_relations(posts: Sequence[Post], names: Sequence[str]) -> list[Post]:
    """The posts with a pair of these relations, with only such pairs."""
    kept = []
    for post in posts:
        pairs = tuple(pair for pair in post.pairs or () if pair.relation in names)
        if pairs:
            kept.append(post.model_copy(update={"pairs": pairs}))
    return kept


def measure(
    extractor: Extractor,
    schema: RelationSchema,
    unseen: Sequence[str],
    posts: Sequence[Post],
    unrelated: Sequence[Post],
) -> dict[str, Any]:
    """All figures of one split.

    Args:
        extractor: Of a model that saw none of the unseen relations.
        schema: Describes them.
        posts: Pairs of unseen relations.
        unrelated: Pairs without a relation, at least one.

    Returns: ``described, named`` (by descriptions, by names alone) and ``untyped`` (described,
        without the data's entity types), each with ``accuracy, macro_f1``; ``encoder``, the same
        for the untrained encoder's cosine between text and description; ``rejecting``.
    """
    closed = _restrict(schema, unseen)
    names_only = [r.model_copy(update={"descriptions": (r.name,)}) for r in closed.relations]
    named = closed.model_copy(update={"relations": tuple(names_only)})
    gold = _labels(posts)
    related = _all_probabilities(extractor, closed, posts)
    untyped = _probabilities(extractor, closed, [_without_types(post) for post in posts])
    figures: dict[str, Any] = {
        "described": _closed_figures(related.given, closed, gold),
        "untyped": _closed_figures(untyped, closed, gold),
        "named": _closed_figures(_probabilities(extractor, named, posts), named, gold),
        "encoder": _closed_figures(_encoder_cosines(extractor, closed, posts), closed, gold),
    }
    others = _all_probabilities(extractor, closed, unrelated)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randperm(len(others.given), generator=generator)[: len(gold)]
    mixed = Probabilities(*(torch.cat([a, b[drawn]]) for a, b in zip(related, others, strict=True)))
    figures["rejecting"] = _rejecting_figures(mixed.given, closed, gold, extractor.threshold)
    figures["rejecting"]["expected_calibration_error_order_free"] = _order_free_error(
        mixed.forward, mixed.backward, closed, gold
    )
    return figures


def few_shot(
    model: RelationModel,
    schema: RelationSchema,
    unseen: Sequence[str],
    posts: Sequence[Post],
    seen: Sequence[Post],
    seed: int,
    relations: int = 5,
    examples: int = 5,
) -> dict[str, float]:
    """What a few examples of a few unseen relations gain, and what they cost the seen ones.

    Args:
        model: Changed in place.
        schema, unseen, posts, seed: As above; the first ``relations`` unseen ones are new.
        seen: Pairs of relations that training showed, other than the training pairs.

    Returns:
        Macro-F1 among all seen and new relations: ``new_before, new_after`` of the new ones' other
        pairs; ``old_between, old_after`` of the seen ones, before and after the examples; and
        ``old_before``, the same before there were new ones. ``seconds``: the time of adapting.
    """
    new = list(unseen[:relations])
    old = [name for name in schema.names if name in model.schema.names]
    generator = random.Random(seed)
    chosen: list[Post] = []
    rest: list[Post] = []
    for name in new:
        own = only_relations(posts, [name])
        generator.shuffle(own)
        chosen += own[:examples]
        rest += own[examples:]

    def score(names: Sequence[str], some: Sequence[Post]) -> float:
        closed = _restrict(schema, names)
        probabilities = _probabilities(Extractor(model), closed, some)
        return _closed_figures(probabilities, closed, _labels(some))["macro_f1"]

    old_before = score(old, seen)
    both = [*old, *new]
    new_before, old_between = score(both, rest), score(both, seen)
    start = time.perf_counter()
    add_relations(model, _restrict(schema, new), chosen)
    seconds = time.perf_counter() - start
    return {
        "new_before": new_before,
        "new_after": score(both, rest),
        "old_before": old_before,
        "old_between": old_between,
        "old_after": score(both, seen),
        "seconds": round(seconds, 1),
    }


def calibrate_unseen(
    extractor: Extractor,
    schema: RelationSchema,
    unseen: Sequence[str],
    posts: Sequence[Post],
    unrelated: Sequence[Post],
) -> dict[str, float]:
    """Fit ``unseen_temperature`` and ``unseen_shift`` of :class:`rukh.modeling.model.ModelConfig`,
    on as many related pairs as unrelated, in the order of the data.
    """
    model, closed = extractor.model, _restrict(schema, unseen)
    own = Extractor(model, schema=closed)
    mode, bank = model.config.direction_mode, own.bank
    # The direction is known: only the columns from head to tail compete.
    columns = 1 + len(bank.names)
    related, others = (
        bank.without_background(_logits(own, some, _pairs(some)))[:, :columns]
        for some in (posts, unrelated)
    )
    count = min(len(related), len(others))
    target = torch.tensor([target_columns(name, bank, None, mode)[0] for name in _labels(posts)])
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(related), generator=generator)[:count]
    other = torch.randperm(len(others), generator=generator)[:count]
    temperature, shift = fit_unseen(
        torch.cat([related[chosen], others[other]]),
        torch.cat([target[chosen], torch.zeros(count, dtype=torch.long)]),
        column_mask(model.schema.names, bank, mode)[:columns],
    )
    return {"unseen_temperature": temperature, "unseen_shift": shift}


def _restrict(schema: RelationSchema, names: Sequence[str]) -> RelationSchema:
    """A closed schema of these relations."""
    return schema.model_copy(update={"nota": None}).restrict(names)


def gold_logits(extractor: Extractor, posts: Sequence[Post]) -> tuple[Tensor, Tensor]:
    """The logits ``(Q, C)`` of the pairs that posts list, and the gold column ``(Q,)`` of each."""
    logits = _logits(extractor, posts, _pairs(posts))
    nota, mode = extractor.schema.nota, extractor.model.config.direction_mode
    labels = [pair.relation for post in posts for pair in post.pairs or ()]
    gold = [target_columns(label, extractor.bank, nota, mode)[0] for label in labels]
    return logits, torch.tensor(gold)


def _pairs(posts: Sequence[Post]) -> list[list[tuple[str, str]]]:
    return [[(p.head, p.tail) for p in post.pairs or ()] for post in posts]


def _labels(posts: Sequence[Post]) -> list[str]:
    return [str(p.relation) for post in posts for p in post.pairs or ()]


def _without_types(post: Post) -> Post:
    entities = tuple(e.model_copy(update={"type": None}) for e in post.entities)
    return post.model_copy(update={"entities": entities})


class Probabilities(NamedTuple):
    """Calibrated probabilities of the schema's relations for every pair, ``(Q, R)`` each.

    Attributes:
        given: From head to tail, with the direction known.
        forward, backward: From head to tail and from tail to head, with the direction unknown.
    """

    given: Tensor
    forward: Tensor
    backward: Tensor


def _probabilities(extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]) -> Tensor:
    """The probabilities with the direction known, ``(Q, R)``."""
    own = Extractor(extractor.model, schema=schema)
    logits = _logits(own, posts, _pairs(posts))
    return own.model.probabilities(logits, own.bank, directed=True)[:, 1:]


def _all_probabilities(
    extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]
) -> Probabilities:
    own = Extractor(extractor.model, schema=schema)
    logits = _logits(own, posts, [both_orders(post.pairs or ()) for post in posts])
    forward, backward = logits[::2], logits[1::2]
    settings = ((forward, True), (forward, False), (backward, False))
    return Probabilities(
        *(own.model.probabilities(some, own.bank, directed)[:, 1:] for some, directed in settings)
    )


def _logits(
    extractor: Extractor, posts: Sequence[Post], pairs: Sequence[Sequence[tuple[str, str]]]
) -> Tensor:
    return torch.cat([s.logits for s in extractor.scores(extractor.assign_types(posts), pairs)])


def _encoder_cosines(extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]) -> Tensor:
    """The baseline ``(Q, R)``: cosines of the untrained sentence encoder."""
    encoder = TextEncoder.load(extractor.model.config.pair.text_encoder).eval()
    with torch.inference_mode():
        texts = encoder.embed_sentences([post.text for post in posts for _ in post.pairs or ()])
        relations = [
            encoder.embed_sentences([f"{r.name}: {text}" for text in r.descriptions]).mean(0)
            for r in schema.relations
        ]
    return texts @ torch.nn.functional.normalize(torch.stack(relations), dim=-1).T


def _closed_figures(
    probabilities: Tensor, schema: RelationSchema, gold: Sequence[str]
) -> dict[str, float]:
    """Accuracy of the best relation, and macro-F1 over the relations that occur."""
    predicted = [schema.names[k] for k in probabilities.argmax(1).tolist()]
    rows = per_relation(gold, predicted, schema.names)
    return {"accuracy": float(accuracy_score(gold, predicted)), "macro_f1": macro_f1(rows)}


def _rejecting_figures(
    probabilities: Tensor, schema: RelationSchema, gold: Sequence[str], threshold: float
) -> dict[str, float]:
    """Figures of ``(N, R)`` related pairs, with labels ``gold``, followed by unrelated ones."""
    scores, which = probabilities.max(1)
    labels: list[str | None] = [*gold, *([None] * (len(probabilities) - len(gold)))]
    best = [schema.names[k] for k in which.tolist()]
    predicted = [b if s >= threshold else None for b, s in zip(best, scores.tolist(), strict=True)]
    related = [label is not None for label in labels]
    correct = [b == label for b, label in zip(best, labels, strict=True)]
    rows = per_relation(labels, predicted, schema.names)
    return {
        "macro_f1": macro_f1(rows),
        "auroc": float(roc_auc_score(related, scores.tolist())),
        "expected_calibration_error": calibration_error(scores.tolist(), correct),
        "pairs": len(gold),
        "unrelated": len(labels) - len(gold),
    }


def _order_free_error(
    forward: Tensor, backward: Tensor, schema: RelationSchema, gold: Sequence[str]
) -> float:
    """The calibration error with the direction unknown: the better of both directions counts, and
    is correct if relation and direction are.

    Args:
        forward, backward: ``(N, R)`` of related pairs, whose labels are ``gold``, then of others.
    """
    better = [
        take_better(*decisions, schema)
        for decisions in zip(_decisions(forward, schema), _decisions(backward, schema), strict=True)
    ]
    labels = [*gold, *([None] * (len(forward) - len(gold)))]
    correct = [b.relation == label for b, label in zip(better, labels, strict=True)]
    return calibration_error([b.score for b in better], correct)


def _decisions(probabilities: Tensor, schema: RelationSchema) -> list[OrderedDecision]:
    scores, which = probabilities.max(1)
    names = [schema.names[k] for k in which.tolist()]
    return [OrderedDecision(n, s) for n, s in zip(names, scores.tolist(), strict=True)]


def fit_unseen(logits: Tensor, target: Tensor, seen: Tensor) -> tuple[float, float]:
    """Fit ``unseen_temperature`` and ``unseen_shift`` of :class:`rukh.modeling.model.ModelConfig`.

    Args:
        logits, target: ``(Q, C)`` and ``(Q,)``.
        seen: ``(C,)`` bool, true for NOTA and the relations that occur in training.
    """
    candidates = []
    for shift in torch.linspace(-2, 6, 33).tolist():
        shifted = logits + torch.where(seen, 0.0, shift)
        temperature = fit_temperature(shifted, target)
        candidates.append((float(cross_entropy(shifted / temperature, target)), temperature, shift))
    _, temperature, shift = min(candidates)
    return temperature, shift
