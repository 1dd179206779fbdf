"""Measure entity resolution on labelled pairs of names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rukh.graph.names import MIN_SPELLING, Name
from rukh.graph.resolution import full_names, resolve

PAIRS = Path(__file__).with_name("pairs.jsonl")


class Counts(NamedTuple):
    """Decisions about pairs of names: merges that are right, and wrong, and merges missed."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of the merges that are right."""
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Share of the pairs with one entity that are merged."""
        return self.right / max(1, self.right + self.missed)


def read_pairs(half: str) -> Iterator[dict[str, Any]]:
    """Yield the pairs of a half, ``dev`` or ``test``."""
    for line in PAIRS.read_text(encoding="utf-8").splitlines():
        pair = json.loads(line)
        if pair["half"] == half:
            yield pair


def one_entity(pair: dict[str, Any], min_spelling: float = MIN_SPELLING) -> bool:
    """Decide whether two names are one entity, in a graph with these names only.

    If both stand in one post, so do the other names.
    """
    names = [Name(one["text"], one["type"]) for one in (pair["a"], pair["b"], *pair["also"])]
    names = list(dict.fromkeys(names))
    full = full_names(names) if pair["same_post"] else {}
    acronyms = [(k, other) for k, (other, rule) in full.items() if rule == "acronym"]
    entity = resolve(names, acronyms=acronyms, min_spelling=min_spelling).entity
    one, two = (names.index(Name(pair[key]["text"], pair[key]["type"])) for key in ("a", "b"))
    one, two = (full[k][0] if k in full else k for k in (one, two))
    return entity[one] == entity[two]


def measure(half: str, min_spelling: float = MIN_SPELLING) -> tuple[Counts, list[dict[str, Any]]]:
    """Count the decisions about the pairs of a half, and return the pairs that are wrong."""
    pairs = list(read_pairs(half))
    merged = [one_entity(pair, min_spelling) for pair in pairs]
    wrong = [pair for pair, one in zip(pairs, merged, strict=True) if one != pair["same"]]
    right = sum(pair["same"] and one for pair, one in zip(pairs, merged, strict=True))
    missed = sum(pair["same"] for pair in wrong)
    return Counts(right, len(wrong) - missed, missed), wrong
