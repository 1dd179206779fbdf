"""The leakage audit: measure how well each input alone predicts the labels.

Each input is used for two classification tasks: whether a pair has a relation, and which relation
it has. :mod:`rukh.audit.verdict` decides from the results.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rukh.audit.dataset import RARE, find_nota, imbalance, overlaps, read_instances, repeats
from rukh.audit.features import extract_features
from rukh.audit.inputs import AuxFile, dataset_inputs, read_aux_input
from rukh.audit.probes import find_rules, fit_probe, split_folds
from rukh.audit.verdict import verdict
from rukh.data.splits import group_ids
from rukh.errors import InputError


def audit(
    data: Path,
    format: str = "jsonl",
    *,
    aux: Sequence[AuxFile] = (),
    others: Sequence[tuple[str, Path]] = (),
    nota: str | None = None,
    boxes: Path | None = None,
    folds: int = 5,
    permutations: int = 30,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Audit a data file and its auxiliary inputs.

    Args:
        data, format: File with the labelled pairs, and the format of all data files.
        aux: Auxiliary files; each one is audited alone.
        others: Name and file of each further split; its overlap with the data is counted.
        nota: Label that means "none of the above". None: detect it by its common names.
        boxes: MORE's dictionary of object boxes. None: look for it beside the data file.
        folds: Number of cross-validation folds.
        permutations: Number of permutations of each input, to get its null distribution.
        seed: Random seed of the folds, the permutations and the bootstrap.
        progress: Called with the name of each input before the input is audited.

    Returns:
        JSON data for :mod:`rukh.audit.report`: the settings, statistics of the data, and the list
        ``inputs``, with one mapping per input. ``why`` lists the reasons for its ``verdict``.

    Raises:
        InputError: A file cannot be read or belongs to other data, or the data cannot be audited.
    """
    start = time.monotonic()
    instances = read_instances(data, format, boxes)
    labels = [instance.label for instance in instances]
    images = [instance.image for instance in instances]
    nota = find_nota(labels, nota, str(data))
    groups = np.array(group_ids([instance.post.text for instance in instances], images))
    split = split_folds(labels, groups, folds, seed)
    # Read all files before the slow probes, so that a mistyped file name is reported at once.
    inputs = dataset_inputs(instances) + [read_aux_input(file, instances) for file in aux]
    splits = {data.stem: instances}
    splits |= {name: read_instances(path, format, boxes) for name, path in others}
    if len({one.name for one in inputs}) < len(inputs) or len(splits) <= len(others):
        fix = f"names of the data's own: {', '.join(one.name for one in inputs if not one.file)}"
        raise InputError("two have the same name", field="--aux, --other", fix=fix)
    is_relation = np.array([int(label != nota) for label in labels])
    # Rare labels cannot be learned, and would only add noise to a mean over labels.
    counts = Counter(labels)
    asked = sorted(label for label, n in counts.items() if label != nota and n >= RARE)
    which = np.array([asked.index(label) if label in asked else -1 for label in labels])
    targets = {"relation or none": is_relation, "which relation": which}
    examined = []
    for one in inputs:
        progress(one.name)
        features = extract_features(one)
        questions = {
            question: fit_probe(features.matrix, one.unit, target, split, permutations, seed)
            for question, target in targets.items()
        }
        rules = find_rules(features, one.unit, is_relation, split)
        decision, why = verdict(questions, rules, one.doubt, features.left_out)
        if decision == "unknown":
            logging.getLogger(__name__).warning("%s: %s", one.name, "; ".join(why))
        examined.append(
            {key: value for key, value in one._asdict().items() if key not in ("values", "unit")}
            | {
                "coverage": one.coverage,
                "conditions": len(features.conditions),
                "left_out": features.left_out,
                "verdict": decision,
                "why": why,
                "questions": questions,
                "labels_asked": asked,
                "rules": rules,
            }
        )
    return {
        "data": str(data),
        "format": format,
        "rows": len(instances),
        "posts": len({(instance.post.text, instance.image) for instance in instances}),
        "pictures": len(set(images) - {None}),
        "groups": len(set(groups.tolist())),
        "nota": nota,
        "folds": folds,
        "permutations": permutations,
        "seed": seed,
        "inputs": examined,
        "overlaps": overlaps(splits),
        "repeats": repeats(instances),
        "imbalance": imbalance(labels, nota),
        "seconds": round(time.monotonic() - start, 1),
    }
