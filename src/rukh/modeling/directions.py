"""The two directions of a pair, forward (head to tail) and backward (tail to head).

At most one relation holds between two arguments, in one of the two directions. If each direction
has its own softmax (``direction_mode: both``), a one-way relation (one without a reverse) is
labelled none of the above (NOTA) in the backward direction. NOTA then means both "no relation" and
"a relation in the reverse direction", and the two predictions may contradict each other. A joint
decision (``direction_mode: joint``) is one softmax over NOTA, all relations from head to tail, and
the one-way relations from tail to head. Swapping head and tail only permutes its columns, so the
order of head and tail in the data gives no information.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from rukh.modeling.relation_bank import RelationBank
from rukh.records import Triple

DirectionMode: TypeAlias = Literal["joint", "both", "given"]
"""How a model is trained on a pair: on both directions in one decision (``joint``), on each
direction separately (``both``), or only on the annotated direction (``given``). The annotated
direction reveals labels in MNRE, so ``given`` only serves as a comparison."""


def merge_directions(forward: Tensor, backward: Tensor, bank: RelationBank) -> Tensor:
    """Merge the logits of both directions into those of one joint decision.

    Args:
        forward: ``(Q, 1 + R)`` logits from head to tail, NOTA first.
        backward: ``(Q, 1 + R)`` logits of the same pairs from tail to head.
        bank: The relations that the columns stand for.

    Returns:
        ``(Q, 1 + R + A)`` logits of NOTA (the mean of both directions), of all ``R`` relations from
        head to tail, and of the ``A`` relations without a reverse from tail to head. A relation
        with a reverse (its inverse, or itself if symmetric) needs no column from tail to head: its
        reverse states the same there, so that probability is added to its own column.

    Example:
        >>> from rukh.schema.schema import RelationSchema
        >>> schema = RelationSchema.load("mnre")
        >>> bank = RelationBank.build(schema, lambda texts: torch.zeros(len(texts), 2))
        >>> merge_directions(torch.zeros(5, 23), torch.zeros(5, 23), bank).shape
        torch.Size([5, 38])
    """
    nota = (forward[:, :1] + backward[:, :1]) / 2
    relations = forward[:, 1:]
    if len(bank.one_way) < len(bank.names):
        total = torch.logaddexp(relations, backward[:, 1 + bank.reverse.clamp_min(0)])
        relations = torch.where(bank.reverse >= 0, total, relations)
    return torch.cat([nota, relations, backward[:, 1 + bank.one_way]], 1)


def target_columns(
    label: str | None, bank: RelationBank, nota: str | None, mode: DirectionMode
) -> list[int]:
    """Return the gold columns of a pair with this label: as annotated, and with swapped arguments.

    Raises:
        InputError: The label is not in the bank.
    """
    column = bank.index(label, nota)
    if column == 0:
        return [0, 0]
    reverse = int(bank.reverse[column - 1])
    if reverse >= 0:
        return [column, 1 + reverse]
    if mode != "joint":
        return [column, 0]
    return [column, 1 + len(bank.names) + bank.one_way.tolist().index(column - 1)]


def num_columns(bank: RelationBank, mode: DirectionMode) -> int:
    """Return the number ``C`` of logit columns: ``1 + R + A`` in mode ``joint``, else ``1 + R``."""
    return 1 + len(bank.names) + (len(bank.one_way) if mode == "joint" else 0)


def column_mask(names: Collection[str], bank: RelationBank, mode: DirectionMode) -> Tensor:
    """Return a bool mask ``(C,)`` of the columns of NOTA and of ``names`` in both directions."""
    selected = torch.tensor([name in names for name in bank.names])
    backward = selected[bank.one_way] if mode == "joint" else selected[:0]
    return torch.cat([torch.tensor([True]), selected, backward])


def to_probabilities(logits: Tensor, num_relations: int, directed: bool = False) -> Tensor:
    """Convert logits to probabilities of NOTA and the relations from head to tail, ``(Q, 1 + R)``.

    Args:
        logits: ``(Q, 1 + R)`` logits, or ``(Q, 1 + R + A)`` logits of :func:`merge_directions`.
        num_relations: Number ``R`` of relations.
        directed: Whether the direction of each pair is known, so that relations from tail to head
            are excluded. If not, their probabilities are added to that of NOTA.

    Example:
        >>> to_probabilities(torch.zeros(1, 5), 2), to_probabilities(torch.zeros(1, 5), 2, True)
        (tensor([[0.6000, 0.2000, 0.2000]]), tensor([[0.3333, 0.3333, 0.3333]]))
    """
    if directed:
        return logits[:, : 1 + num_relations].softmax(-1)
    probabilities = logits.softmax(-1)
    forward, backward = probabilities[:, : 1 + num_relations], probabilities[:, 1 + num_relations :]
    forward[:, 0] += backward.sum(1)
    return forward


def best_direction_only(triples: Sequence[Triple], nota: str | None) -> list[Triple]:
    """Keep triples with a relation, and only the more probable order of each argument pair."""
    best: dict[frozenset[str], Triple] = {}
    for triple in triples:
        if triple.relation in (None, nota):
            continue
        arguments = frozenset((triple.head.id, triple.tail.id))
        if arguments not in best or triple.score > best[arguments].score:
            best[arguments] = triple
    return [t for t in triples if best.get(frozenset((t.head.id, t.tail.id))) is t]
