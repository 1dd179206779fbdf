"""The interface of data formats, and what a reader knows about the file it reads."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar, Protocol

from rukh.errors import InputError
from rukh.records import Post


@dataclass(frozen=True)
class Source:
    """A data file and what belongs to it.

    Attributes:
        path: The file. Its stem is the prefix of the ids of posts that have no id of their own.
        images: The folder that image names are relative to; by default the file's folder.
        captions: Captions by image name.
        boxes: MORE's dictionary of boxes, if it is not beside the file.
    """

    path: Path
    images: Path | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    boxes: Path | None = None

    def image(self, name: object, field: str) -> Path:
        """Resolve an image name to a path, which need not exist. Raises InputError."""
        if not isinstance(name, str) or not name or "\0" in name or "://" in name:
            raise InputError(
                f"{reprlib.repr(name)} is not the path of a file",
                field=field,
                fix="images must be local files",
            )
        return (self.path.parent if self.images is None else self.images) / name

    def caption(self, name: str) -> str | None:
        """The caption of an image; None if there is none or it is empty."""
        return self.captions.get(name, "").strip() or None


class Format(Protocol):
    """A data format, constructed for one file.

    A class attribute ``directed = True`` declares that every pair names its head first.
    """

    def __init__(self, source: Source) -> None: ...

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """Yield a number and a post, or the error of a bad record, which does not end the stream.

        The number, from 1, is the record's first line, or its position in a format without lines.
        An error without ``where`` gets ``file:number``.
        """
        ...

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """Write posts. Raises InputError for a post that the format cannot hold."""
        ...


class ReadOnlyFormat:
    """Base of the formats that can only be read, as a post does not hold all of a record."""

    name: ClassVar[str]

    def __init__(self, source: Source) -> None:
        self.source = source

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """Raise InputError."""
        raise InputError(f"{self.name} can only be read", fix="write jsonl")


@contextmanager
def locate_errors(post: Post) -> Iterator[None]:
    """Add the post's id to an InputError that is raised while the post is written."""
    try:
        yield
    except InputError as error:
        raise error.at(f"post {post.id}") from None
