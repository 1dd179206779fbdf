"""Labelled pairs as a study wants them: one row a pair, each with its post and its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rukh.data.readers import scan
from rukh.errors import InputError, MissingDependency, suggestion
from rukh.records import Argument, TextEntity

Place: TypeAlias = tuple[float, ...]
Ints: TypeAlias = npt.NDArray[np.int64]

NOTA_NAMES = ("None", "none", "NA", "no_relation")
"""What none-of-the-above is called in the field's benchmarks."""


@dataclass(frozen=True)
class Instance:
    """One labelled pair.

    Attributes:
        number: The record's line in the file, from 0, as published auxiliary files count it. The
            pairs of one record share it.
        text: The post's text.
        picture: The picture's file name, or None. Picture bytes count as none, having no name.
        label: The gold relation.
        head, tail: Where the arguments are: ``(start, end)`` in characters, or a box.
        names: How head and tail are called, in lower case.
        after: Whether the head starts after the tail; None where an argument is an object.
        types: Of head and tail, where the data gives them.
        caption: The picture's, where the data gives one.
        pictured: Whether the post has a picture.
        entities, objects: How many the post has.
    """

    number: int
    text: str
    picture: str | None
    label: str
    head: Place
    tail: Place
    names: tuple[str, str]
    after: bool | None
    types: tuple[str | None, str | None] = (None, None)
    caption: str | None = None
    pictured: bool = False
    entities: int = 2
    objects: int = 0


def read_instances(path: Path, format: str, boxes: Path | None = None) -> list[Instance]:
    """The labelled pairs of a file, in its order; pairs without a label are passed over.

    Raises:
        InputError: The format is unknown, a line is bad, or no pair has a label.
    """
    rows: list[Instance] = []
    for line, post in scan(path, format, boxes=boxes):
        if isinstance(post, InputError):
            raise post
        picture = post.image.name if isinstance(post.image, Path) else None
        for pair in post.pairs or ():
            if pair.relation is None:
                continue
            head, tail = post.argument(pair.head), post.argument(pair.tail)
            after = None
            if isinstance(head, TextEntity) and isinstance(tail, TextEntity):
                after = head.start > tail.start
            rows.append(
                Instance(
                    number=line - 1,
                    text=post.text,
                    picture=picture,
                    label=pair.relation,
                    head=_place(head),
                    tail=_place(tail),
                    names=(post.surface(pair.head).lower(), post.surface(pair.tail).lower()),
                    after=after,
                    types=(head.type, tail.type),
                    caption=post.caption,
                    pictured=post.image is not None,
                    entities=len(post.entities),
                    objects=len(post.objects),
                )
            )
    if not rows:
        raise InputError(
            "holds no labelled pair",
            where=str(path),
            field="relation",
            fix="audit a file whose pairs have gold relations",
        )
    return rows


def _place(argument: Argument) -> Place:
    if isinstance(argument, TextEntity):
        return argument.start, argument.end
    return argument.box


def find_nota(rows: Sequence[Instance], given: str | None, where: str) -> str:
    """The name of none-of-the-above: the given one, or what the field calls it.

    Raises:
        InputError: No row has that label, or every row has: there is nothing to tell apart.
    """
    labels = sorted({row.label for row in rows})
    found = [given] if given is not None else [name for name in NOTA_NAMES if name in labels]
    if len(found) != 1 or found[0] not in labels:
        if given is not None:
            problem, fix = f"no row has the label {given!r}", suggestion(given, labels)
        elif found:
            problem = f"both {found[0]!r} and {found[1]!r} may be none-of-the-above"
            fix = "name it with --nota"
        else:
            problem = "no label is a known name of none-of-the-above"
            fix = f"name it with --nota; labels: {', '.join(labels[:30])}"
        raise InputError(problem, where=where, field="relation", fix=fix)
    if len(labels) == 1:
        raise InputError(
            f"every row is {labels[0]!r}, so there is nothing to tell apart",
            where=where,
            field="relation",
            fix="audit a file that holds relations as well",
        )
    return found[0]


def number_posts(rows: Sequence[Instance]) -> Ints:
    """Shape ``(rows,)``: which post, a text with its picture, each row belongs to."""
    index: dict[tuple[str, str | None], int] = {}
    return np.array([index.setdefault((row.text, row.picture), len(index)) for row in rows])


def number_groups(rows: Sequence[Instance]) -> Ints:
    """Shape ``(rows,)``: which group each row belongs to; groups share no picture and no text.

    Folds and resampling go by group. A sentence that stands under two pictures joins them, for
    what is known of the one would tell of the other.

    Raises:
        MissingDependency: scipy, which comes with scikit-learn, is not installed.
    """
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
    except ImportError:
        raise MissingDependency("scikit-learn", "study") from None

    index: dict[tuple[str, Any], int] = {}
    edges = []
    for i, row in enumerate(rows):
        for key in (("text", row.text), ("picture", row.picture)):
            if key[1] is not None:
                edges.append((i, len(rows) + index.setdefault(key, len(index))))
    size = len(rows) + len(index)
    start, end = np.array(edges).T
    graph = coo_array((np.ones(len(edges)), (start, end)), shape=(size, size))
    groups = np.asarray(connected_components(graph, directed=False)[1][: len(rows)])
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)
