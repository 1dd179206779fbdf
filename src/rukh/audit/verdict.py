"""The audit's verdict on one input: leak, informative, none or unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LEAK_ACCURACY = 0.90
"""Lower bound of balanced accuracy from which an input is a leak."""


def verdict(
    questions: Mapping[str, Mapping[str, Any] | None],
    rules: Sequence[Mapping[str, Any]],
    doubt: str | None = None,
    left_out: int = 0,
) -> tuple[str, list[str]]:
    """Decide whether an input reveals the labels, and return the verdict and its reasons.

    - ``leak``: the lower bound of a balanced accuracy reaches :data:`LEAK_ACCURACY`, or a rule is a
      leak;
    - ``informative``: a lower bound exceeds the 95th percentile of its null distribution;
    - ``unknown``: no leak was found, but the input may belong to other data (``doubt``), or there
      are too few pairs, or the input predicts nothing and ``left_out`` properties were ignored;
    - ``none``: otherwise.

    ``questions`` has the result of :func:`rukh.audit.probes.fit_probe` for each task. ``rules`` is
    the result of :func:`rukh.audit.probes.find_rules`.
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
        return "unknown", [f"{left_out:,} of its numbers and keys were ignored"]
    return "none", []
