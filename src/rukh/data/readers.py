"""Data formats: files become posts, and posts files, whatever the format.

A format is named (``jsonl``, ``mnre``, ``opennre``, ``more``, or a third party's; see
:mod:`rukh.registry`) and implements :class:`rukh.data.format.Format`. All reading streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rukh.data.captions import read_captions
from rukh.data.format import Format, Source
from rukh.data.grouping import group_posts
from rukh.errors import InputError
from rukh.records import Post
from rukh.registry import resolve
from rukh.utils.files import atomic_open

__all__ = [
    "Format",
    "Problem",
    "Source",
    "check",
    "is_directed",
    "group_posts",
    "read_posts",
    "read",
    "read_captions",
    "scan",
    "write",
]


@dataclass(frozen=True)
class Problem:
    """What is wrong with one record of a file.

    Attributes:
        line: The record's line, from 1.
        field: The path of the field inside the record, or None where the whole is at fault.
        why: What is wrong, with the offending value in it.
        fix: What would mend it, or None.
    """

    line: int
    field: str | None
    why: str
    fix: str | None = None


def scan(
    path: str | Path,
    format: str = "jsonl",
    *,
    images: Path | None = None,
    captions: Mapping[str, str] | None = None,
    boxes: Path | None = None,
) -> Iterator[tuple[int, Post | InputError]]:
    """Every record of a file, with its line: a post, or what is wrong with it.

    Raises:
        InputError: The format is unknown or the file cannot be read.
    """
    path = Path(path)
    reader: Format = resolve("readers", format)(Source(path, images, captions or {}, boxes))
    try:
        with open(path, "rb") as stream:
            for line, result in reader.read(stream):
                yield (
                    line,
                    result.at(f"{path}:{line}") if isinstance(result, InputError) else result,
                )
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=str(path)) from None


def read(
    path: str | Path,
    format: str = "jsonl",
    *,
    images: Path | None = None,
    captions: Mapping[str, str] | None = None,
    boxes: Path | None = None,
    limit: int | None = None,
) -> Iterator[Post]:
    """The posts of a file, in order, one at a time.

    Args:
        path: The file.
        format: The format's name.
        images: The folder that picture names are relative to; by default the file's own. The
            pictures need not be there.
        captions: Captions by picture name, joined to the posts.
        boxes: MORE's box dictionary, where it does not stand beside the file.
        limit: Stop after so many posts.

    Raises:
        InputError: At the first bad line, as ``file:line``, and at once where the format is
            unknown or the file cannot be read.
    """
    records = scan(path, format, images=images, captions=captions, boxes=boxes)
    for _, result in islice(records, limit):
        if isinstance(result, InputError):
            raise result
        yield result


def read_posts(
    path: str | Path,
    format: str = "jsonl",
    *,
    images: Path | None = None,
    captions: Path | None = None,
    boxes: Path | None = None,
    limit: int | None = None,
) -> list[Post]:
    """All posts of a file with its caption file, the pairs of one post brought together.

    Args:
        path, format, images, boxes, limit: See :func:`read`.
        captions: Caption file of the pictures.

    Raises:
        InputError: A line of either file is bad, or no caption is of a picture of these posts.
    """
    told = read_captions(captions) if captions is not None else None
    posts = group_posts(read(path, format, images=images, captions=told, boxes=boxes, limit=limit))
    if captions is not None and posts and not any(post.caption for post in posts):
        raise InputError(
            f"none of its {len(told or ()):,} captions is of a picture of {path}",
            where=str(captions),
            fix="name the captions of this split, or none",
        )
    return posts


def check(
    path: str | Path, format: str = "jsonl", *, boxes: Path | None = None
) -> Iterator[Problem]:
    """What is wrong with a file: every bad line, in order.

    Raises:
        InputError: The format is unknown or the file cannot be read.
    """
    for line, result in scan(path, format, boxes=boxes):
        if isinstance(result, InputError):
            yield Problem(line, result.field, result.problem, result.fix)


def is_directed(format: str) -> bool:
    """Whether the pairs of a format are ordered, so that only head to tail is to be predicted.

    Raises:
        InputError: The format is unknown.

    Example:
        >>> is_directed("fewrel"), is_directed("mnre")
        (True, False)
    """
    return bool(getattr(resolve("readers", format), "directed", False))


def write(posts: Iterable[Post], path: str | Path, format: str = "jsonl") -> None:
    """Write posts to a file, which appears whole or not at all.

    Raises:
        InputError: The format is unknown or cannot hold a post, or the file cannot be written.
    """
    path = Path(path)
    writer: Format = resolve("readers", format)(Source(path))
    if path.exists() and not path.is_file():
        raise InputError("cannot write: not a regular file", where=str(path))
    with atomic_open(path, "wb") as stream:
        writer.write(posts, stream)
