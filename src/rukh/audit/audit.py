"""The leakage audit: how well does each input, alone, predict what a model is to find out?

An input is a *leak* where it gives the answer away, *informative* where it predicts better than its
own values shuffled, and *none* otherwise; *unknown* where it may be the file of other data,
or where there are too few rows to ask. Two questions are put to each: is the row a relation at all,
and if so, which. The verdicts are made in :func:`verdict` and nowhere else.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rukh.audit.aux_inputs import AuxFile, AuxInput, read_aux_input
from rukh.audit.dataset_features import own_fields
from rukh.audit.features import FeatureMatrix, extract_features
from rukh.audit.instances import (
    Instance,
    Ints,
    find_nota,
    number_groups,
    number_posts,
    read_instances,
)
from rukh.audit.linear_probe import ProbeResult, fit_probe, split_folds
from rukh.audit.overlap import RARE, imbalance, overlaps, repeats
from rukh.audit.rules import Rule, find_rules
from rukh.errors import InputError

LEAK = 0.90
"""Balanced accuracy whose lower bound makes a leak."""
_BARS = 12


def audit(
    data: Path,
    format: str = "jsonl",
    *,
    aux: Sequence[AuxFile] = (),
    others: Mapping[str, Path] | None = None,
    nota: str | None = None,
    boxes: Path | None = None,
    folds: int = 5,
    permutations: int = 30,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Audit a data file and its auxiliary inputs.

    Args:
        data: Labelled pairs.
        format: Their format, and that of ``others``.
        aux: Auxiliary files, each judged by itself.
        others: Further splits by name, compared with the data.
        nota: The label that means none-of-the-above; by default what the field calls it.
        boxes: MORE's box dictionary, where it does not stand beside the file.
        folds: Folds of the cross-validation.
        permutations: Shuffles of each input, for its null.
        seed: Of folds, shuffles and resampling.
        progress: Called with each input's name before it is judged.

    Returns:
        Plain data for JSON and for :mod:`rukh.audit.report`: the counts ``rows, posts,
        pictures, groups``, the settings, ``inputs`` (a mapping for each, with ``verdict`` and
        ``why``), ``overlaps``, ``repeats``, ``imbalance`` and ``seconds``.

    Raises:
        InputError: A file is unreadable or belongs to other data, or the data cannot be judged.
        MissingDependency: scikit-learn is not installed.
    """
    began = time.monotonic()
    rows = read_instances(data, format, boxes)
    evidences = own_fields(rows)
    names = Counter([one.name for one in evidences] + [one.name for one in aux])
    if twice := [name for name, count in names.items() if count > 1]:
        raise InputError(
            f"two inputs have the same name, {twice[0]!r}", field="--aux", fix="name them apart"
        )
    nota = find_nota(rows, nota, str(data))
    groups = number_groups(rows)
    fold = split_folds(np.array([row.label for row in rows]), groups, folds, seed)
    # All files are read before any is judged, so that a mistyped name costs seconds.
    evidences += [read_aux_input(one, rows) for one in aux]
    splits = {data.stem: rows}
    for name, path in (others or {}).items():
        if name in splits:
            raise InputError(
                f"{name!r} names two splits", field="--other", fix="name this one otherwise"
            )
        splits[name] = read_instances(path, format, boxes)
    inputs = []
    for evidence in evidences:
        progress(evidence.name)
        inputs.append(_examine(evidence, rows, nota, groups, fold, permutations, seed))
    return {
        "data": str(data),
        "format": format,
        "rows": len(rows),
        "posts": int(number_posts(rows).max()) + 1,
        "pictures": len({row.picture for row in rows} - {None}),
        "groups": int(groups.max()) + 1,
        "nota": nota,
        "folds": folds,
        "permutations": permutations,
        "seed": seed,
        "inputs": inputs,
        "overlaps": overlaps(splits),
        "repeats": repeats(rows),
        "imbalance": imbalance(rows, nota),
        "seconds": round(time.monotonic() - began, 1),
    }


def verdict(
    questions: Mapping[str, ProbeResult | None],
    rules: Sequence[Rule],
    doubt: str | None = None,
    left_out: int = 0,
) -> tuple[str, list[str]]:
    """``leak``, ``informative``, ``none`` or ``unknown``, and why.

    A leak has a lower bound of balanced accuracy of 0.90 or more for either question, or a rule
    that gives rows away (:class:`rukh.audit.rules.Rule`). An informative input has a lower bound
    above what 95 % of the permutations reach. A file that may be that of other data gives nothing
    away of this one, so that short of a leak it says nothing: ``unknown``, as is an input of which
    no question could be asked, or one with too many numbers or keys to look at all, where those
    that were looked at say nothing.
    """
    leaks, signs = [], []
    for name, answer in questions.items():
        if answer is None:
            continue
        low, high = answer.balanced_accuracy.low, answer.null.high
        if low >= LEAK:
            leaks.append(f"{name}: lower bound of balanced accuracy {low:.3f}")
        elif low > high:
            signs.append(f"{name}: balanced accuracy at least {low:.3f}, shuffled {high:.3f}")
    for rule in rules:
        if rule.leak:
            says = "a relation" if rule.relation else "none"
            leaks.append(
                f"{rule.text} -> {says}: precision {rule.precision:.3f} "
                f"on {100 * rule.coverage:.1f} % of rows"
            )
    if leaks:
        return "leak", leaks
    if not any(questions.values()):
        return "unknown", ["too few rows of each kind to be asked anything"]
    if doubt is not None:
        return "unknown", [doubt]
    if signs:
        return "informative", signs
    if left_out:
        return "unknown", [f"{left_out:,} of its numbers or keys were not looked at"]
    return "none", []


def _examine(
    evidence: AuxInput,
    rows: Sequence[Instance],
    nota: str,
    groups: Ints,
    fold: Ints,
    permutations: int,
    seed: int,
) -> dict[str, Any]:
    """All that is to be said of one input."""
    traits = extract_features(evidence)
    relation = np.array([int(row.label != nota) for row in rows])
    counts = Counter(row.label for row in rows)
    # A label of a handful of rows cannot be learnt, and would only add noise to a mean over labels.
    asked = sorted(label for label, n in counts.items() if label != nota and n >= RARE)
    index = {label: i for i, label in enumerate(asked)}
    label = np.array([index.get(row.label, -1) for row in rows])
    questions: dict[str, ProbeResult | None] = {}
    for name, target in (("relation or none", relation), ("which relation", label)):
        questions[name] = None
        # Of fewer rows no fold could be judged.
        if np.count_nonzero(np.bincount(target + 1)[1:] >= RARE) > 1:
            questions[name] = fit_probe(
                traits.holds,
                evidence.unit,
                target,
                groups,
                fold,
                permutations=permutations,
                seed=seed,
                rows=np.flatnonzero(target >= 0),
            )
    rules = find_rules(traits.conditions, traits.holds, evidence.unit, relation, groups, fold)
    call, why = verdict(questions, rules, evidence.doubt, traits.left_out)
    return {
        "name": evidence.name,
        "file": evidence.file,
        "keying": evidence.keying,
        "keying_guessed": evidence.guessed,
        "keys": evidence.keys,
        "keys_matched": evidence.matched,
        "coverage": evidence.coverage,
        "doubt": evidence.doubt,
        "conditions": len(traits.conditions),
        "left_out": traits.left_out,
        "verdict": call,
        "why": why,
        "questions": {
            name: answer and {k: _plain(v) for k, v in answer._asdict().items()}
            for name, answer in questions.items()
        },
        "labels_asked": asked,
        "rules": [rule._asdict() for rule in rules],
        "shares": _shares(traits, evidence.unit, relation),
    }


def _plain(value: Any) -> Any:
    return value._asdict() if hasattr(value, "_asdict") else value


def _shares(traits: FeatureMatrix, unit: Ints, relation: Ints) -> dict[str, Any] | None:
    """Relations and none over the values of one trait: the trait whose condition tells them apart
    best on all rows. For a picture only; no verdict rests on it.
    """
    if not traits.conditions:
        return None
    x = traits.holds.tocsr()[unit]
    held = np.asarray(x.mean(axis=0)).ravel()
    both = np.asarray(x.T @ relation).ravel() / len(relation)
    spread = np.sqrt(held * (1 - held))
    apart = np.zeros_like(held)
    np.divide(abs(both - held * relation.mean()), spread, out=apart, where=spread > 0)
    best = int(apart.argmax())
    condition = traits.conditions[best]
    names: list[str]
    if condition.ngram or condition.least is None:
        code = x[:, [best]].toarray().ravel().astype(np.int64)
        names = [condition.text(False), condition.text(True)]
    else:
        values = traits.numbers[condition.trait][unit]
        edges = np.unique(values[~np.isnan(values)])
        if len(edges) > _BARS:
            edges = np.unique(np.quantile(edges, np.linspace(0, 1, _BARS + 1)[:-1]))
            names = [f"from {edge:.3g}" for edge in edges]
        else:
            names = [f"{edge:g}" for edge in edges]
        code = np.searchsorted(edges, values, side="right") - 1
        code[np.isnan(values)] = len(edges)
        names.append("no number")
    bars = [
        {
            "value": name,
            "relation": int(relation[code == i].sum()),
            "none": int((1 - relation[code == i]).sum()),
        }
        for i, name in enumerate(names)
    ]
    return {
        "trait": condition.trait if not condition.ngram else "words",
        "bars": [bar for bar in bars if bar["relation"] or bar["none"]],
    }
