"""rukh's own JSON lines: one :class:`rukh.records.Post` a line, fields exactly as there.

A picture is a path, relative to the file, or ``{"base64": "..."}`` with its encoded bytes.
:func:`json_schema` describes the form, and ``rukh data spec`` prints it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rukh.data.format import Source
from rukh.data.lines import LineFormat, from_json
from rukh.errors import InputError
from rukh.records import Post

IMAGE_LIMIT = 20_000_000
"""The largest picture that a line may hold, in bytes."""


class JsonlFormat(LineFormat):
    """One post a line.

    Captions, where the source has them, fill in for posts that have none, by the picture's path as
    it is written or by its file name.
    """

    limit = IMAGE_LIMIT * 4 // 3 + 10_000_000

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._folders: dict[Path, str] = {}

    def parse(self, line: str, number: int) -> Post:
        """See :meth:`rukh.data.lines.LineFormat.parse`."""
        try:
            record = from_json(line)
        except InputError as error:
            if line.lstrip().startswith("{'"):
                error = InputError(error.problem, fix="is it MNRE's or OpenNRE's? see --format")
            raise error from None
        if not isinstance(record, dict):
            raise InputError("not a JSON object with the fields of a post")
        given = record.pop("image", None)
        image = None if given is None else self._image(given)
        if record.get("caption") is None and isinstance(image, Path):
            caption = self.source.caption(given) or self.source.caption(image.name)
            record |= {} if caption is None else {"caption": caption}
        # JSON mode is what strictness without tuples takes: "0.5" is no number, a list is a tuple.
        post = Post.model_validate_json(json.dumps(record), strict=True)
        return post if image is None else post.model_copy(update={"image": image})

    def _image(self, given: Any) -> Path | bytes:
        if not isinstance(given, dict):
            return self.source.image(given, "image")
        encoded = given.get("base64")
        if len(given) != 1 or not isinstance(encoded, str):
            raise InputError('neither a path nor {"base64": "..."}', field="image")
        try:
            data = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise InputError(f"not base64: {error}", field="image") from None
        _check_size(data)
        return data

    def dump(self, post: Post) -> Iterator[str]:
        """See :meth:`rukh.data.lines.LineFormat.dump`."""
        record = post.model_dump(mode="json", exclude={"image"}, exclude_defaults=True)
        if isinstance(post.image, bytes):
            _check_size(post.image)
            record["image"] = {"base64": base64.b64encode(post.image).decode("ascii")}
        elif post.image is not None:
            record["image"] = self._relative(post.image)
        yield json.dumps(record, ensure_ascii=False, allow_nan=False)

    def _relative(self, image: Path) -> str:
        """The picture's path from the file's folder, so that the two can be moved together."""
        here, there = (self._real(folder) for folder in (self.source.path.parent, image.parent))
        try:
            return Path(os.path.relpath(Path(there, image.name), here)).as_posix()
        except ValueError:  # another drive
            return str(Path(there, image.name))

    def _real(self, folder: Path) -> str:
        # `..` behind a symbolic link leads elsewhere, so links of folders are followed first.
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return self._folders[folder]


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one line."""
    schema = Post.model_json_schema()
    schema["properties"]["image"] = {
        "default": None,
        "anyOf": [
            {"type": "string", "minLength": 1, "description": "A path, relative to this file."},
            {
                "type": "object",
                "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
                "required": ["base64"],
                "additionalProperties": False,
                "description": f"An encoded picture of at most {IMAGE_LIMIT:,} bytes.",
            },
            {"type": "null"},
        ],
    }
    schema["description"] = (
        "One line of a rukh JSONL file (UTF-8, one JSON object a line, blank lines skipped). "
        "Offsets count characters (Unicode code points), end-exclusive; boxes are "
        "(x1, y1, x2, y2) as fractions of the picture."
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def _check_size(data: bytes) -> None:
    if len(data) > IMAGE_LIMIT:
        raise InputError(
            f"a picture of {len(data):,} bytes, more than {IMAGE_LIMIT:,}", field="image"
        )
