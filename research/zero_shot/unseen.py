"""Figures on relations that a model never saw: which, whether any, and after a few examples."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

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
from rukh.training.calibration import fit_unseen
from rukh.training.few_shot import add_relations


def only(posts: Sequence[Post], names: Sequence[str]) -> list[Post]:
    """The posts with a pair of these relations, and only such pairs."""
    kept = []
    for post in posts:
        pairs = tuple(p for p in post.pairs or () if p.relation in names)
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

    Returns:
        ``described, named`` (descriptions, names alone) and ``untyped`` (described, without the
        types that the data gives), each with ``accuracy, macro_f1``; ``encoder``, the same for the
        untrained encoder's cosine between text and description; ``rejecting``.
    """
    closed = _restricted(schema, unseen)
    named = closed.model_copy(
        update={
            "relations": tuple(
                r.model_copy(update={"descriptions": (r.name,)}) for r in closed.relations
            )
        }
    )
    gold = _labels(posts)
    bare = [_untyped(post) for post in posts]
    told = _both_ways(extractor, closed, posts)
    figures: dict[str, Any] = {
        "described": _closed(told.given, closed, gold),
        "untyped": _closed(_told(extractor, closed, bare), closed, gold),
        "named": _closed(_told(extractor, named, posts), named, gold),
        "encoder": _closed(_cosines(extractor, closed, posts), closed, gold),
    }
    none = _both_ways(extractor, closed, unrelated)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randperm(len(none.given), generator=generator)[: len(gold)]
    mixed = BothWays(*(torch.cat([a, b[drawn]]) for a, b in zip(told, none, strict=True)))
    figures["rejecting"] = _rejecting(mixed.given, closed, gold, extractor.threshold)
    figures["rejecting"] |= _order_free(mixed.there, mixed.back, closed, gold)
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
    """What a few examples of a few unseen relations give, and what they take from the seen ones.

    Args:
        model: It is changed in place.
        schema, unseen, posts, seed: As above; the first ``relations`` unseen ones are new.
        seen: Pairs of relations that training showed, other than those it was trained on.

    Returns:
        Macro-F1 among all seen and new relations: ``new_before, new_after`` of the new ones' other
        pairs, ``old_between, old_after`` of the seen ones, before and after the examples, and
        ``old_before`` the same before there were new ones; and the ``seconds`` that adapting took.
    """
    new = list(unseen[:relations])
    known = [name for name in schema.names if name in model.schema.names]
    generator = random.Random(seed)
    chosen: list[Post] = []
    rest: list[Post] = []
    for name in new:
        found = only(posts, [name])
        generator.shuffle(found)
        chosen += found[:examples]
        rest += found[examples:]

    def scored(names: Sequence[str], some: Sequence[Post]) -> float:
        closed = _restricted(schema, names)
        told = _told(Extractor(model), closed, some)
        return _closed(told, closed, _labels(some))["macro_f1"]

    old_before = scored(known, seen)
    both = [*known, *new]
    new_before, old_between = scored(both, rest), scored(both, seen)
    start = time.perf_counter()
    add_relations(model, _restricted(schema, new), chosen)
    seconds = time.perf_counter() - start
    return {
        "new_before": new_before,
        "new_after": scored(both, rest),
        "old_before": old_before,
        "old_between": old_between,
        "old_after": scored(both, seen),
        "seconds": round(seconds, 1),
    }


def _restricted(schema: RelationSchema, names: Sequence[str]) -> RelationSchema:
    """These relations alone, as a closed schema."""
    kept = tuple(
        r.model_copy(update={"inverse": r.inverse if r.inverse in names else None})
        for r in schema.relations
        if r.name in names
    )
    return schema.model_copy(update={"nota": None, "relations": kept})


def calibrated(
    extractor: Extractor,
    schema: RelationSchema,
    unseen: Sequence[str],
    posts: Sequence[Post],
    unrelated: Sequence[Post],
) -> dict[str, float]:
    """What a split of its own says of relations that a model never saw: ``unseen_temperature`` and
    ``unseen_shift`` of :class:`rukh.modeling.model.ModelConfig`, from as many related pairs as unrelated,
    in the order that the data gives.
    """
    model, closed = extractor.model, _restricted(schema, unseen)
    asking = Extractor(model, schema=closed)
    order, bank = model.config.direction_mode, asking.bank

    # The order of the pairs is known: their reverses are out of the question.
    told = 1 + len(bank.names)
    related, none = (_logits(asking, some, _pairs(some))[:, :told] for some in (posts, unrelated))
    count = min(len(related), len(none))
    target = torch.tensor([target_columns(name, bank, None, order)[0] for name in _labels(posts)])
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(related), generator=generator)[:count]
    other = torch.randperm(len(none), generator=generator)[:count]
    temperature, shift = fit_unseen(
        torch.cat([related[chosen], none[other]]),
        torch.cat([target[chosen], torch.zeros(count, dtype=torch.long)]),
        column_mask(model.schema.names, bank, order)[:told],
    )
    return {"unseen_temperature": temperature, "unseen_shift": shift}


def _pairs(posts: Sequence[Post]) -> list[list[tuple[str, str]]]:
    return [[(p.head, p.tail) for p in post.pairs or ()] for post in posts]


def _labels(posts: Sequence[Post]) -> list[str]:
    return [str(p.relation) for post in posts for p in post.pairs or ()]


def _untyped(post: Post) -> Post:
    entities = tuple(e.model_copy(update={"type": None}) for e in post.entities)
    return post.model_copy(update={"entities": entities})


class BothWays(NamedTuple):
    """Calibrated probabilities of the schema's relations for every pair, ``(Q, R)`` each.

    Attributes:
        given: From head to tail, as the data gives them.
        there, back: From head to tail and from tail to head, if nobody knew which is right.
    """

    given: Tensor
    there: Tensor
    back: Tensor


def _told(extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]) -> Tensor:
    """The probabilities in the order that the data gives, ``(Q, R)``."""
    asking = Extractor(extractor.model, schema=schema)
    logits = _logits(asking, posts, _pairs(posts))
    return asking.model.probabilities(logits, asking.bank, directed=True)[:, 1:]


def _both_ways(extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]) -> BothWays:
    asking = Extractor(extractor.model, schema=schema)
    logits = _logits(asking, posts, [both_orders(post.pairs or ()) for post in posts])

    def told(some: Tensor, directed: bool) -> Tensor:
        return asking.model.probabilities(some, asking.bank, directed)[:, 1:]

    there, back = logits[::2], logits[1::2]
    return BothWays(told(there, True), told(there, False), told(back, False))


def _logits(
    asking: Extractor, posts: Sequence[Post], pairs: Sequence[Sequence[tuple[str, str]]]
) -> Tensor:
    return torch.cat([scored.logits for scored in asking.scores(asking.assign_types(posts), pairs)])


def _cosines(extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]) -> Tensor:
    """The baseline ``(Q, R)``: what the untrained sentence encoder finds alike."""
    encoder = TextEncoder.load(extractor.model.config.pair.text_encoder).eval()
    with torch.inference_mode():
        texts = encoder.embed_sentences([post.text for post in posts for _ in post.pairs or ()])
        relations = [
            encoder.embed_sentences([f"{r.name}: {text}" for text in r.descriptions]).mean(0)
            for r in schema.relations
        ]
    return texts @ torch.nn.functional.normalize(torch.stack(relations), dim=-1).T


def _closed(told: Tensor, schema: RelationSchema, gold: Sequence[str]) -> dict[str, float]:
    """Accuracy of the best relation, and macro-F1 over the relations that occur."""
    said = [schema.names[k] for k in told.argmax(1).tolist()]
    rows = per_relation(gold, said, schema.names)
    right = sum(g == s for g, s in zip(gold, said, strict=True))
    occurring = [row for row in rows if row["support"]]
    return {"accuracy": right / len(gold), "macro_f1": macro_f1(occurring)}


def _rejecting(
    told: Tensor, schema: RelationSchema, gold: Sequence[str], threshold: float
) -> dict[str, float]:
    """Figures of ``(N, R)`` related pairs, whose labels ``gold`` are, and then unrelated ones."""
    score, which = told.max(1)
    labels: list[str | None] = [*gold, *([None] * (len(told) - len(gold)))]
    best = [schema.names[k] for k in which.tolist()]
    said = [b if s >= threshold else None for b, s in zip(best, score.tolist(), strict=True)]
    rows = per_relation(labels, said, schema.names)
    right = [b == label for b, label in zip(best, labels, strict=True)]
    return {
        "macro_f1": macro_f1(rows),
        "auroc": float(roc_auc_score([label is not None for label in labels], score.tolist())),
        "expected_calibration_error": calibration_error(score.tolist(), right),
        "pairs": len(gold),
        "unrelated": len(told) - len(gold),
    }


def _order_free(
    there: Tensor, back: Tensor, schema: RelationSchema, gold: Sequence[str]
) -> dict[str, float]:
    """The calibration error where nobody says which argument is the head: both orders are asked,
    the better is told, and it is right where relation and direction are.

    Args:
        there, back: ``(N, R)`` of related pairs, whose labels ``gold`` are, and then of others.
    """
    better = [
        take_better(*ways, schema)
        for ways in zip(_decisions(there, schema), _decisions(back, schema), strict=True)
    ]
    labels = [*gold, *([None] * (len(there) - len(gold)))]
    right = [b.relation == label for b, label in zip(better, labels, strict=True)]
    error = calibration_error([b.score for b in better], right)
    return {"expected_calibration_error_order_free": error}


def _decisions(told: Tensor, schema: RelationSchema) -> list[OrderedDecision]:
    best, which = told.max(1)
    names = [schema.names[k] for k in which.tolist()]
    return [OrderedDecision(n, s) for n, s in zip(names, best.tolist(), strict=True)]
