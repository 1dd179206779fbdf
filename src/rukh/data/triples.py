"""Files of triples: JSON lines, or a flat table as CSV, TSV or Parquet.

A table has the columns of :func:`to_dataframe`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import ValidationError

from rukh.data.format import suffix
from rukh.data.lines import lines
from rukh.data.tables import TextLines, parquet_rows
from rukh.errors import InputError, MissingDependency
from rukh.records import Post, Triple, as_input_error, to_mention
from rukh.utils.files import file_errors, open_stream

if TYPE_CHECKING:
    import pandas

ROW_GROUP = 10_000
"""Number of triples that are written to a Parquet file together."""

TABLE_COLUMNS = ["post_id", "head", "head_type", "relation", "tail", "tail_type", "score"]
TABLE_COLUMNS += ["description", "gate", "head_id", "head_start", "head_end", "head_box"]
TABLE_COLUMNS += ["tail_id", "tail_start", "tail_end", "tail_box", "time", "model_id", "schema_id"]
"""The columns of a table of triples."""


def to_dataframe(triples: Iterable[Triple]) -> pandas.DataFrame:
    """Return a table of pandas with one row per triple, and the same columns for any triples.

    ``head`` is the text of an entity, or the label, type or id of an object, and ``head_start`` and
    ``head_end``, or ``head_box``, tell where it is; likewise for the tail. Rankings are left out.

    Raises:
        MissingDependency: pandas is not installed.

    Example:
        >>> from rukh import Extractor
        >>> triples = Extractor.from_pretrained("open").extract(["Ann Lee works at Acme"])
        >>> to_dataframe(triples)[["head", "relation", "tail", "score"]]  # doctest: +SKIP
    """
    try:
        import pandas
    except ImportError:
        raise MissingDependency("pandas", "pandas") from None
    # An offset may be missing, as for an object, which Int64 allows.
    numbers = {"score": "float64", "gate": "float64"}
    numbers |= {name: "Int64" for name in TABLE_COLUMNS if name.endswith(("_start", "_end"))}
    rows = map(table_row, triples)
    return pandas.DataFrame(list(rows), columns=TABLE_COLUMNS).astype(numbers)


def table_row(triple: Triple) -> dict[str, Any]:
    """Return the row of a triple in a table with the columns :data:`TABLE_COLUMNS`."""
    row = triple.to_dict()
    for role, mention in (("head", triple.head), ("tail", triple.tail)):
        row |= {f"{role}_{name}": value for name, value in row[role].items()}
        row[role] = mention.surface
    return {name: row.get(name) for name in TABLE_COLUMNS}


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


def read_triples(path: str | Path) -> Iterator[Triple]:
    """Yield the triples of a file that ``rukh extract`` has written, also of a table.

    The path ``-`` is standard input.

    Rows of arguments, which ``--show-entities`` adds, are skipped.

    Raises:
        InputError: The file cannot be read, or a row is not a triple. The message has its line.
        MissingDependency: The file is Parquet, and pyarrow is not installed.
    """
    with file_errors(path), open_stream(path) as stream:
        for number, row in _rows(stream, path):
            where = f"{path}:{number}"
            if isinstance(row, InputError):
                raise row.at(where)
            try:
                if isinstance(row, dict):
                    yield Triple.model_validate(_nested(row))
                elif '"relation"' in row or '"entities"' not in row:
                    yield Triple.model_validate_json(row)
            except ValidationError as error:
                fix = "give the output of `rukh extract`"
                wrong = as_input_error(error)
                raise InputError(wrong.problem, where=where, field=wrong.field, fix=fix) from None


def _rows(
    stream: IO[bytes], path: str | Path
) -> Iterator[tuple[int, str | InputError] | tuple[int, dict[str, Any]]]:
    ending = suffix(path)
    if ending == ".parquet":
        yield from parquet_rows(stream, str(path), lambda names: None)
    elif ending in (".csv", ".tsv"):
        text = TextLines(stream)
        rows = csv.DictReader(text, delimiter="\t" if ending == ".tsv" else ",")
        try:
            for row in rows:
                yield text.number, row
        except InputError as error:
            yield text.number, error
        except csv.Error as error:
            yield text.number, InputError(f"not {ending[1:].upper()}: {error}")
    else:
        yield from lines(stream)


def _nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a triple, given by the columns of a table."""
    data: dict[str, Any] = {"head": {}, "tail": {}, "relation": None}
    for name, value in row.items():
        if value is None or value == "" or name not in TABLE_COLUMNS:
            continue
        role, _, part = name.partition("_")
        if role not in ("head", "tail"):
            data[name] = value
        elif part == "box":
            data[role][part] = json.loads(value) if isinstance(value, str) else value
        else:
            data[role][part or "text"] = value
    for role in ("head", "tail"):
        if "box" in data[role]:
            text = data[role].pop("text", None)
            if text not in (data[role].get("type"), data[role].get("id")):
                data[role]["label"] = text
    return data
