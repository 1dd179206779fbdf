"""Formats whose file is one JSON document with many records, read as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import IO, Any

from pydantic import ValidationError

from rukh.data.format import Source
from rukh.errors import InputError
from rukh.records import Post, as_input_error
from rukh.utils.parsing import decode_utf8, parse_json

DOCUMENT_LIMIT = 64_000_000
"""The maximum size of a document, in bytes; FewRel's training file has about 30 million."""


class DocumentFormat(ABC):
    """Base of the formats whose file is one JSON document.

    Errors name the path of the record in the document, such as ``P17[3]``, in their field.
    """

    limit = DOCUMENT_LIMIT

    def __init__(self, source: Source) -> None:
        self.source = source

    @abstractmethod
    def records(self, document: Any) -> Iterator[tuple[str, Any]]:
        """Yield the path and the value of each record. Raises InputError."""

    @abstractmethod
    def posts(self, record: Any, path: str) -> Iterator[Post]:
        """Yield the posts of one record. Raises InputError or pydantic's ValidationError."""

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`; a document with invalid JSON has no records."""
        number = 0
        try:
            data = stream.read(self.limit + 1)
            if len(data) > self.limit:
                raise InputError(
                    f"the file is larger than {self.limit:,} bytes, which this format needs to "
                    "read as a whole",
                    fix="split it into several files",
                )
            text = decode_utf8(data).removeprefix("\ufeff")
            for path, record in self.records(parse_json(text)) if text.strip() else ():
                number += 1
                for result in self._results(record, path):
                    yield number, result
        except InputError as error:
            yield number + 1, error.at(str(self.source.path))

    def _results(self, record: Any, path: str) -> list[Post] | list[InputError]:
        try:
            return list(self.posts(record, path))
        except ValidationError as invalid:
            error = as_input_error(invalid)
        except InputError as invalid:
            error = invalid
        field = f"{path}.{error.field}" if error.field else path
        where = str(self.source.path)
        return [InputError(error.problem, where=where, field=field, fix=error.fix)]
