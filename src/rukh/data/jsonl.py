"""rukh's own format: JSON lines, with one :class:`rukh.records.Post` per line.

An image is a path relative to the file, or its encoded bytes as ``{"base64": "..."}``.
:func:`json_schema` describes the format; ``rukh data spec`` prints it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from rukh.data.fields import keep_unknown_fields
from rukh.data.format import Source
from rukh.data.lines import LineFormat
from rukh.errors import InputError
from rukh.records import Post
from rukh.utils.parsing import IMAGE_LIMIT, check_image_size, decode_image, expect, parse_json


class JsonlFormat(LineFormat):
    """Reader and writer of rukh's JSON lines.

    A post without a caption gets the caption of its image, found by path or by file name.
    """

    limit = IMAGE_LIMIT * 4 // 3 + 10_000_000

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        # Resolve symbolic links, because `..` after a link leads elsewhere. Cached for speed.
        self._real_path = lru_cache(maxsize=1024)(os.path.realpath)

    def parse(self, line: str, number: int) -> Post:
        """See :meth:`rukh.data.lines.LineFormat.parse`."""
        try:
            record = parse_json(line)
        except InputError as error:
            if line.lstrip().startswith("{'"):
                error = InputError(error.problem, fix="for MNRE's files, use --format mnre")
            raise error from None
        expect(record, dict, "an object with the fields of a post")
        record = keep_unknown_fields(record)
        name = record.pop("image", None)
        image = None if name is None else self._image(name)
        if record.get("caption") is None and isinstance(image, Path):
            record["caption"] = self.source.caption(name) or self.source.caption(image.name)
        # Strict JSON mode rejects the string "0.5" as a number, but accepts a list as a tuple.
        post = Post.model_validate_json(json.dumps(record), strict=True)
        return post if image is None else post.model_copy(update={"image": image})

    def _image(self, value: Any) -> Path | bytes:
        if not isinstance(value, dict):
            return self.source.image(value, "image")
        return decode_image(value)

    def dump(self, post: Post) -> Iterator[str]:
        """See :meth:`rukh.data.lines.LineFormat.dump`."""
        record = post.model_dump(mode="json", exclude={"image"}, exclude_defaults=True)
        if isinstance(post.image, bytes):
            check_image_size(post.image)
            record["image"] = {"base64": base64.b64encode(post.image).decode("ascii")}
        elif post.image is not None:
            # A path relative to the file stays valid if both are moved together.
            folder = self._real_path(self.source.path.parent)
            image = Path(self._real_path(post.image.parent), post.image.name)
            record["image"] = Path(os.path.relpath(image, folder)).as_posix()
        yield json.dumps(record, ensure_ascii=False, allow_nan=False)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one line."""
    schema = Post.model_json_schema()
    schema["properties"]["id"] = {
        "anyOf": [schema["properties"]["id"], {"type": "integer", "description": "Read as digits."}]
    }
    schema["properties"]["image"] = {
        "default": None,
        "anyOf": [
            {"type": "string", "minLength": 1, "description": "A path, relative to this file."},
            {
                "type": "object",
                "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
                "required": ["base64"],
                "additionalProperties": False,
                "description": f"An encoded image of at most {IMAGE_LIMIT:,} bytes.",
            },
            {"type": "null"},
        ],
    }
    schema["additionalProperties"] = True  # kept in `meta`, see rukh.data.fields
    schema["description"] = (
        "One line of a rukh JSONL file (UTF-8, one JSON object per line, blank lines are skipped). "
        "Offsets count characters (Unicode code points), end-exclusive; boxes are "
        "(x1, y1, x2, y2) in fractions of the image."
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
