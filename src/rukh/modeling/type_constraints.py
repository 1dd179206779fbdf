"""Argument types that a relation does not allow, and how much they lower its logit.

A schema lists the types that a relation's head and tail may have. As a tagger assigns a wrong type
to about one argument in ten, a disallowed type only subtracts a *penalty* from the relation's
logit, fitted on the dev set and weighted by the tagger's confidence. Types that the user gave can
exclude a relation instead.
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

TypeConstraints: TypeAlias = Literal["soft", "hard", "off"]
"""``soft``: subtract the learned penalty for disallowed types. ``hard``: also exclude a relation if
a type that it does not allow was given, not predicted. ``off``: ignore types, also when candidate
pairs are formed."""
EXCLUDED = 1e4
"""A penalty that no logit outweighs."""


def type_penalties(
    posts: Sequence[Post],
    pairs: Sequence[Sequence[tuple[str, str]]],
    bank: RelationBank,
    schema: RelationSchema,
    mode: DirectionMode,
    *,
    penalty: float = 1.0,
    hard: bool = False,
) -> list[Tensor]:
    """Compute what disallowed types cost each logit.

    Args:
        posts: Posts whose arguments have types.
        pairs: For each post its ``Q`` pairs of argument ids, head first.
        bank, schema: The relations.
        mode: Determines the ``C`` columns, see :func:`rukh.modeling.directions.num_columns`.
        penalty: Cost of a disallowed type; times the tagger's confidence if it was predicted.
        hard: Whether a disallowed type that was given costs :data:`EXCLUDED` instead.

    Returns:
        For each post ``(Q, C)``, the sum of the costs of head and tail, to be subtracted from the
        logits; 0 for NOTA, for allowed types and for unknown types.
    """
    relations = [schema.relation(name) for name in bank.names]
    allowed_heads = [(), *(relation.head for relation in relations)]
    allowed_tails = [(), *(relation.tail for relation in relations)]
    if mode == "joint":
        reverse = bank.reverse.tolist()
        one_way = [r for r, index in zip(relations, reverse, strict=True) if index < 0]
        allowed_heads += [relation.tail for relation in one_way]
        allowed_tails += [relation.head for relation in one_way]
    disallowed: dict[tuple[bool, str], Tensor] = {}

    def costs(argument: Argument, is_head: bool) -> Tensor:
        if argument.type is None:
            return torch.zeros(len(allowed_heads))
        key = is_head, argument.type
        if key not in disallowed:
            allowed = allowed_heads if is_head else allowed_tails
            mask = [bool(types) and argument.type not in types for types in allowed]
            disallowed[key] = torch.tensor(mask, dtype=torch.float32)
        confidence = argument.type_confidence if isinstance(argument, TextEntity) else None
        if confidence is None:
            return disallowed[key] * (EXCLUDED if hard else penalty)
        return disallowed[key] * confidence * penalty

    out = []
    for post, post_pairs in zip(posts, pairs, strict=True):
        by_id = {argument.id: argument for argument in post.arguments}
        rows = [costs(by_id[head], True) + costs(by_id[tail], False) for head, tail in post_pairs]
        out.append(torch.stack(rows) if rows else torch.zeros(0, len(allowed_heads)))
    return out
