"""What a value of any shape holds: its texts, its numbers by where they stand, and its pieces."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rukh.errors import InputError

ABSENT: Any = object()
"""The value of a unit that an input says nothing of."""
MAX_DEPTH = 32
MAX_PLACES = 64
"""Numbers of one list beyond these are counted, not looked at by their place."""
_ROOT = "value"
_NUMBER = re.compile(r"([+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,2})?)\s*%?")
_PLAIN = re.compile(r"\S(.*\S)?")


@dataclass
class Flattener:
    """The leaves of one value.

    Attributes:
        texts: Those that are not blank, in order.
        named: Of texts that stand under a key, its name and the text.
        numbers: By the name of where they stand, keys joined by dots. A text that is a number is
            one as well. Numbers in a list of no lists stand together and each at its place; of
            several such lists in a list only the places count.
        pieces: How many of each form stand within the value, and how often each key does.
        left_out: How many places of a list were not looked at.

    Example:
        >>> leaves = Leaves()
        >>> leaves.collect({"score": [0.5, "2"], "label": "cat"})
        >>> leaves.texts, leaves.numbers
        (['2', 'cat'], {'score[0]': [0.5], 'score': [0.5, 2.0], 'score[1]': [2.0]})
        >>> dict(leaves.pieces)
        {'key "score"': 1, 'lists': 1, 'numbers': 1, 'texts': 2, 'key "label"': 1}
    """

    texts: list[str] = field(default_factory=list)
    named: list[tuple[str, str]] = field(default_factory=list)
    numbers: dict[str, list[float]] = field(default_factory=dict)
    pieces: Counter[str] = field(default_factory=Counter)
    left_out: int = 0

    def collect(
        self,
        value: Any,
        name: str = _ROOT,
        paths: Sequence[str] = (),
        *,
        depth: int = 0,
        listed: bool = False,
    ) -> None:
        """Add a value's leaves.

        Args:
            value: Of JSON's types.
            name: The keys that it stands under, joined by dots.
            paths: Under which names a number counts; by default ``name``.
            depth: How many values it stands in.
            listed: Whether one of these is a list.

        Raises:
            InputError: A number is not finite, a value is of another type, or values are nested too
                deeply.
        """
        paths = paths or (name,)
        if depth > MAX_DEPTH:
            raise InputError(f"a value is nested more than {MAX_DEPTH} deep", fix="flatten it")
        if depth:
            self.pieces[form(value).split(" ", 1)[-1] + "s"] += 1
        if isinstance(value, str):
            if value.strip():
                self.texts.append(value)
                self.named += [(name, value)] if name != _ROOT else []
            if number := _NUMBER.fullmatch(value.strip()):
                self._number(float(number[1]), paths)
        elif isinstance(value, dict):
            for key, item in value.items():
                # A key may be anything in a .pth, and half a surrogate could not be reported.
                inner = str(key).encode("utf-8", "replace").decode("utf-8")
                inner = inner if _PLAIN.fullmatch(inner) else repr(inner)
                inner = inner if name == _ROOT else f"{name}.{inner}"
                self.pieces[f'key "{inner}"'] += 1
                self.collect(item, inner, depth=depth + 1, listed=listed)
        elif isinstance(value, list | tuple):
            flat = not any(isinstance(item, list | tuple | dict) for item in value)
            for place, item in enumerate(value):
                told = [name]
                if flat and place < MAX_PLACES:
                    told = [f"{name}[{place}]"] if listed else [f"{name}[{place}]", name]
                self.collect(item, name, told, depth=depth + 1, listed=True)
            beyond = value[MAX_PLACES:] if flat else []
            numbers = sum(isinstance(item, int | float) for item in beyond)
            self.left_out = max(self.left_out, numbers)
        elif isinstance(value, int | float):
            self._number(value, paths)
        elif value is not None:
            raise InputError(
                f"a value is a {type(value).__name__}",
                fix="values are strings, numbers, null, and lists and dicts of these",
            )

    def _number(self, value: float, paths: Sequence[str]) -> None:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise InputError("a number is not finite", fix="write null where there is none")
        for path in paths:
            self.numbers.setdefault(path, []).append(number)


def form(value: Any) -> str:
    """What a value is, apart from what it holds.

    Example:
        >>> [form(value) for value in (None, "", [], 1, True, {"a": 1})]
        ['null', 'an empty text', 'an empty list', 'a number', 'a flag', 'a mapping']
    """
    if value is ABSENT:
        return "absent"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a flag"
    kinds = (("text", str), ("list", (list, tuple)), ("mapping", dict))
    for name, kind in kinds:
        if isinstance(value, kind):
            return f"a {name}" if value else f"an empty {name}"
    return "a number"
