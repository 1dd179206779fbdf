"""What a data format is: something that turns a stream into posts and posts into a stream."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from rukh.errors import InputError
from rukh.records import Post


@dataclass(frozen=True)
class Source:
    """The file that a format reads or writes, and what belongs to it.

    Attributes:
        path: The file. Its stem opens the ids of posts that have none of their own.
        images: The folder that picture names are relative to; by default the file's own.
        captions: Captions by picture name (see :func:`rukh.data.readers.read_captions`).
        boxes: MORE's box dictionary, where it does not stand beside the file.
    """

    path: Path
    images: Path | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    boxes: Path | None = None

    def image(self, name: object, field: str) -> Path:
        """Where a picture lies; it need not be there.

        Raises:
            InputError: The value of this field is no path.
        """
        if not isinstance(name, str) or not name or "\0" in name or "://" in name:
            raise InputError(
                f"{reprlib.repr(name)} is not the path of a file",
                field=field,
                fix="pictures are local files",
            )
        return (self.path.parent if self.images is None else self.images) / name

    def caption(self, name: str) -> str | None:
        """The caption of a picture; None where there is none, or an empty one."""
        return self.captions.get(name, "").strip() or None


class Format(Protocol):
    """One data format, made for one file. It owns the whole stream, so that formats whose records
    are not lines (JSON documents, CoNLL blocks) fit as well.

    A class attribute ``directed = True`` declares that every pair names its head first.
    """

    def __init__(self, source: Source) -> None: ...

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """Each record's first line (from 1) with its post, or with what is wrong with it.

        A bad record does not end the stream. The error's ``where`` is filled in by the caller.
        """
        ...

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """Write posts. Raises InputError for a post that the format cannot hold."""
        ...
