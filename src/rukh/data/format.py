"""The interface of data formats, and the source that a reader reads from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar, Protocol

from rukh.errors import InputError
from rukh.records import Post
from rukh.utils.parsing import local_path


@dataclass(frozen=True)
class Source:
    """A data file and the files that belong to it.

    Attributes:
        path: The data file. Posts without an id get one that starts with its :attr:`stem`.
        images: Folder that image names are relative to. None: the folder of the data file.
        captions: Captions by image name.
        boxes: MORE's dictionary of object boxes. None: look for it beside the data file.
        text_column, id_column: The columns of a table that have the text and the id. None: ``id``,
            if there is such a column.
    """

    path: Path
    images: Path | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    boxes: Path | None = None
    text_column: str = "text"
    id_column: str | None = None

    @property
    def stem(self) -> str:
        """Name of the data file without its ending, and without ``.gz``."""
        return Path(self.path.name.removesuffix(".gz")).stem

    def image(self, name: object, field: str) -> Path:
        """Resolve an image name to a path, which need not exist. Raises InputError if not local."""
        path = local_path(name, field)
        return (self.path.parent if self.images is None else self.images) / path

    def caption(self, name: str) -> str | None:
        """Return the caption of an image; None if it has no caption or an empty one."""
        return self.captions.get(name, "").strip() or None


def suffix(path: str | Path) -> str:
    """Return the ending of a file's name, in lower case, without ``.gz``.

    Example:
        >>> suffix("posts.CSV.gz")
        '.csv'
    """
    return Path(Path(path).name.removesuffix(".gz")).suffix.lower()


class Format(Protocol):
    """A data format, constructed for one file.

    A class attribute ``directed = True`` declares that all pairs are listed with the head first.
    """

    def __init__(self, source: Source) -> None: ...

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """Yield the number of each record, and its post, or an InputError for an invalid record.

        The number is that of the record's first line, from 1; in a format without lines, it is the
        position of the record. An error without ``where`` gets ``file:number``.
        """
        ...

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """Write posts. Raises InputError for a post that the format cannot represent."""
        ...


class ReadOnlyFormat:
    """Base of the formats that can only be read, because a post does not keep the whole record."""

    name: ClassVar[str]

    def __init__(self, source: Source) -> None:
        self.source = source

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """Raise InputError, because the format can only be read."""
        raise InputError(f"{self.name} can only be read", fix="write jsonl")


@contextmanager
def locate_errors(post: Post) -> Iterator[None]:
    """Add the post's id to an InputError that is raised while the post is written."""
    try:
        yield
    except InputError as error:
        raise error.at(f"post {post.id}") from None
