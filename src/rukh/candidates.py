"""Which pairs of a post are asked, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import isqrt

from rukh.errors import InputError
from rukh.records import MAX_PAIRS, Pair, Post
from rukh.schema.schema import RelationSchema

MAX_ARGUMENTS_FOR_ALL_PAIRS = (1 + isqrt(1 + 4 * MAX_PAIRS)) // 2
"""The most arguments of a post whose ordered pairs can all be asked."""
MAX_DETECTED_ENTITIES = 64
"""The most entities that are found in a text: nobody asked for each of them by name, and the pairs
of some hundred, in a text too long for one row, cost a CPU minutes."""


def candidate_pairs(post: Post, schema: RelationSchema | None) -> list[tuple[str, str]]:
    """The ordered pairs to ask of a post, as argument ids.

    Those that the post names, in their order, duplicates kept; where it names none (``pairs`` is
    None), every ordered pair of its arguments that some relation's types allow; without a schema,
    every one.

    Raises:
        InputError: More than 65,536 pairs would have to be formed.
    """
    if post.pairs is not None:
        return [(pair.head, pair.tail) for pair in post.pairs]
    count = len(post.arguments) * (len(post.arguments) - 1)
    if count > MAX_PAIRS:
        raise InputError(
            f"{len(post.arguments)} arguments make {count} pairs, more than {MAX_PAIRS}",
            where=f"post {post.id!r}",
            field="pairs",
            fix="name the pairs to be asked",
        )
    return [
        (head.id, tail.id)
        for head, tail in permutations(post.arguments, 2)
        if schema is None or schema.allows(head, tail)
    ]


def both_orders(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """Each pair in its own order, then in the other: ``2 Q`` asks for ``Q`` pairs."""
    return [o for pair in pairs for o in ((pair.head, pair.tail), (pair.tail, pair.head))]
