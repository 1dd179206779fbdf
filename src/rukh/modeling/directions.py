"""The two orders of a pair, told apart or in one decision.

Of two arguments at most one relation is told, from one to the other or back. Asked apart, each
order has a softmax of its own, and the reverse of a one-way relation is none-of-the-above (NOTA):
the two answers may contradict each other, and NOTA has to mean both "nothing here" and "the other
way round". Asked jointly, one softmax runs over NOTA, every relation from head to tail, and every
one-way relation from tail to head. It is the same for both orders but for the places of its
columns, so that the order in which a pair is asked can tell the model nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from rukh.modeling.relation_bank import RelationBank
from rukh.records import Direction

DirectionMode: TypeAlias = Literal["joint", "both", "given"]
"""How training shows a pair: both orders in one decision, each order by itself, or only the order
of the data, which gives labels away in MNRE and is there for comparison."""


def merge_directions(there: Tensor, back: Tensor, bank: RelationBank) -> Tensor:
    """Logits of both orders as those of one decision.

    Args:
        there: ``(Q, 1 + R)`` from head to tail, NOTA first.
        back: ``(Q, 1 + R)`` the same pairs from tail to head.
        bank: The relations of the columns.

    Returns:
        ``(Q, 1 + R + A)``: NOTA (the mean of both), each relation from head to tail (where it has a
        reverse, the two ways of telling it are added up as probabilities), and the ``A`` relations
        without a reverse from tail to head.

    Example:
        >>> schema = RelationSchema.load("mnre")
        >>> bank = RelationBank.build(schema, lambda texts: torch.zeros(len(texts), 2))
        >>> join(torch.zeros(5, 23), torch.zeros(5, 23), bank).shape
        torch.Size([5, 39])
    """
    nota = (there[:, :1] + back[:, :1]) / 2
    forth, oneway = there[:, 1:], bank.reverse < 0
    both = (~oneway).nonzero().flatten()
    if len(both):
        same = torch.logaddexp(forth[:, both], back[:, 1 + bank.reverse[both]])
        forth = forth.index_copy(1, both, same)
    turned = back[:, 1:] if oneway.all() else back[:, 1:][:, oneway]
    return torch.cat([nota, forth, turned], 1)


def target_columns(
    label: str | None, bank: RelationBank, nota: str | None, order: DirectionMode
) -> list[int]:
    """The right column for a pair of this label, asked in its order and in the other.

    Raises:
        InputError: The label stands outside the bank.
    """
    right = bank.index(label, nota)
    if right == 0:
        return [0, 0]
    turned = int(bank.reverse[right - 1])
    if turned >= 0:
        return [right, 1 + turned]
    if order != "joint":
        return [right, 0]
    oneway = (bank.reverse < 0).nonzero().flatten().tolist()
    return [right, 1 + len(bank.names) + oneway.index(right - 1)]


def swap_direction(joint: Tensor, bank: RelationBank) -> Tensor:
    """What one decision says when the same pairs are asked in the other order, ``(Q, C)``.

    Args:
        joint: ``(Q, C)`` or ``(C,)`` in the columns of :func:`join`.
        bank: The relations of the columns.
    """
    count, oneway = len(bank.names), (bank.reverse < 0).nonzero().flatten()
    place = torch.arange(num_columns(bank, "joint"))
    told = bank.reverse >= 0
    place[1 : 1 + count][told] = 1 + bank.reverse[told]
    place[1 + oneway] = 1 + count + torch.arange(len(oneway))
    place[1 + count :] = 1 + oneway
    return joint[..., place]


def num_columns(bank: RelationBank, order: DirectionMode) -> int:
    """How many columns a model's logits have."""
    oneway = int((bank.reverse < 0).sum()) if order == "joint" else 0
    return 1 + len(bank.names) + oneway


def column_mask(names: Collection[str], bank: RelationBank, order: DirectionMode) -> Tensor:
    """Which columns tell NOTA or one of these relations, ``(C,)`` bool."""
    own = torch.tensor([name in names for name in bank.names])
    oneway = own[bank.reverse < 0] if order == "joint" else own[:0]
    return torch.cat([torch.tensor([True]), own, oneway])


def to_probabilities(logits: Tensor, relations: int, direction: Direction = "either") -> Tensor:
    """Probabilities of the asked order, ``(Q, 1 + R)``, NOTA first.

    Args:
        logits: ``(Q, 1 + R)`` or wider, as of :func:`join`.
        relations: How many relations ``R`` there are.
        direction: What holds only the other way round counts as NOTA (``either``), or is out of the
            question (``given``).

    Example:
        >>> directed(torch.zeros(1, 5), 2), directed(torch.zeros(1, 5), 2, "given")
        (tensor([[0.6000, 0.2000, 0.2000]]), tensor([[0.3333, 0.3333, 0.3333]]))
    """
    if direction == "given":
        return logits[:, : 1 + relations].softmax(-1)
    probabilities = logits.softmax(-1)
    told = probabilities[:, 1 : 1 + relations]
    rest = probabilities[:, :1] + probabilities[:, 1 + relations :].sum(-1, keepdim=True)
    return torch.cat([rest, told], 1)
