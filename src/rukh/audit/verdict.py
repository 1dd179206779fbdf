"""The audit's verdict on one input: leak, informative, none or unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LEAK_ACCURACY = 0.90
"""A lower bound of balanced accuracy that makes a leak."""


def verdict(
    questions: Mapping[str, Mapping[str, Any] | None],
    rules: Sequence[Mapping[str, Any]],
    doubt: str | None = None,
    left_out: int = 0,
) -> tuple[str, list[str]]:
    """Decide what an input gives away, and why.

    - ``leak``: the lower bound of a balanced accuracy reaches :data:`LEAK_ACCURACY`, or a rule is a
      leak;
    - ``informative``: a lower bound exceeds what 95 % of the permutations reach;
    - ``unknown``: no leak was found, but the input may belong to other data (``doubt``), or no
      question could be asked, or the input predicts nothing and properties were ``left_out``;
    - ``none``: otherwise.

    ``questions`` holds what :func:`rukh.audit.probes.fit_probe` returned for each, ``rules`` what
    :func:`rukh.audit.probes.find_rules` returned.
    """
    leaks, signs = [], []
    for question, result in questions.items():
        if result is not None:
            low, null = result["balanced_accuracy"]["low"], result["null"]["high"]
            if low >= LEAK_ACCURACY:
                leaks.append(f"{question}: lower bound of balanced accuracy {low:.3f}")
            elif low > null:
                signs.append(f"{question}: balanced accuracy at least {low:.3f}, null {null:.3f}")
    for rule in rules:
        if rule["leak"]:
            predicts = "a relation" if rule["relation"] else "none"
            precision, coverage = f"{rule['precision']:.3f}", f"{100 * rule['coverage']:.1f} %"
            leaks.append(f"{rule['text']} -> {predicts}: precision {precision} on {coverage}")
    if leaks:
        return "leak", leaks
    if not any(questions.values()):
        return "unknown", ["too few pairs of each label"]
    if doubt is not None:
        return "unknown", [doubt]
    if signs:
        return "informative", signs
    if left_out:
        return "unknown", [f"{left_out:,} of its numbers and keys were not looked at"]
    return "none", []
