"""Auxiliary inputs: what a file says of each row.

Published files are keyed in three ways: by row number (what was found for one pair), by picture
(captions), and by crop (``{picture stem}_crop_N.jpg``, one box or score each). Whatever the keying,
an :class:`Evidence` is a list of values and, for each row, which of them it sees.
"""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rukh.audit.flatten import ABSENT
from rukh.audit.instances import Instance, Ints
from rukh.data.lines import from_json
from rukh.data.more import load_dictionary
from rukh.data.readers import read_captions
from rukh.errors import InputError, suggestion

KEYINGS = ("row", "image", "crop")
CROP = re.compile(r"(.+)_crop_(\d+)(?:\.\w+)?", re.S)
CHANCE = 1e-6
"""Rows are missing at a file's end by design, not by accident, where that is less likely."""
OTHER = "is it the file of another split, or of the data before lines were removed?"
HARDLY = 0.05
"""Of a smaller share of rows not even a rule could make a leak."""


class AuxFile(NamedTuple):
    """An auxiliary file as it is named on the command line; no keying: guess it."""

    name: str
    path: Path
    keying: str | None = None


@dataclass(frozen=True)
class AuxInput:
    """One input of the audit.

    Attributes:
        name: What it is called.
        keying: ``row``, ``image`` or ``crop`` for files; ``row`` or ``post`` for what the data's
            own form says. Rows of one unit see one value, so units are what a null shuffles.
        values: One value a unit, :data:`ABSENT` where the input says nothing of it. Strings,
            numbers, booleans, None, and lists and dicts of these.
        unit: Shape ``(rows,)``, indices into ``values``.
        file: Where it was read from, or None.
        guessed: Whether the keying was guessed.
        keys: How many keys the file has; ``matched`` of them belong to some row.
        doubt: Why the file may not be that of the data, or be read otherwise than it is meant, and
            what to do; or None. Row numbers fit any data: only how many there are can tell.
    """

    name: str
    keying: str
    values: list[Any]
    unit: Ints
    file: str | None = None
    guessed: bool = False
    keys: int = 0
    matched: int = 0
    doubt: str | None = None

    @property
    def coverage(self) -> float:
        """The share of rows of which the input says something."""
        known = np.array([value is not ABSENT for value in self.values])
        return float(known[self.unit].mean())


def parse_aux(text: str) -> AuxFile:
    """``NAME=FILE`` or ``NAME=FILE:KEYING``.

    Raises:
        InputError: It has another form, or the keying is unknown.

    Example:
        >>> parse_aux("crops=crops.json:row").keying
        'row'
    """
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise InputError(
            f"{text!r} is not NAME=FILE", field="--aux", fix="write, say, captions=captions.txt"
        )
    path, colon, keying = file.rpartition(":")
    if not colon or os.path.exists(file):
        return AuxFile(name, Path(file))
    if keying in KEYINGS:
        return AuxFile(name, Path(path), keying)
    if os.path.exists(path):
        raise InputError(
            f"no keying {keying!r}", field=f"--aux {name}", fix=suggestion(keying, KEYINGS)
        )
    return AuxFile(name, Path(file))


def read_aux_input(aux: AuxFile, rows: Sequence[Instance]) -> AuxInput:
    """Read an auxiliary file and say which of its values each row sees.

    Args:
        aux: The file: a JSON dict, a ``.pth`` of plain values, or caption lines
            ``{'img_id', 'text'}``.
        rows: The rows that it may speak of.

    Raises:
        InputError: The file cannot be read, or none of its keys belongs to a row.
    """
    values = _load(aux.path)
    where = f"{aux.path} (--aux {aux.name})"
    if not values:
        raise InputError("holds no entry", where=where, fix="name a file that does")
    candidates = [aux.keying] if aux.keying else list(KEYINGS)
    found = [_KEYED[keying](aux, values, rows) for keying in candidates]
    best = max(found, key=lambda evidence: evidence.matched)  # the first of equals
    if not best.matched:
        sought = {"row": "row number", "image": "picture", "crop": "crop"}.get(
            aux.keying or "", "row number, picture or crop"
        )
        raise InputError(
            f"none of its {len(values):,} keys names a {sought} of the data; "
            f"the first is {reprlib.repr(next(iter(values)))}",
            where=where,
            fix="is it the file of another split, or keyed otherwise "
            f"(NAME=FILE:{'|'.join(KEYINGS)})?",
        )
    rivals = [one.keying for one in found if one is not best and 2 * one.matched >= best.matched]
    if rivals:
        best = replace(
            best,
            doubt=f"its keys fit {best.keying} and {rivals[0]} alike, and were read as "
            f"{best.keying}; say which it is with --aux NAME=FILE:{'|'.join(KEYINGS)}",
        )
    elif best.doubt is None and best.coverage < HARDLY:
        best = replace(
            best,
            doubt=f"its keys belong to {100 * best.coverage:.1f} % of the rows; is it the file of "
            "another split?",
        )
    return best


def _load(path: Path) -> Mapping[str, Any]:
    """What a file says, by key."""
    if path.suffix == ".pth":
        return {str(key): value for key, value in load_dictionary(path).items()}
    if path.suffix != ".json":
        return read_captions(path)
    try:
        value = from_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", where=str(path), fix="save it as UTF-8") from None
    except InputError as error:
        fix = error.fix or "captions, a record a line, are read from a file that ends in .txt"
        raise InputError(error.problem, where=str(path), field=error.field, fix=fix) from None
    if not isinstance(value, dict):
        raise InputError(
            "not a JSON object",
            where=str(path),
            fix="write {key: value}, keyed by row number, picture or crop",
        )
    return value


def _by_row(aux: AuxFile, values: Mapping[str, Any], rows: Sequence[Instance]) -> AuxInput:
    evidence = _gather(aux, "row", values, [(str(row.number),) for row in rows])
    return replace(evidence, doubt=_misfit(values, max(row.number for row in rows)))


def _misfit(keys: Iterable[str], last: int) -> str | None:
    """Why row numbers may not be those of data whose last labelled row is ``last``, or None."""
    numbers = [int(key) for key in keys if re.fullmatch(r"[0-9]{1,15}", key)]
    if not numbers:
        return None
    beyond = sum(number > last for number in numbers)
    end = max(numbers)
    if beyond:
        count = f"{beyond:,} of its {len(numbers):,} row numbers"
        return f"{count} lie beyond the data's last row, {last:,}; {OTHER}"
    # As likely as a file that leaves rows out where it has nothing to say ends so early.
    if (1 - len(numbers) / (end + 1)) ** (last - end) < CHANCE:
        return f"its row numbers end at {end:,}, the data's at {last:,}; {OTHER}"
    return None


def _by_image(aux: AuxFile, values: Mapping[str, Any], rows: Sequence[Instance]) -> AuxInput:
    keys = [(row.picture, Path(row.picture).stem) if row.picture else () for row in rows]
    return _gather(aux, "image", values, keys)


def _by_crop(aux: AuxFile, values: Mapping[str, Any], rows: Sequence[Instance]) -> AuxInput:
    crops: dict[str, list[tuple[int, str, Any]]] = {}
    for key, value in values.items():
        if match := CROP.fullmatch(key):
            crops.setdefault(match[1], []).append((int(match[2]), key, value))
    # The crops of a picture become one list, in the order of their numbers.
    lists = {stem: [v for *_, v in sorted(c, key=lambda x: x[:2])] for stem, c in crops.items()}
    stems = [(Path(row.picture).stem, row.picture) if row.picture else () for row in rows]
    evidence = _gather(aux, "crop", lists, stems)
    matched = {key for keys in stems for key in keys if key in crops}
    return replace(evidence, keys=len(values), matched=sum(len(crops[stem]) for stem in matched))


_KEYED: dict[str, Callable[[AuxFile, Mapping[str, Any], Sequence[Instance]], AuxInput]] = {
    "row": _by_row,
    "image": _by_image,
    "crop": _by_crop,
}


def _gather(
    aux: AuxFile, keying: str, values: Mapping[str, Any], keys: Sequence[tuple[str, ...]]
) -> AuxInput:
    """Each row's value, under the first of its keys that the file has."""
    index: dict[object, int] = {}
    gathered: list[Any] = []
    unit = []
    matched = set()
    for i, known in enumerate(keys):
        name: object = known[0] if known else i  # a row without a picture is a unit of its own
        if name not in index:
            index[name] = len(gathered)
            key = next((key for key in known if key in values), None)
            gathered.append(ABSENT if key is None else values[key])
            matched |= {key} - {None}
        unit.append(index[name])
    return AuxInput(
        name=aux.name,
        keying=keying,
        values=gathered,
        unit=np.array(unit),
        file=str(aux.path),
        guessed=aux.keying is None,
        keys=len(values),
        matched=len(matched),
    )
