"""What the rows themselves give away: splits that overlap, repeats, contradictions, imbalance."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rukh.audit.instances import Instance

RARE = 10
"""A label with fewer rows than this is called rare."""


def overlaps(splits: Mapping[str, Sequence[Instance]]) -> list[dict[str, Any]]:
    """For each two splits: what they share, and how many rows of each that touches.

    Sentences are compared letter by letter, pictures by file name, entity pairs by the two names
    in lower case, in whichever order.

    Returns:
        A mapping for each two splits and kind: ``first, second, kind, shared, first_rows,
        second_rows, first_share, second_share``.
    """
    keys = {
        "sentences": lambda row: row.text,
        "pictures": lambda row: row.picture,
        "entity pairs": lambda row: tuple(sorted(row.names)),
    }
    names = list(splits)
    found = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            for kind, key in keys.items():
                counts = [Counter(map(key, splits[name])) for name in (first, second)]
                shared = (counts[0].keys() & counts[1].keys()) - {None}
                rows = [sum(count[k] for k in shared) for count in counts]
                found.append(
                    {
                        "first": first,
                        "second": second,
                        "kind": kind,
                        "shared": len(shared),
                        "first_rows": rows[0],
                        "second_rows": rows[1],
                        "first_share": rows[0] / len(splits[first]),
                        "second_share": rows[1] / len(splits[second]),
                    }
                )
    return found


def repeats(rows: Sequence[Instance]) -> dict[str, int]:
    """Instances that stand in the data more than once.

    An instance is a text, a picture, and two arguments in their order.

    Returns:
        ``duplicates``: rows that repeat an earlier one, label and all. ``contradictions``:
        instances with more than one label, and ``contradictory_rows``, the rows they have.
        ``both_orders``: instances that also stand there the other way round.
        ``contradictions_across_pictures``: the same text and arguments with more than one label,
        whatever the picture.
    """
    instances: dict[Any, Counter[str]] = defaultdict(Counter)
    anywhere: dict[Any, set[str]] = defaultdict(set)
    for row in rows:
        instances[row.text, row.picture, row.head, row.tail][row.label] += 1
        anywhere[row.text, row.head, row.tail].add(row.label)
    several = [labels for labels in instances.values() if len(labels) > 1]
    return {
        "duplicates": sum(count - 1 for labels in instances.values() for count in labels.values()),
        "contradictions": len(several),
        "contradictory_rows": sum(sum(labels.values()) for labels in several),
        "both_orders": sum(
            (text, picture, tail, head) in instances for text, picture, head, tail in instances
        ),
        "contradictions_across_pictures": sum(len(labels) > 1 for labels in anywhere.values()),
    }


def imbalance(rows: Sequence[Instance], nota: str) -> dict[str, Any]:
    """How unevenly the labels are used.

    Returns:
        ``labels``: mappings of ``label, rows, share``, the commonest first. ``nota_share``.
        ``evenness``: entropy of the labels over its greatest possible value; 1 is even. ``ratio``:
        rows of the commonest relation over rows of the rarest. ``rare``: relations with fewer than
        ten rows.
    """
    counts = Counter(row.label for row in rows)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    entropy = -sum(n / len(rows) * math.log(n / len(rows)) for _, n in ordered)
    relations = [count for label, count in ordered if label != nota]
    return {
        "labels": [{"label": k, "rows": n, "share": n / len(rows)} for k, n in ordered],
        "nota_share": counts[nota] / len(rows),
        "evenness": entropy / math.log(len(ordered)),
        "ratio": max(relations) / min(relations),
        "rare": sum(count < RARE for count in relations),
    }
