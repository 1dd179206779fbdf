"""Posts from Python values: texts, dictionaries and posts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from rukh.data.fields import keep_unknown_fields
from rukh.errors import InputError
from rukh.records import Post, as_input_error
from rukh.utils.parsing import decode_image, expect, local_path

PostLike: TypeAlias = Post | Mapping[str, Any] | str
"""A post, a row of rukh's JSONL, or a text."""


def to_posts(items: Iterable[PostLike]) -> Iterator[Post]:
    """Yield the post of each item: of a post itself, of a row of rukh's JSONL, or of a text.

    A text, and a row without an id, get their position as id: ``"0"``, ``"1"``, ... The image of a
    row is a path, relative to the current folder, or its bytes, plain or as ``{"base64": "..."}``.
    Fields that a post does not have are kept in ``meta``, see :mod:`rukh.data.fields`.

    Raises:
        InputError: ``items`` is a single item or a table; or an item is invalid.

    Example:
        >>> [post.id for post in to_posts(["Ann left", {"id": "b", "text": "Bob left"}])]
        ['0', 'b']
    """
    # A text is an iterable of characters, a row one of keys, and a table one of column names.
    if isinstance(items, Post | Mapping | str) or hasattr(items, "columns"):
        problem = f"expected an iterable of posts, not a {type(items).__name__}"
        raise InputError(problem, fix="pass a list of posts, dictionaries or texts")
    for position, item in enumerate(items):
        try:
            yield _to_post(item, str(position))
        except (InputError, ValidationError) as error:
            raise as_input_error(error).at(f"posts[{position}]") from None


def _to_post(item: PostLike, default_id: str) -> Post:
    if isinstance(item, Post):
        return item
    fields = {"text": item} if isinstance(item, str) else item
    row = keep_unknown_fields(expect(fields, Mapping, "a post, dictionary or text"))
    row.setdefault("id", default_id)
    if not isinstance(image := row.get("image"), Path | bytes | None):
        encoded = isinstance(image, Mapping)
        row["image"] = decode_image(image) if encoded else local_path(image, "image")
    return Post.model_validate(row)
