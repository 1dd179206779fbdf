"""Tables of texts, one post per row: CSV and TSV (``csv``) and Parquet (``parquet``).

The columns are ``text``, ``id``, ``image``, ``caption`` and ``time``, of which only the first is
required.
``Source`` can name other columns for the first two. All other columns are ignored.
"""

from __future__ import annotations

import csv
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from pydantic import ValidationError

from rukh.data.fields import check_names
from rukh.data.format import ReadOnlyFormat, Source, suffix
from rukh.data.lines import LINE_LIMIT
from rukh.errors import InputError, MissingDependency
from rukh.records import Post, as_input_error
from rukh.utils.parsing import decode_utf8

BATCH_SIZE = 256
"""Number of rows of a Parquet file that are decoded together."""


class TableFormat(ReadOnlyFormat):
    """Base of the tables. Posts without an id column get the number of their row, from 1."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._columns: dict[str, str] = {}  # the column of each field of a post

    @abstractmethod
    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`."""

    def choose(self, names: Sequence[str]) -> None:
        """Choose the columns to read, given the names of all. Raises InputError."""
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InputError("two columns have this name", field=repeated[0])
        text, own_id = self.source.text_column, self.source.id_column
        columns = {"text": text, "id": own_id or "id", "image": "image", "caption": "caption"}
        columns["time"] = "time"
        for name, option in ((text, "--text-column"), (own_id, "--id-column")):
            if name is not None and name not in names:
                columns_there = ", ".join(map(repr, names))
                fix = f"name one of the columns with {option}: {columns_there}"
                raise InputError("there is no such column", field=name, fix=fix)
        check_names(names, columns.values())
        self._columns = {field: name for field, name in columns.items() if name in names}

    def post(self, row: dict[str, Any], number: int) -> Post | InputError:
        """Return the post of a row, given by column, or the error with its column."""
        fields = {field: row[name] for field, name in self._columns.items()}
        fields.setdefault("id", str(number))
        try:
            if image := fields.get("image"):
                fields["image"] = self.source.image(image, "image")
                fields["caption"] = fields.get("caption") or self.source.caption(image)
            return Post.model_validate({k: v for k, v in fields.items() if v is not None})
        except (InputError, ValidationError) as invalid:
            error = as_input_error(invalid)
            field = self._columns.get(error.field or "", error.field)
            return InputError(error.problem, field=field, fix=error.fix)


class CsvFormat(TableFormat):
    """Reader of comma-separated values, or of tab-separated ones in a file ``*.tsv``.

    Cells with commas, quotes or line ends are quoted as usual (RFC 4180). The number of a row is
    that of its first line.
    """

    name = "csv"

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`. Raises InputError for the columns."""
        delimiter = "\t" if suffix(self.source.path) == ".tsv" else ","
        lines = TextLines(stream)
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        names: list[str] | None = None
        number = 0  # of rows with values
        while True:
            line = lines.number + 1
            result: Post | InputError
            try:
                cells = next(rows, None)
                if cells is None:
                    return
                if not cells:
                    continue
                if names is None:
                    self.choose(cells)
                    names = cells
                    continue
                number += 1
                if len(cells) != len(names):
                    raise InputError(f"the row has {len(cells)} cells, not {len(names)}")
                filled = {name: cell or None for name, cell in zip(names, cells, strict=True)}
                filled[self.source.text_column] = filled[self.source.text_column] or ""
                result = self.post(filled, number)
            except csv.Error as error:
                fix = "check the quotes: a quote within a cell is doubled"
                result = InputError(f"not {self.name.upper()}: {error}", fix=fix)
            except InputError as error:
                if names is None:
                    raise error.at(f"{self.source.path}:1") from None
                result = error
            yield line, result


class TextLines:
    """Lines of text with their ends. One that is too long or no text raises InputError.

    An error would end a generator, but this goes on with the next line.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.number = 0

    def __iter__(self) -> TextLines:
        return self

    def __next__(self) -> str:
        raw = self.stream.readline(LINE_LIMIT + 1)
        if not raw:
            raise StopIteration
        self.number += 1
        if len(raw) > LINE_LIMIT and not raw.endswith(b"\n"):
            while (rest := self.stream.readline(LINE_LIMIT)) and not rest.endswith(b"\n"):
                pass
            raise InputError(f"the line is longer than {LINE_LIMIT:,} bytes")
        text = decode_utf8(raw)
        return text.removeprefix("\ufeff") if self.number == 1 else text


class ParquetFormat(TableFormat):
    """Reader of Parquet files. It needs ``rukh[parquet]``. The number of a row counts from 1."""

    name = "parquet"

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`.

        Raises:
            InputError: The file is not Parquet or is a pipe, or its columns are wrong.
            MissingDependency: pyarrow is not installed.
        """

        def columns(names: Sequence[str]) -> list[str]:
            self.choose(names)
            return list(self._columns.values())

        for number, row in parquet_rows(stream, str(self.source.path), columns):
            yield number, self.post(row, number)


def parquet_rows(
    stream: IO[bytes], where: str, columns: Callable[[Sequence[str]], list[str] | None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a Parquet file, numbered from 1.

    Args:
        where: The file, for errors.
        columns: Function that selects columns, given the names of all. None: all of them.

    Raises:
        InputError: The file is not Parquet or is a pipe, or ``columns`` raises it.
        MissingDependency: pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingDependency("pyarrow", "parquet") from None
    if not stream.seekable():
        raise InputError("Parquet cannot be read from a pipe", where=where, fix="name a file")
    try:
        file = parquet.ParquetFile(stream)
        try:
            chosen = columns(file.schema_arrow.names)
        except InputError as error:
            raise error.at(where) from None
        number = 0
        for batch in file.iter_batches(BATCH_SIZE, columns=chosen):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"not readable Parquet: {reason}", where=where) from None
