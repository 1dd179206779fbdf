"""A disk cache for expensive results, such as embeddings and outputs of language models.

Cache failures raise no errors: a damaged file is deleted, and an unusable one counts as empty.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

_MAX_PARAMETERS = 999  # of one statement, in any version of SQLite
_TIMEOUT = 30.0  # seconds to wait for another process that is writing


def content_key(*parts: str | bytes) -> str:
    """Return the SHA-256 of some content, as hexadecimal digits, for use as a cache key."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


class DiskCache:
    """A key-value store of bytes in an SQLite file, safe for several processes at once.

    Args:
        path: The SQLite file. None: store nothing.
        max_entries: Maximum number of entries; the oldest entries are removed first.
    """

    def __init__(self, path: Path | None, max_entries: int = 1_000_000) -> None:
        self.path, self.max_entries = path, max_entries

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the stored entries among ``keys``, by key."""
        found: dict[str, bytes] = {}
        if self.path is None or not self.path.exists():
            return found
        try:
            with self._open(self.path) as connection:
                for first in range(0, len(keys), _MAX_PARAMETERS):
                    some = keys[first : first + _MAX_PARAMETERS]
                    places = ", ".join("?" * len(some))
                    query = f"SELECT key, value FROM entries WHERE key IN ({places})"
                    found.update(connection.execute(query, some))
        except (sqlite3.OperationalError, OSError) as error:
            logger.debug("cannot read the cache %s: %s", self.path, error)
        except sqlite3.DatabaseError as error:
            logger.warning("the cache %s is damaged and will be rebuilt: %s", self.path, error)
            self.path.unlink(missing_ok=True)
            return {}
        return {key: value for key, value in found.items() if isinstance(value, bytes)}

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Store entries; existing ones are replaced."""
        if self.path is None or not entries:
            return
        try:
            with self._open(self.path) as connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO entries (key, value) VALUES (?, ?)", entries.items()
                )
                connection.execute(
                    "DELETE FROM entries WHERE rowid <= (SELECT max(rowid) FROM entries) - ?",
                    (self.max_entries,),
                )
        except (sqlite3.Error, OSError) as error:
            logger.debug("cannot write the cache %s: %s", self.path, error)

    @contextmanager
    def _open(self, path: Path) -> Iterator[sqlite3.Connection]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=_TIMEOUT)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS entries (key TEXT UNIQUE, value BLOB)")
            with connection:  # one transaction
                yield connection
