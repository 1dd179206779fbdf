"""The file of a knowledge graph: how it is opened, and changed all at once or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from rukh.errors import InputError

FILE = "graph.sqlite"
"""Name of the file in the store's folder."""
VERSION = "1"
"""Version of the tables."""


class GraphFile:
    """The SQLite file of a graph; :class:`rukh.graph.store.KnowledgeGraph` says how it is used."""

    def __init__(self, folder: str | Path, *, create: bool = True, read_only: bool = False) -> None:
        self.folder, self.read_only = Path(folder), read_only
        file = self.folder / FILE
        if not file.exists():
            problem = "there is no knowledge graph in this folder"
            if read_only or not create:
                raise InputError(problem, where=str(folder), fix="make one with `rukh graph add`")
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                fix = "name a new or an empty folder"
                raise InputError(problem, where=str(folder), fix=fix)
            self.folder.mkdir(parents=True, exist_ok=True)
        mode = "ro" if read_only else "rwc"
        self._connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=10
        )
        try:
            if not read_only:
                self._connection.execute("PRAGMA journal_mode = WAL")
            self._set_up(read_only)
        except sqlite3.DatabaseError as error:
            self.close()
            raise InputError(f"no store of a graph: {error}", where=str(file)) from None
        except BaseException:
            self.close()
            raise

    def _set_up(self, read_only: bool) -> None:
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables and not read_only:
            with self._transaction():
                sql = (resources.files("rukh.graph") / "tables.sql").read_text(encoding="utf-8")
                for statement in sql.split(";\n"):
                    self._connection.execute(statement)
                self._write("version", VERSION)
        if (version := self._read("version")) != VERSION:
            problem = f"the store has version {version}, not {VERSION}"
            raise InputError(problem, where=str(self.folder), fix="add its triples to a new store")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        self._connection.close()

    @property
    def change(self) -> int:
        """The number of the last change."""
        return int(self._read("change") or 0)

    def token(self, change: int) -> str:
        """Return what tells a change from those of other graphs; nothing if there is none."""
        rows = self._rows("SELECT token FROM changes WHERE number = ?", [change])
        return str(rows[0][0]) if rows else ""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one state of the graph within the block, whatever other processes write."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def _transaction(self) -> Iterator[int]:
        """Change the store: all of it or nothing. Yield the number of the change."""
        if self.read_only:
            raise InputError("the graph was opened to be read only", where=str(self.folder))
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            problem = f"the store cannot be written: {error}"
            fix = "wait until the other process ends" if "locked" in str(error) else None
            raise InputError(problem, where=str(self.folder), fix=fix) from None
        try:
            change = 0
            if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                change = self.change + 1
                self._write("change", str(change))
                self._connection.execute("INSERT INTO changes VALUES (?, ?)", (change, uuid4().hex))
            yield change
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def _rows(
        self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        with closing(self._connection.execute(query, values)) as cursor:
            return cursor.fetchall()

    def _read(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", [key])
        return rows[0][0] if rows else None

    def _write(self, key: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
