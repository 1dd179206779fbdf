"""Where an evaluation loses: what is missed, invented, or told for something else.

Micro-F1 mixes two questions: whether two arguments are related at all, and how. Here they are
apart, with both orders of a pair asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rukh.evaluation.metrics import REVERSED, OrderedDecision
from rukh.evaluation.reliability import auroc
from rukh.schema.schema import RelationSchema


def error_analysis(
    gold: Sequence[str],
    told: Sequence[str | None],
    nearest: Sequence[OrderedDecision],
    schema: RelationSchema,
) -> dict[str, Any]:
    """What became of every pair.

    A pair that the data lists in both orders, once with its relation and once as none, counts as
    both: told right, and invented. A relation with an inverse is told by its inverse's name where
    it is read from tail to head, and so is not among the reversed ones.

    Args:
        gold: The label of each pair in the given order.
        told: What was told of it; see :func:`rukh.evaluation.metrics.order_free`.
        nearest: The best relation of both orders, whatever the threshold; see
            :func:`rukh.evaluation.metrics.take_better`.

    Returns:
        ``mistakes``: of pairs that carry a relation how many were told ``right``, the other way
        round (``reversed``), as another relation (``confused``) or as none (``missed``), and how
        many that carry none were told as related (``invented``), among them those that were told
        from tail to head alone (``invented_reversed``). ``relation_accuracy``: how often the best
        relation is right where there is one. ``relation_auroc``: how often the best relation of a
        pair that carries one is more probable than that of a pair that carries none. The last two
        are None where no pair, or no pair of either kind, is there.

    Example:
        >>> schema = RelationSchema.load("mnre")
        >>> found = [OrderedDecision("/per/per/peer", 0.9), OrderedDecision("/per/per/peer", 0.2)]
        >>> mistakes(["/per/per/couple", "None"], ["/per/per/peer", "None"], found, schema)
        {'mistakes': {'right': 0, 'reversed': 0, 'confused': 1, 'missed': 0, 'invented': 0, \
'invented_reversed': 0}, 'relation_accuracy': 0.0, 'relation_auroc': 1.0}
    """
    counts = dict.fromkeys(("right", "reversed", "confused", "missed", "invented"), 0)
    counts["invented_reversed"] = 0
    for label, said in zip(gold, told, strict=True):
        if label == schema.nota:
            counts["invented"] += said not in (None, schema.nota)
            counts["invented_reversed"] += said is not None and said.endswith(REVERSED)
        elif said == label:
            counts["right"] += 1
        elif said in (None, schema.nota):
            counts["missed"] += 1
        elif said in (f"{label}{REVERSED}", schema.reverse(label)):
            counts["reversed"] += 1
        else:
            counts["confused"] += 1
    pairs = list(zip(gold, nearest, strict=True))
    related = [best for label, best in pairs if label != schema.nota]
    unrelated = [best.score for label, best in pairs if label == schema.nota]
    hits = [best.relation == label for label, best in pairs if label != schema.nota]
    return {
        "mistakes": counts,
        "relation_accuracy": sum(hits) / len(hits) if hits else None,
        "relation_auroc": auroc([best.score for best in related], unrelated)
        if related and unrelated
        else None,
    }
