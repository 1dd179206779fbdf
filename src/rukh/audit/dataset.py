"""Read the labelled pairs of a data file; measure overlap of splits, duplicates and imbalance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rukh.data.readers import scan
from rukh.errors import InputError, suggestion
from rukh.records import Argument, Post, VisualObject

NOTA_NAMES = ("None", "none", "NA", "no_relation")
"""Labels that mean "none of the above" in public benchmarks."""
RARE = 10
"""Minimum number of pairs of a label that the probes predict."""


@dataclass(frozen=True)
class Instance:
    """One labelled pair. ``number`` is the line number of its record in the file, from 0."""

    number: int
    post: Post
    head: Argument
    tail: Argument
    label: str

    @property
    def image(self) -> str | None:
        """The file name of the image. None if there is no image, or the image is given as bytes."""
        return self.post.image.name if isinstance(self.post.image, Path) else None


def read_instances(path: Path, format: str, boxes: Path | None = None) -> list[Instance]:
    """Read the labelled pairs of a file, in order. Pairs without a label are skipped.

    Raises InputError if the format is unknown, a line is invalid, or no pair has a label.
    """
    instances: list[Instance] = []
    for line, post in scan(path, format, boxes=boxes):
        if isinstance(post, InputError):
            raise post
        for pair in post.pairs or ():
            if pair.relation is not None:
                head, tail = post.argument(pair.head), post.argument(pair.tail)
                instances.append(Instance(line - 1, post, head, tail, pair.relation))
    if not instances:
        fix = "audit a file whose pairs have gold relations"
        raise InputError("no pair has a label", where=str(path), field="relation", fix=fix)
    return instances


def find_nota(labels: Sequence[str], name: str | None, where: str) -> str:
    """Return the label that means "none of the above": ``name``, or one of :data:`NOTA_NAMES`.

    Raises InputError if the data has no such label, several such labels, or no other label.
    """
    known = sorted(set(labels))
    found = [label for label in ([name] if name is not None else NOTA_NAMES) if label in known]
    if len(found) != 1 or len(known) == 1:
        fix = f"name the label of none of the above with --nota ({suggestion(name or '', known)})"
        raise InputError("cannot tell relations from none of the above", where=where, fix=fix)
    return found[0]


_KEYS: dict[str, Callable[[Instance], Hashable]] = {
    "sentences": lambda instance: instance.post.text,
    "pictures": lambda instance: instance.image,
    "entity pairs": lambda instance: tuple(
        sorted(instance.post.surface(end.id).lower() for end in (instance.head, instance.tail))
    ),
}


def overlaps(splits: Mapping[str, Sequence[Instance]]) -> list[dict[str, Any]]:
    """Count the items that each two splits share, and the affected pairs (rows) of each split.

    Images are matched by file name, and entity pairs by lowercased surface forms in any order.
    """
    found = []
    for first, second in combinations(splits, 2):
        for kind, key in _KEYS.items():
            counts = [Counter(map(key, splits[name])) for name in (first, second)]
            shared = (counts[0].keys() & counts[1].keys()) - {None}
            rows = [sum(count[k] for k in shared) for count in counts]
            overlap = {"first": first, "second": second, "kind": kind, "shared": len(shared)}
            overlap |= {"first_rows": rows[0], "second_rows": rows[1]}
            overlap["first_share"] = rows[0] / len(splits[first])
            overlap["second_share"] = rows[1] / len(splits[second])
            found.append(overlap)
    return found


def repeats(instances: Sequence[Instance]) -> dict[str, int]:
    """Count pairs that occur more than once: same text, image, and arguments in the same order.

    ``duplicates`` counts repetitions with the same label. ``contradictions`` counts pairs with more
    than one label, ``contradictory_rows`` their occurrences, and ``contradictions_across_pictures``
    the pairs with more than one label if the image is ignored. ``both_orders`` counts pairs that
    also occur with head and tail swapped.
    """
    pairs: dict[Any, Counter[str]] = defaultdict(Counter)
    any_image: dict[Any, set[str]] = defaultdict(set)
    for instance in instances:
        text = instance.post.text
        head, tail = (
            end.box if isinstance(end, VisualObject) else (end.start, end.end)
            for end in (instance.head, instance.tail)
        )
        pairs[text, instance.image, head, tail][instance.label] += 1
        any_image[text, head, tail].add(instance.label)
    contradictory = [labels for labels in pairs.values() if len(labels) > 1]
    return {
        "duplicates": sum(labels.total() - len(labels) for labels in pairs.values()),
        "contradictions": len(contradictory),
        "contradictory_rows": sum(labels.total() for labels in contradictory),
        "both_orders": sum((text, image, t, h) in pairs for text, image, h, t in pairs),
        "contradictions_across_pictures": sum(len(labels) > 1 for labels in any_image.values()),
    }


def imbalance(labels: Sequence[str], nota: str) -> dict[str, Any]:
    """Count the pairs (rows) of each label, most frequent first, and their share of all pairs.

    ``rare`` is the number of relations with fewer than :data:`RARE` pairs.
    """
    counts = sorted(Counter(labels).items(), key=lambda item: (-item[1], item[0]))
    return {
        "labels": [{"label": k, "rows": n, "share": n / len(labels)} for k, n in counts],
        "rare": sum(n < RARE for label, n in counts if label != nota),
    }
