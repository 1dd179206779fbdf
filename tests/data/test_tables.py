"""CSV, TSV and Parquet: one post per row."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pytest

from rukh.data.format import Source
from rukh.data.readers import read, scan
from rukh.data.tables import CsvFormat
from rukh.errors import InputError, MissingDependency
from rukh.records import MAX_TEXT, Post

ROWS = [
    {"id": "a", "text": 'Ann, "Lee"\nleft 👩‍🚀', "image": "a.jpg", "caption": None, "author": "x"},
    {"id": "b", "text": "Bob", "image": None, "caption": "a dog", "author": "y"},
]
CSV = (
    '\ufeffid,text,image,caption,author\r\n"a","Ann, ""Lee""\nleft 👩‍🚀",a.jpg,,x\r\n\r\n'
    "b,Bob,,a dog,y"
)


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def check(posts: list[Post], folder: Path) -> None:
    assert [(p.id, p.text, p.image, p.caption) for p in posts] == [
        ("a", ROWS[0]["text"], folder / "a.jpg", "its caption"),
        ("b", "Bob", None, "a dog"),
    ]


@pytest.mark.parametrize("name", ["in.csv", "in.CSV", "in.csv.gz", "in.tsv", "in.txt"])
def test_a_csv_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    text = CSV.replace("Ann, ", "Ann@ ").replace(",", "\t").replace("@", ",")
    data = (text if name == "in.tsv" else CSV).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    format = "csv" if name == "in.txt" else None
    check(list(read(path, format, captions={"a.jpg": "its caption"})), tmp_path)
    assert [line for line, _ in scan(path, format)] == [2, 5]


def test_a_parquet_file(tmp_path: Path) -> None:
    path = parquet(tmp_path / "in.parquet", ROWS)
    check(list(read(path, captions={"a.jpg": "its caption"})), tmp_path)
    bad = parquet(tmp_path / "bad.parquet", [{"text": "Ann"}, {"text": None}, {"text": "Bob"}])
    first, (number, error), last = scan(bad)
    assert isinstance(error, InputError) and (number, error.field) == (2, "text")
    assert error.where == f"{bad}:2"
    assert [one.id for _, one in (first, last) if isinstance(one, Post)] == ["1", "3"]
    bad.write_bytes(b"PAR1 not a table PAR1")
    with pytest.raises(InputError) as caught:
        list(read(bad))
    assert caught.value.where == str(bad)


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.parquet").touch()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"rukh\[parquet\]"):
        list(read(tmp_path / "in.parquet"))


def test_named_columns_and_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("body,text,key\nAnn,x,7\nBob,y,8\n")
    named = list(read(path, text_column="body", id_column="key"))
    assert [(post.id, post.text) for post in named] == [("7", "Ann"), ("8", "Bob")]
    assert [post.id for post in read(path)] == ["1", "2"]
    table = parquet(tmp_path / "in.parquet", [{"body": "Ann", "key": 7}])
    assert [(p.id, p.text) for p in read(table, text_column="body", id_column="key")] == [
        ("7", "Ann")
    ]


@pytest.mark.parametrize(
    ("header", "options", "field"),
    [
        ("id,body", {}, "text"),
        ("text", {"id_column": "key"}, "key"),
        ("text,text", {}, "text"),
        ("text,captoin", {}, "captoin"),
    ],
)
def test_wrong_columns(header: str, options: dict[str, Any], field: str, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"{header}\nx,y\n")
    with pytest.raises(InputError) as caught:
        list(read(path, **options))
    assert caught.value.field == field and str(caught.value.where).startswith(str(path))


def test_bad_rows_name_their_line_and_column(tmp_path: Path) -> None:
    long = "x" * (MAX_TEXT + 1)
    rows: list[tuple[str, str | None]] = [
        ("a,Ann,http://x/a.jpg", "image"),
        (",Ann,", "id"),
        (f"b,{long},", "body"),
        ("c,Ann", None),
        ('d,"Ann"x,', None),
        ("e,\xff,", None),
        (f"f,{'x' * 1_000_001},", None),
        (f'g,"{"x" * 131_073}",', None),
    ]
    data = "id,body,image\n".encode("latin-1")
    for row, _ in rows:
        data += f"ok,Bob,\n{row}\n".encode("latin-1")
    path = tmp_path / "in.csv"
    path.write_bytes(data + b"last,Bob,\n")
    results = list(scan(path, text_column="body", id_column="id"))
    errors = [(n, r) for n, r in results if isinstance(r, InputError)]
    assert [n for n, _ in errors] == [3 + 2 * i for i in range(len(rows))]
    assert [error.field for _, error in errors] == [field for _, field in rows]
    assert all(error.where == f"{path}:{n}" for n, error in errors)
    assert len(results) == 2 * len(rows) + 1 and isinstance(results[-1][1], Post)


def test_rows_are_read_as_they_are_needed(tmp_path: Path) -> None:
    stream = io.BytesIO(b"text\n" + b"Ann\n" * 100)
    next(CsvFormat(Source(tmp_path / "in.csv")).read(stream))
    assert stream.tell() == len(b"text\nAnn\n")
