"""Figures on relations that a model never saw: which, whether any, and after a few examples."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rukh.calibration import fit_unseen
from rukh.candidates import both_orders
from rukh.encoders.text import TextEncoder
from rukh.extraction import Extractor
from rukh.few_shot import adapted
from rukh.metrics import OrderedDecision, confusion, macro_f1, per_relation, take_better
from rukh.model import RelationModel
from rukh.orders import columns, within
from rukh.records import Post
from rukh.reliability import auroc, calibration_error
from rukh.schema import RelationSchema


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
    told, told_back = _both_ways(extractor, closed, posts)
    figures: dict[str, Any] = {
        "described": _closed(told, closed, gold),
        "untyped": _closed(_told(extractor, closed, bare), closed, gold),
        "named": _closed(_told(extractor, named, posts), named, gold),
        "encoder": _closed(_cosines(extractor, closed, posts), closed, gold),
    }
    none, none_back = _both_ways(extractor, closed, unrelated)
    drawn = torch.randperm(len(none), generator=torch.Generator().manual_seed(0))[: len(told)]
    figures["rejecting"] = _rejecting(told, none[drawn], closed, gold, extractor.threshold)
    there, back = torch.cat([told, none[drawn]]), torch.cat([told_back, none_back[drawn]])
    figures["rejecting"] |= _order_free(there, back, closed, gold)
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
    adapted(model, _restricted(schema, new), chosen)
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
    ``unseen_shift`` of :class:`rukh.model.ModelConfig`, from as many related pairs as unrelated.
    """
    model, closed = extractor.model, _restricted(schema, unseen)
    asking = Extractor(model, schema=closed)
    order, bank = model.config.order, asking.bank

    def told(some: Sequence[Post]) -> Tensor:
        return torch.cat([s.logits for s in asking.scores(asking.typed(some), _pairs(some))])

    related, none = told(posts), told(unrelated)
    count = min(len(related), len(none))
    target = torch.tensor([columns(name, bank, None, order)[0] for name in _labels(posts)])
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(related), generator=generator)[:count]
    other = torch.randperm(len(none), generator=generator)[:count]
    temperature, shift = fit_unseen(
        torch.cat([related[chosen], none[other]]),
        torch.cat([target[chosen], torch.zeros(count, dtype=torch.long)]),
        within(model.schema.names, bank, order),
    )
    return {"unseen_temperature": temperature, "unseen_shift": shift}


def _pairs(posts: Sequence[Post]) -> list[list[tuple[str, str]]]:
    return [[(p.head, p.tail) for p in post.pairs or ()] for post in posts]


def _labels(posts: Sequence[Post]) -> list[str]:
    return [str(p.relation) for post in posts for p in post.pairs or ()]


def _untyped(post: Post) -> Post:
    entities = tuple(e.model_copy(update={"type": None}) for e in post.entities)
    return post.model_copy(update={"entities": entities})


def _told(extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]) -> Tensor:
    """Calibrated probabilities of the schema's relations for every pair, ``(Q, R)``."""
    return _answered(extractor, schema, posts, _pairs(posts))


def _both_ways(
    extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]
) -> tuple[Tensor, Tensor]:
    """As :func:`_told`, and the same from tail to head."""
    asked = [both_orders(post.pairs or ()) for post in posts]
    told = _answered(extractor, schema, posts, asked)
    return told[::2], told[1::2]


def _answered(
    extractor: Extractor,
    schema: RelationSchema,
    posts: Sequence[Post],
    pairs: Sequence[Sequence[tuple[str, str]]],
) -> Tensor:
    asking = Extractor(extractor.model, schema=schema, threshold=extractor.threshold)
    answers = asking.answer(asking.typed(posts), pairs)
    return torch.cat([answer.probabilities[:, 1:] for answer in answers])


def _cosines(extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]) -> Tensor:
    """The baseline ``(Q, R)``: what the untrained sentence encoder finds alike."""
    encoder = TextEncoder.load(extractor.model.config.pair.text_encoder).eval()
    with torch.inference_mode():
        texts = encoder.sentences([post.text for post in posts for _ in post.pairs or ()])
        relations = [
            encoder.sentences([f"{r.name}: {text}" for text in r.descriptions]).mean(0)
            for r in schema.relations
        ]
    return texts @ torch.nn.functional.normalize(torch.stack(relations), dim=-1).T


def _closed(told: Tensor, schema: RelationSchema, gold: Sequence[str]) -> dict[str, float]:
    """Accuracy of the best relation, and macro-F1 over the relations that occur."""
    said = [schema.names[k] for k in told.argmax(1).tolist()]
    rows = per_relation(confusion(gold, said, schema.names), schema.names, None)
    right = sum(g == s for g, s in zip(gold, said, strict=True))
    occurring = [row for row in rows if row["support"]]
    return {"accuracy": right / len(gold), "macro_f1": macro_f1(occurring)}


def _rejecting(
    told: Tensor, none: Tensor, schema: RelationSchema, gold: Sequence[str], threshold: float
) -> dict[str, float]:
    """Figures with unrelated pairs ``(N, R)`` mixed in."""
    score, which = torch.cat([told, none]).max(1)
    labels: list[str | None] = [*gold, *([None] * len(none))]
    best = [schema.names[k] for k in which.tolist()]
    said = [b if s >= threshold else None for b, s in zip(best, score.tolist(), strict=True)]
    kinds: tuple[str | None, ...] = (None, *schema.names)
    rows = per_relation(confusion(labels, said, kinds), kinds, None)
    right = [b == label for b, label in zip(best, labels, strict=True)]
    return {
        "macro_f1": macro_f1(rows),
        "auroc": auroc(score[: len(told)].tolist(), score[len(told) :].tolist()),
        "expected_calibration_error": calibration_error(score.tolist(), right),
        "pairs": len(told),
        "unrelated": len(none),
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
