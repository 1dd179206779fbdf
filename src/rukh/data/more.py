"""MORE (He et al., ACM MM 2023): lines as in MNRE, where an argument may be an object in the image.

An object's ``name`` is an id such as ``[OBJ0]``. Its box ``(cx, cy, w, h)``, in fractions of the
image, is in a dictionary beside the file, ``{img_id: {'[OBJ0]': (cx, cy, w, h)}}``:
``ent_{split}_dict.json`` or the published ``ent_{split}_dict.pth``. In other versions of MORE,
``t.pos`` has the four numbers of the box, as strings. ``caption_dict.json``, if it is there, has
the labels of the objects, ``{img_id: {object: label}}``.
"""

from __future__ import annotations

import logging
import math
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from rukh.data.format import Source
from rukh.data.mnre import MnreFormat
from rukh.data.pair_format import argument_fields
from rukh.data.tokens import Tokens
from rukh.errors import InputError
from rukh.records import Argument, Box, Post, VisualObject
from rukh.utils.files import FILE_LIMIT, file_errors, read_json
from rukh.utils.parsing import expect

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Distance by which a box may exceed the image. Such a box is clipped to the image."""


class MoreFormat(MnreFormat):
    """Reader and writer of MORE's lines.

    An object whose box comes from a dictionary is written without its box, others with it.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._boxes: dict[str, Any] | None = None
        self._labels: dict[str, Any] = {}
        self._without_box = 0

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`. Raises InputError for an invalid dictionary."""
        folder, split = self.source.path.parent, self.source.stem
        beside = [folder / f"ent_{split}_dict.json", folder / f"ent_{split}_dict.pth"]
        path = self.source.boxes or next((path for path in beside if path.is_file()), None)
        self._boxes = None if path is None else load_dictionary(path)
        labels = folder / "caption_dict.json"
        self._labels = load_dictionary(labels) if labels.is_file() else {}
        yield from super().read(stream)

    def argument(self, record: dict[str, Any], role: str, tokens: Tokens) -> Argument:
        """See :meth:`rukh.data.pair_format.PairFormat.argument`."""
        fields, type, meta = argument_fields(record, role)
        name, position, image = fields.get("name"), fields.get("pos"), record.get("img_id")
        if isinstance(position, list | tuple) and len(position) == 4:
            meta = {"name": name, "pos": list(position)} | meta
            box = to_corners(position, f"{role}.pos")
        elif position is None and isinstance(name, str):
            meta = {"name": name} | ({"pos": None} if "pos" in fields else {}) | meta
            box = self._find_box(name, image, role)
        else:
            return super().argument(record, role, tokens)
        labels = self._labels.get(image) if isinstance(image, str) else None
        label = labels.get(name) if isinstance(labels, dict) else None
        return VisualObject(id=role, box=box, type=type, label=label, meta=meta)

    def _find_box(self, name: str, image: Any, role: str) -> Box:
        if self._boxes is None:
            raise InputError(
                f"no dictionary of boxes for object {name!r} of image {image!r}",
                field=role,
                fix=f"put ent_{self.source.stem}_dict.pth or .json beside the file, "
                "or name it with --boxes",
            )
        boxes = self._boxes.get(image) if isinstance(image, str) else None
        if not isinstance(boxes, dict) or name not in boxes:
            raise InputError(
                f"the dictionary of boxes has no object {name!r} for image {image!r}", field=role
            )
        return to_corners(boxes[name], f"box of {name} in {image}")

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """See :meth:`rukh.data.format.Format.write`. Logs a warning if boxes are not written."""
        super().write(posts, stream)
        if self._without_box:
            logger.warning(
                "%s lacks the boxes of %d objects: read it with the input's dictionary as --boxes, "
                "or copy the dictionary to ent_%s_dict.json or .pth beside the file",
                self.source.path,
                self._without_box,
                self.source.stem,
            )

    def dump_argument(self, argument: Argument, post: Post, tokens: Tokens) -> dict[str, Any]:
        """See :meth:`rukh.data.pair_format.PairFormat.dump_argument`."""
        if not isinstance(argument, VisualObject):
            return super().dump_argument(argument, post, tokens)
        fields: dict[str, Any] = dict(argument.meta)
        if argument.type is not None:
            fields["type"] = argument.type
        if "name" not in fields:
            x1, y1, x2, y2 = argument.box
            position = [str(v) for v in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)]
            number = post.objects.index(argument)
            fields = {"name": f"[OBJ{number}]", "pos": position} | fields
        elif fields.get("pos") is None:
            self._without_box += 1
        return {key: value for key, value in fields.items() if (key, value) != ("name", None)}


def to_corners(values: Any, field: str) -> Box:
    """Convert ``(cx, cy, w, h)`` to corners, clipped to the image. Raises InputError if invalid.

    Example:
        >>> to_corners([0.5, 0.5, 0.5, 1.0], "t.pos")
        (0.25, 0.0, 0.75, 1.0)
    """
    try:
        cx, cy, w, h = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        cx = cy = w = h = math.nan
    edges = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    inside = all(-TOLERANCE <= edge <= 1 + TOLERANCE for edge in edges)  # False for NaN
    if not (w > 0 and h > 0 and inside):
        raise InputError(
            f"{reprlib.repr(values)} is not a box with an area inside the image",
            field=field,
            fix="boxes are (cx, cy, w, h) in fractions of the image, not pixels or corners",
        )
    x1, y1, x2, y2 = (min(max(edge, 0.0), 1.0) for edge in edges)
    return x1, y1, x2, y2


def load_dictionary(path: Path) -> dict[str, Any]:
    """Read a dictionary from a JSON file, or from a ``.pth`` file that contains only plain values.

    A ``.pth`` file is a pickle. It is read with torch's weights-only loader, which runs no code.

    Raises:
        InputError: The file is missing, too large, unreadable, or not a mapping.
    """
    try:
        if path.name.endswith((".json", ".json.gz")):
            value = read_json(path)
        else:
            with file_errors(path):
                size = path.stat().st_size
            if size > FILE_LIMIT:
                raise InputError(f"the file is larger than {FILE_LIMIT:,} bytes")
            value = _load_pickle(path)
        return dict(expect(value, dict, "a mapping"))
    except InputError as error:
        raise error.at(str(path)) from None


def _load_pickle(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged pickle can make the loader raise almost anything
        raise InputError(
            "not a dictionary that can be loaded without running code",
            fix="convert it to JSON if you trust it",
        ) from None
