"""Formats whose file is a single JSON document with many records."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import IO, Any

from pydantic import ValidationError

from rukh.data.format import ReadOnlyFormat
from rukh.errors import InputError
from rukh.records import Post, as_input_error
from rukh.utils.files import FILE_LIMIT, read_text
from rukh.utils.parsing import parse_json


class DocumentFormat(ReadOnlyFormat):
    """Base of the formats whose file is one JSON document.

    The ``field`` of an error starts with the path of the record, such as ``P17[3]``.
    """

    limit = FILE_LIMIT

    @abstractmethod
    def records(self, document: Any) -> Iterator[tuple[str, Any]]:
        """Yield the path and the value of each record. Raises InputError if one is invalid."""

    @abstractmethod
    def posts(self, record: Any, path: str) -> Iterator[Post]:
        """Yield the posts of one record. Raises InputError or pydantic's ValidationError."""

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`. Invalid JSON gives one error and no posts."""
        number, where = 0, str(self.source.path)
        try:
            text = read_text(stream, self.limit)
            for path, record in self.records(parse_json(text)) if text.strip() else ():
                number += 1
                try:
                    posts = list(self.posts(record, path))
                except (InputError, ValidationError) as invalid:
                    error = as_input_error(invalid)
                    field = f"{path}.{error.field}" if error.field else path
                    yield number, InputError(error.problem, where=where, field=field, fix=error.fix)
                else:
                    yield from ((number, post) for post in posts)
        except InputError as error:
            yield number + 1, error.at(where)
