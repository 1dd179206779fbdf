"""The inputs of the audit: auxiliary files, and properties of the pairs in the data file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rukh.audit.dataset import Instance
from rukh.data.captions import read_captions
from rukh.data.more import load_dictionary
from rukh.errors import InputError
from rukh.records import Argument, TextEntity

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

KEYINGS = ("row", "image", "crop")
"""What the keys of a file are: line numbers, image names, or crops ``{image stem}_crop_N.jpg``."""
ABSENT: Any = object()
"""The value of a unit for which an input has no value."""
_CROP = re.compile(r"(.+)_crop_(\d+)(?:\.\w+)?", re.S)
_OTHER_DATA = "is it the file of another split, or were lines removed from the data?"
_SET_KEYING = f"set the keying with --aux NAME=FILE:{'|'.join(KEYINGS)}"


class AuxFile(NamedTuple):
    """An auxiliary file. Its ``keying`` (see :data:`KEYINGS`) is guessed from its keys if None."""

    name: str
    path: Path
    keying: str | None = None


class AuditInput(NamedTuple):
    """One input of the audit.

    Attributes:
        keying: What a unit is: one of :data:`KEYINGS`, or ``post``.
        values: JSON value of each unit (line, image or post), or :data:`ABSENT`. Pairs of one unit
            have the same value. The permutation test shuffles the values among the units.
        unit: Index of each pair's unit in ``values``, shape ``(pairs,)``.
        keys, keys_matched: Number of keys in the file, and of those that belong to a pair.
        doubt: Reason to suspect that the file belongs to other data, and what to do; or None.
    """

    name: str
    keying: str
    values: list[Any]
    unit: Ints
    file: str | None = None
    keying_guessed: bool = False
    keys: int = 0
    keys_matched: int = 0
    doubt: str | None = None

    @property
    def coverage(self) -> float:
        """The fraction of pairs for which the input has a value."""
        return float(np.array([value is not ABSENT for value in self.values])[self.unit].mean())


def read_aux_input(aux: AuxFile, instances: Sequence[Instance]) -> AuditInput:
    """Read an auxiliary file: JSON object, ``.pth`` dictionary, or lines ``{'img_id', 'text'}``.

    Raises InputError if the file cannot be read, or none of its keys belongs to a pair.
    """
    if aux.path.suffix in (".json", ".pth"):
        values = {str(key): value for key, value in load_dictionary(aux.path).items()}
    else:
        values = dict(read_captions(aux.path))
    keyings = KEYINGS if aux.keying is None else (aux.keying,)
    candidates = [_align(aux, keying, values, instances) for keying in keyings]
    best = max(candidates, key=lambda candidate: candidate.keys_matched)  # the first one if tied
    if not best.keys_matched:
        raise InputError(
            f"none of its {len(values):,} keys is a {' or '.join(keyings)} of the data",
            where=f"{aux.path} (--aux {aux.name})",
            fix=f"{_OTHER_DATA} Else {_SET_KEYING}",
        )
    fits = [one.keying for one in candidates if 2 * one.keys_matched >= best.keys_matched]
    doubt = None
    if len(fits) > 1:
        doubt = f"its keys match {' and '.join(fits)} alike; {_SET_KEYING}"
    elif best.keying == "row":
        last = max(instance.number for instance in instances)
        numbers = [int(key) for key in values if re.fullmatch(r"[0-9]{1,15}", key)]
        end = max(numbers)
        # Line numbers match any data, so only their range can show that the file is of another
        # split. A file that lacks random lines is unlikely to lack all lines after ``end``.
        if end > last or (1 - len(numbers) / (end + 1)) ** (last - end) < 1e-6:
            doubt = f"its line numbers end at {end:,}, the data's at {last:,}; {_OTHER_DATA}"
    if doubt is None and best.coverage < 0.05:  # too low for a rule to count as a leak
        doubt = f"its keys match {100 * best.coverage:.1f} % of the pairs; {_OTHER_DATA}"
    return best._replace(doubt=doubt)


def _align(
    aux: AuxFile, keying: str, values: Mapping[str, Any], instances: Sequence[Instance]
) -> AuditInput:
    """Look up the value of each pair by line number, or by image name with or without suffix."""
    size = len(values)
    if keying == "crop":
        crops: dict[str, list[tuple[int, str]]] = {}
        for key in values:
            if match := _CROP.fullmatch(key):
                crops.setdefault(match[1], []).append((int(match[2]), key))
        values = {stem: [values[key] for _, key in sorted(keys)] for stem, keys in crops.items()}
    # Each pair without an image is its own unit, with a name that no file can have.
    images = [instance.image or f"\0{i}" for i, instance in enumerate(instances)]
    names = [str(i.number) for i in instances] if keying == "row" else images
    units, unit = np.unique(np.array(names, dtype=object), return_inverse=True)
    keys = [next((key for key in (n, Path(n).stem) if key in values), None) for n in units]
    matched = set(keys) - {None}
    return AuditInput(
        name=aux.name,
        keying=keying,
        values=[ABSENT if key is None else values[key] for key in keys],
        unit=unit,
        file=str(aux.path),
        keying_guessed=aux.keying is None,
        keys=size,
        keys_matched=sum(len(values[key]) if keying == "crop" else 1 for key in matched if key),
    )


def dataset_inputs(instances: Sequence[Instance]) -> list[AuditInput]:
    """Make audit inputs from the properties of the data file other than text and labels.

    The order of head and tail, and the number of pairs per post, are always included. Argument
    types, captions, presence of an image, and number of arguments are included if they vary.
    """
    rows, lines = range(len(instances)), [i.number for i in instances]
    post_ids: dict[tuple[str, str | None], int] = {}
    posts = [post_ids.setdefault((i.post.text, i.image), len(post_ids)) for i in instances]
    num_pairs = Counter(posts)
    sizes = [{"entities": len(i.post.entities), "objects": len(i.post.objects)} for i in instances]
    types = [
        {"head": i.head.type, "tail": i.tail.type} if i.head.type or i.tail.type else ABSENT
        for i in instances
    ]
    columns: dict[str, tuple[str, Sequence[int], list[Any]]] = {
        "argument order": ("row", rows, [_order(i.head, i.tail) for i in instances]),
        "pairs a post": ("post", posts, [{"pairs": num_pairs[post]} for post in posts]),
        "argument types": ("row", rows, types),
        # Posts with the same text may have different captions, so the unit is the line.
        "caption": ("post", lines, [i.post.caption or ABSENT for i in instances]),
        "image": ("post", lines, [{"image": i.post.image is not None} for i in instances]),
        "arguments a post": ("post", lines, sizes),
    }
    inputs = []
    for name, (keying, keys, values) in columns.items():
        if name in ("argument order", "pairs a post") or any(v != values[0] for v in values):
            _, first, unit = np.unique(keys, return_index=True, return_inverse=True)
            inputs.append(AuditInput(name, keying, [values[i] for i in first], unit))
    return inputs


def _order(head: Argument, tail: Argument) -> Any:
    if isinstance(head, TextEntity) and isinstance(tail, TextEntity):
        return {"head after tail": head.start > tail.start}
    return ABSENT
