"""MORE: MNRE's lines whose tail is an object of the picture (He et al., ACM MM 2023).

The tail's ``name`` is an object's id such as ``[OBJ0]``; its box, ``(cx, cy, w, h)`` as fractions
of the picture, stands in a dictionary beside the file, ``{img_id: {'[OBJ0]': (cx, cy, w, h)}}``:
``ent_{split}_dict.json`` or the published ``ent_{split}_dict.pth``. A variant has the four numbers
in ``t.pos``, as strings. ``caption_dict.json``, ``{img_id: {object: caption}}``, gives labels.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rukh.data.format import Source
from rukh.data.mnre import MnreFormat
from rukh.data.pair_format import Line, build, side
from rukh.data.tokens import Offsets
from rukh.errors import InputError
from rukh.records import Argument, Box, Post, VisualObject
from rukh.utils.files import read_json

NOISE = 1e-3
"""How far a box may reach past the picture and still be taken for a rounding error."""
DICTIONARY_LIMIT = 64_000_000
"""The largest dictionary of boxes or captions, in bytes; MORE's are a few megabytes."""


class MoreFormat(MnreFormat):
    """Dict literals in which either argument may be an object.

    An object from a box dictionary is written by its name alone, as it was read; an object that
    never had one is written with its box in ``pos``, so that the file stands by itself.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._boxes: dict[str, Any] | None = None
        self._labels: dict[str, Any] = {}

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`. A broken dictionary ends the reading."""
        folder, split = self.source.path.parent, self.source.path.stem
        beside = [folder / f"ent_{split}_dict.json", folder / f"ent_{split}_dict.pth"]
        path = self.source.boxes or next((p for p in beside if p.is_file()), None)
        self._boxes = None if path is None else load_dictionary(path)
        labels = folder / "caption_dict.json"
        self._labels = load_dictionary(labels) if labels.is_file() else {}
        yield from super().read(stream)

    def argument(self, line: Line, role: str) -> Argument:
        """See :meth:`rukh.data.pair_format.PairFormat.argument`."""
        given = side(line.record, role)
        name, position, picture = given.get("name"), given.get("pos"), line.record.get("img_id")
        meta: dict[str, Any] = {"name": name}
        if "pos" in given and position is None:
            meta["pos"] = None  # written again as it was read
        if isinstance(position, list | tuple) and len(position) == 4:
            meta["pos"] = list(position)
            box = corners(position, f"{role}.pos")
        elif position is None and isinstance(name, str):
            box = self._find(name, picture, role)
        else:
            return super().argument(line, role)
        described = self._labels.get(picture) if isinstance(picture, str) else None
        label = described.get(name) if isinstance(described, dict) else None
        return build(VisualObject, role, given, {"box": box, "label": label}, meta)

    def _find(self, name: str, picture: Any, role: str) -> Box:
        if self._boxes is None:
            raise InputError(
                f"no box dictionary for object {name!r} of picture {picture!r}",
                field=role,
                fix=f"put ent_{self.source.path.stem}_dict.pth or .json beside the file, "
                "or name it with --boxes",
            )
        boxes = self._boxes.get(picture) if isinstance(picture, str) else None
        if not isinstance(boxes, dict) or name not in boxes:
            raise InputError(
                f"the box dictionary has no object {name!r} for picture {picture!r}", field=role
            )
        return corners(boxes[name], f"box of {name} in {picture}")

    def dump_argument(
        self, argument: Argument, post: Post, offsets: Offsets | None
    ) -> dict[str, Any]:
        """See :meth:`rukh.data.pair_format.PairFormat.dump_argument`."""
        if not isinstance(argument, VisualObject):
            return super().dump_argument(argument, post, offsets)
        known = dict(argument.meta)
        if argument.type is not None:
            known["type"] = argument.type
        if "name" in known:
            return {k: v for k, v in known.items() if (k, v) != ("name", None)}
        x1, y1, x2, y2 = argument.box
        position = [str(v) for v in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)]
        return {"name": f"[OBJ{post.objects.index(argument)}]", "pos": position} | known


def boxes_elsewhere(post: Post) -> int:
    """How many objects are written by their name alone, so that a dictionary has to give their
    boxes.

    Example:
        >>> boxes_elsewhere(Post(id="0", text="a", objects=[{"id": "o", "box": (0, 0, 1, 1)}]))
        0
    """
    return sum("name" in t.meta and t.meta.get("pos") is None for t in post.objects)


def corners(values: Any, field: str) -> Box:
    """``(cx, cy, w, h)`` as ``(x1, y1, x2, y2)``, rounding errors at the edges clipped.

    Raises:
        InputError: Not four finite numbers, or a box without area or past the picture's edges.

    Example:
        >>> corners([0.5, 0.5, 0.5, 1.0], "t.pos")
        (0.25, 0.0, 0.75, 1.0)
    """
    try:
        cx, cy, w, h = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{reprlib.repr(values)} is not four numbers (cx, cy, w, h)", field=field
        ) from None
    if not all(map(math.isfinite, (cx, cy, w, h))):
        raise InputError(f"{[cx, cy, w, h]} has a number that is not finite", field=field)
    if w <= 0 or h <= 0:
        raise InputError(
            f"the box {[cx, cy, w, h]} has no area", field=field, fix="boxes are (cx, cy, w, h)"
        )
    edges = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    if not all(-NOISE <= edge <= 1 + NOISE for edge in edges):
        raise InputError(
            f"the box {[cx, cy, w, h]} reaches past the picture",
            field=field,
            fix="boxes are (cx, cy, w, h) as fractions of the picture, not pixels or corners",
        )
    x1, y1, x2, y2 = (min(max(edge, 0.0), 1.0) for edge in edges)
    return x1, y1, x2, y2


def load_dictionary(path: Path) -> dict[str, Any]:
    """What is known of each picture, from JSON or from a ``.pth`` that holds plain values only.

    A ``.pth`` is a pickle; it is read by torch's weights-only loader, which runs no code.

    Raises:
        InputError: Missing, too large, unreadable, or not a mapping.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=str(path)) from None
    if size > DICTIONARY_LIMIT:
        raise InputError(f"{size:,} bytes, more than {DICTIONARY_LIMIT:,}", where=str(path))
    if path.suffix == ".json":
        value = read_json(path)
    else:
        import torch

        try:
            value = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # a damaged pickle can make the loader raise almost anything
            raise InputError(
                "not a dictionary that loads without running code",
                where=str(path),
                fix="convert it to JSON where you trust it",
            ) from None
    if not isinstance(value, dict):
        raise InputError("not a mapping", where=str(path))
    return value
