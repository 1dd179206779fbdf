"""Read and write data files in any registered format.

A format is given by name, such as ``jsonl``, ``mnre`` or ``more``. :mod:`rukh.registry` maps names
to classes that implement :class:`rukh.data.format.Format`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from rukh.data.captions import read_captions
from rukh.data.format import Format, Source, suffix
from rukh.data.merging import merge_posts
from rukh.errors import InputError
from rukh.records import Post
from rukh.registry import resolve
from rukh.utils.files import atomic_open, file_errors, open_stream

TABLES = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
"""The formats that the endings of a file's name stand for; all other names stand for ``jsonl``."""


def format_of(path: str | Path) -> str:
    """Return the format that a file's name stands for.

    Example:
        >>> [format_of(name) for name in ("posts.csv.gz", "posts.txt")]
        ['csv', 'jsonl']
    """
    return TABLES.get(suffix(path), "jsonl")


def scan(
    path: str | Path,
    format: str | None = None,
    *,
    images: Path | None = None,
    captions: Mapping[str, str] | None = None,
    boxes: Path | None = None,
    text_column: str = "text",
    id_column: str | None = None,
) -> Iterator[tuple[int, Post | InputError]]:
    """Yield the line number of each record (or its index in a document), and its post or error.

    The arguments are those of :func:`read`. The path ``-`` is standard input.

    Raises:
        InputError: The format is unknown or the file cannot be read.
    """
    path = Path(path)
    source = Source(path, images, captions or {}, boxes, text_column, id_column)
    reader: Format = resolve("readers", format or format_of(path))(source)
    with file_errors(path), open_stream(path) as stream:
        for number, result in reader.read(stream):
            if isinstance(result, InputError) and result.where is None:
                result = result.at(f"{path}:{number}")
            yield number, result


def read(
    path: str | Path,
    format: str | None = None,
    *,
    images: Path | None = None,
    captions: Mapping[str, str] | None = None,
    boxes: Path | None = None,
    text_column: str = "text",
    id_column: str | None = None,
    limit: int | None = None,
) -> Iterator[Post]:
    """Yield the posts of a file, in order.

    Args:
        path: Data file, or ``-`` for standard input. A name that ends in ``.gz`` is decompressed.
        format: Name of the format. None: the one that the file's name stands for, see
            :func:`format_of`.
        images: Folder of the images, which need not exist. None: the folder of the data file.
        captions: Captions by image name, to add to the posts.
        boxes: MORE's dictionary of object boxes. None: look for it beside the data file.
        text_column, id_column: See :class:`rukh.data.format.Source`.
        limit: Maximum number of posts.

    Raises:
        InputError: The format is unknown, the file cannot be read, or a record is invalid. The
            message has the file, and the line or the record's path in a JSON document.
    """
    records = scan(
        path,
        format,
        images=images,
        captions=captions,
        boxes=boxes,
        text_column=text_column,
        id_column=id_column,
    )
    for _, result in islice(records, limit):
        if isinstance(result, InputError):
            raise result
        yield result


def read_posts(
    path: str | Path,
    format: str | None = None,
    *,
    images: Path | None = None,
    captions: Path | None = None,
    boxes: Path | None = None,
    limit: int | None = None,
) -> list[Post]:
    """Read all posts of a file, with captions. Posts with the same text and image are merged.

    The arguments are those of :func:`read`, but ``captions`` is a caption file.

    Raises:
        InputError: See :func:`read`. Or the caption file is invalid, or fits none of the posts.
    """
    texts = None if captions is None else read_captions(captions)
    records = read(path, format, images=images, captions=texts, boxes=boxes, limit=limit)
    posts = merge_posts(records)
    if texts is not None and posts and not any(post.caption for post in posts):
        raise InputError(
            f"none of its {len(texts):,} captions belongs to an image of {path}",
            where=str(captions),
            fix="use the caption file of the same split, or none",
        )
    return posts


def is_directed(format: str) -> bool:
    """Whether all pairs of this format are listed head first, so one direction is predicted.

    Example:
        >>> is_directed("fewrel"), is_directed("mnre")
        (True, False)
    """
    return bool(getattr(resolve("readers", format), "directed", False))


def write(posts: Iterable[Post], path: str | Path, format: str = "jsonl") -> int:
    """Write posts to a file and return their number. No partial file is left after an error.

    Raises:
        InputError: The format is unknown or cannot represent a post, or the file is not writable.
    """
    path, total = Path(path), 0
    writer: Format = resolve("readers", format)(Source(path))

    def counted() -> Iterator[Post]:
        nonlocal total
        for post in posts:
            yield post
            total += 1

    with atomic_open(path, "wb") as stream:
        writer.write(counted(), stream)
    return total
