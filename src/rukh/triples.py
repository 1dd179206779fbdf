"""From what a model says of a post's pairs to the triples that are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rukh.modeling.relation_bank import RelationBank
from rukh.records import FoundEntity, FoundObject, Post, Scored, Triple


class Answers(NamedTuple):
    """What a model says of one post.

    Attributes:
        pairs: The ``Q`` ordered pairs that were asked, as argument ids.
        probabilities: ``(Q, 1 + R)``, calibrated, NOTA first.
        match: ``(Q, R)`` which of each relation's descriptions is its best.
        gate: Trust in the picture, or None.
    """

    pairs: list[tuple[str, str]]
    probabilities: Tensor
    match: Tensor
    gate: float | None


def triples_of(
    given: Post,
    post: Post,
    answers: Answers,
    bank: RelationBank,
    nota: str | None,
    threshold: float,
    top_k: int = 0,
) -> list[Triple]:
    """A triple for each pair that was asked, also for one of which no relation is told.

    Args:
        given: The post as it came.
        post: The post as it was asked, with what was found in it.
        answers: What the model says.
        bank: The relations that it was asked for.
        nota: What is told of a pair where no relation reaches the threshold.
        threshold: The least probability of the best relation.
        top_k: How many relations of each ranking to add; 0 adds none.
    """
    entities, objects = _found(given, post)
    names = (nota, *bank.names)
    out = []
    for (head, tail), probabilities, match in zip(
        answers.pairs, answers.probabilities, answers.match, strict=True
    ):
        k = int(probabilities[1:].argmax())
        score = float(probabilities[1 + k])
        ranking = None
        if top_k:
            best = torch.argsort(probabilities, descending=True, stable=True)[:top_k].tolist()
            ranking = tuple(
                Scored(relation=names[b], score=round(float(probabilities[b]), 6)) for b in best
            )
        told = score >= threshold
        out.append(
            Triple(
                post_id=post.id,
                head=head,
                tail=tail,
                head_entity=entities.get(head),
                tail_entity=entities.get(tail),
                head_object=objects.get(head),
                tail_object=objects.get(tail),
                relation=bank.names[k] if told else nota,
                score=round(score if told else float(probabilities[0]), 6),
                description=bank.description(k, int(match[k])) if told else None,
                gate=None if answers.gate is None else round(answers.gate, 6),
                ranking=ranking,
            )
        )
    return out


def best_direction_only(triples: Sequence[Triple], nota: str | None) -> list[Triple]:
    """Triples that tell a relation, one for each two arguments: the better order's."""
    best: dict[frozenset[str], Triple] = {}
    for triple in triples:
        if triple.relation in (None, nota):
            continue
        key = frozenset((triple.head, triple.tail))
        if key not in best or triple.score > best[key].score:
            best[key] = triple
    return [t for t in triples if best.get(frozenset((t.head, t.tail))) is t]


def _found(given: Post, post: Post) -> tuple[dict[str, FoundEntity], dict[str, FoundObject]]:
    """The arguments that a post did not give, as triples tell them, by their ids."""
    entities = () if given.entities else post.entities
    objects = () if given.objects else post.objects
    return {
        e.id: FoundEntity(start=e.start, end=e.end, type=e.type, text=post.text[e.start : e.end])
        for e in entities
    }, {
        o.id: FoundObject.model_validate(
            {"box": o.box, "label": o.label, "type": o.type, "score": o.meta.get("score")}
        )
        for o in objects
    }
