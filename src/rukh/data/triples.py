"""Output files of triples: JSON lines, or a flat table as CSV, TSV or Parquet.

A table has the columns of :func:`rukh.records.to_dataframe`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from rukh.data.format import suffix
from rukh.errors import MissingDependency
from rukh.records import TABLE_COLUMNS, Post, Triple, table_row, to_mention

ROW_GROUP = 10_000
"""Number of triples that are written to a Parquet file together."""


class TripleLines:
    """The lines of triples in a text file: CSV or TSV by the ending of its name, else JSON lines.

    Attributes:
        table: Whether the lines are rows of a table.
        header: The first line of the file, or None.
    """

    def __init__(self, path: str | Path) -> None:
        self._delimiter = {".csv": ",", ".tsv": "\t"}.get(suffix(path))
        self.table = self._delimiter is not None
        self.header = self._line(TABLE_COLUMNS) if self.table else None

    def __call__(self, triples: Iterable[Triple]) -> list[str]:
        """Return the lines of some triples, without line ends. A box is a JSON list in a cell."""
        if not self.table:
            return [triple.model_dump_json() for triple in triples]
        rows = (table_row(triple).values() for triple in triples)
        return [
            self._line(json.dumps(cell) if isinstance(cell, list) else cell for cell in row)
            for row in rows
        ]

    def _line(self, cells: Iterable[Any]) -> str:
        line = io.StringIO()
        csv.writer(line, delimiter=self._delimiter or ",", lineterminator="").writerow(cells)
        return line.getvalue()


class ParquetTriples:
    """A Parquet file of triples, which is complete when it is closed.

    Raises:
        MissingDependency: pyarrow is not installed.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise MissingDependency("pyarrow", "parquet") from None

        def kind(name: str) -> Any:
            if name in ("score", "gate"):
                return pyarrow.float64()
            if name.endswith("_box"):
                return pyarrow.list_(pyarrow.float64())
            return pyarrow.int64() if name.endswith(("_start", "_end")) else pyarrow.string()

        schema = pyarrow.schema([(name, kind(name)) for name in TABLE_COLUMNS])
        self._table: Any = pyarrow.Table
        self._writer: Any = parquet.ParquetWriter(stream, schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, triples: Iterable[Triple]) -> None:
        """Write triples."""
        self._rows += map(table_row, triples)
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what remains, and the end of the file."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._table.from_pylist(self._rows, self._writer.schema))
            self._rows = []


def arguments_row(post: Post) -> dict[str, Any]:
    """Return the arguments of a post as JSON data, with the score of each detected one, or None.

    Example:
        >>> post = Post(id="1", text="Ann left", entities=[{"id": "e0", "start": 0, "end": 3}])
        >>> arguments_row(post)["entities"]
        [{'id': 'e0', 'text': 'Ann', 'start': 0, 'end': 3, 'type': None, 'score': None}]
    """
    rows = {
        kind: [
            to_mention(one, post.text).model_dump(mode="json") | {"score": one.meta.get("score")}
            for one in arguments
        ]
        for kind, arguments in (("entities", post.entities), ("objects", post.objects))
    }
    return {"post_id": post.id, **rows}
