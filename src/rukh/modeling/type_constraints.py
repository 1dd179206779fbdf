"""Type constraints: penalties on the logits of relations that do not allow the argument types.

A schema lists the types that the head and the tail of a relation may have. A tagger assigns a wrong
type to about one argument in ten. For a type that it predicted, a *penalty* is therefore subtracted
from the relation's logit, instead of excluding the relation. The penalty is fitted on the dev set
and weighted by the tagger's confidence. A type that the user gave can exclude the relation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from rukh.errors import InputError, suggestion
from rukh.modeling.directions import DirectionMode
from rukh.modeling.relation_bank import RelationBank
from rukh.records import Argument, Post, TextEntity
from rukh.schema.schema import RelationSchema

TypeConstraints: TypeAlias = Literal["soft", "hard", "off"]
"""``soft``: Subtract the learned penalty for disallowed types. ``hard``: Also exclude a relation if
a disallowed type was given by the user, not predicted. ``off``: Ignore types, also in the selection
of candidate pairs."""
EXCLUDED = 1e4
"""Penalty that excludes a relation, as it is larger than any logit."""


def check_decision(threshold: float, constraints: TypeConstraints) -> None:
    """Raise InputError if a threshold or the treatment of types is not a valid option."""
    if not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
        raise InputError(f"must be from 0 to 1, not {threshold!r}", field="threshold")
    if constraints not in (known := get_args(TypeConstraints)):
        fix = suggestion(str(constraints), known)
        raise InputError(f"no option {constraints!r}", field="type_constraints", fix=fix)


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
    """Compute the penalties for disallowed types, to be subtracted from the logits.

    Args:
        posts: Posts whose arguments have types.
        pairs: For each post, ``Q`` pairs of argument ids, head first.
        bank: Relations of the columns.
        schema: Schema that defines the allowed types of each relation.
        mode: Direction mode, which determines the ``C`` columns of the logits.
        penalty: Penalty for a disallowed type. If the type was predicted, the penalty is multiplied
            by the tagger's confidence.
        hard: Whether the penalty for a disallowed type that was given is :data:`EXCLUDED` instead.

    Returns:
        For each post, the sums ``(Q, C)`` of the penalties for head and tail. The penalty is 0 for
        NOTA, for allowed types and for arguments without a type.
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
