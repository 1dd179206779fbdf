"""What the data file itself says of each row beside text and label, as inputs of the audit.

Every model that is shown the data can read it: the order and the types of the arguments, whether
there is a picture, what a caption says, and how many arguments and pairs a post has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rukh.audit.aux_inputs import AuxInput
from rukh.audit.flatten import ABSENT
from rukh.audit.instances import Instance, Ints, number_posts


def own_fields(rows: Sequence[Instance]) -> list[AuxInput]:
    """The order of arguments and the number of pairs; and, where rows differ in them, the given
    types, presence of a picture, caption, and numbers of arguments.
    """
    singly = np.arange(len(rows))
    # The pairs of one line share what it gives; posts of the same text need not.
    records = np.unique([row.number for row in rows], return_inverse=True)[1]
    types = [_types(row) for row in rows]
    captions = [row.caption or ABSENT for row in rows]
    pictures = [{"picture": row.pictured} for row in rows]
    arguments = [{"entities": row.entities, "objects": row.objects} for row in rows]
    varying = (
        ("argument types", "row", types, singly),
        ("caption", "post", captions, records),
        ("picture", "post", pictures, records),
        ("arguments a post", "post", arguments, records),
    )
    return [
        argument_order(rows),
        pair_count(rows),
        *(
            AuxInput(name, keying, _of_units(values, unit), unit)
            for name, keying, values, unit in varying
            if any(value != values[0] for value in values)
        ),
    ]


def argument_order(rows: Sequence[Instance]) -> AuxInput:
    """Whether the head stands after the tail."""
    values = [ABSENT if row.after is None else {"head after tail": row.after} for row in rows]
    return AuxInput("argument order", "row", values, np.arange(len(rows)))


def pair_count(rows: Sequence[Instance]) -> AuxInput:
    """How many pairs the data asks of the row's post."""
    posts = number_posts(rows)
    values: list[Any] = [{"pairs": int(count)} for count in np.bincount(posts)]
    return AuxInput("pairs a post", "post", values, posts)


def _types(row: Instance) -> Any:
    given = zip(("head", "tail"), row.types, strict=True)
    return [f"{end} {name}" for end, name in given if name is not None] or ABSENT


def _of_units(values: list[Any], unit: Ints) -> list[Any]:
    """One value for each unit, that of its first row."""
    _, first = np.unique(unit, return_index=True)
    return [values[i] for i in first]
