"""Relations allow only some types of arguments: how much that counts against a relation.

A schema says which types a relation's head and tail may have. Whether a type is right is another
matter: a tagger is wrong on one argument in ten or so. So a violation costs a relation a *penalty*
on its logit, learned on the fold, times how sure the tagger was. Types that the caller gives may be
*hard*: a relation that does not allow them is not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from rukh.modeling.directions import DirectionMode
from rukh.modeling.relation_bank import RelationBank
from rukh.records import Argument, Post, TextEntity
from rukh.schema.schema import RelationSchema

Constraints: TypeAlias = Literal["soft", "hard", "off"]
"""``soft``: every violation costs the learned penalty, times the tagger's confidence where a tagger
said the type. ``hard``: as soft, but types that are given shut a relation out. ``off``: no type
counts, not even for which pairs are asked."""
SHUT = 1e4
"""A penalty that nothing outweighs."""


def violations(
    posts: Sequence[Post],
    pairs: Sequence[Sequence[tuple[str, str]]],
    bank: RelationBank,
    schema: RelationSchema,
    order: DirectionMode,
    *,
    penalty: float = 1.0,
    hard: bool = False,
) -> list[Tensor]:
    """What being at odds with its arguments' types costs each column's relation.

    Args:
        posts: Typed posts.
        pairs: For each post its ``Q`` ordered pairs, as argument ids.
        bank, schema: Of the relations.
        order: Which columns there are; see :func:`rukh.modeling.directions.merge_directions`.
        penalty: What a disallowed type costs, times how sure it is.
        hard: Whether a given type that is not allowed costs :data:`SHUT` instead.

    Returns:
        For each post ``(Q, C)``: the costs of head and tail together; 0 for NOTA, for allowed and
        for unknown types.
    """
    by_name = {relation.name: relation for relation in schema.relations}
    relations = [by_name[name] for name in bank.names]
    turned = [r for r, back in zip(relations, bank.reverse.tolist(), strict=True) if back < 0]
    heads = [(), *(r.head for r in relations)]
    tails = [(), *(r.tail for r in relations)]
    if order == "joint":
        heads, tails = heads + [r.tail for r in turned], tails + [r.head for r in turned]
    known: dict[tuple[bool, str], Tensor] = {}

    def at_odds(argument: Argument, head: bool) -> Tensor:
        if argument.type is None:
            return torch.zeros(len(heads))
        key = head, argument.type
        if key not in known:
            lists = heads if head else tails
            known[key] = torch.tensor([bool(a) and argument.type not in a for a in lists]).float()
        sure = argument.type_confidence if isinstance(argument, TextEntity) else None
        if sure is None:
            return known[key] * (SHUT if hard else penalty)
        return known[key] * sure * penalty

    out = []
    for post, asked in zip(posts, pairs, strict=True):
        argument = {one.id: one for one in post.arguments}
        rows = [at_odds(argument[h], True) + at_odds(argument[t], False) for h, t in asked]
        out.append(torch.stack(rows) if rows else torch.zeros(0, len(heads)))
    return out
