"""Vectors of texts, kept on disk one by one, so that no text is ever embedded twice.

One SQLite file holds what one embedder made. SQLite commits whole or not at all, lets several
processes read and write at once, and finds a few texts among many without reading them all: a
schema that grows by one description costs one embedding.
"""

from __future__ import annotations

import hashlib
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CHUNK = 256
"""Texts that are embedded, and then kept, together: a run that is killed loses no more."""
MOST = 1_000_000
"""Vectors that one file keeps; the oldest go first. 384 wide, a million are 1.6 GB."""
TOLD = 300
"""Texts to embed from which on progress is shown."""
_WAIT = 30.0
"""Seconds that a process waits for another one that is writing."""
_ASKED = 500
"""Keys of one query; SQLite takes 999 at the least."""


def embedded(
    texts: Sequence[str], embed: Callable[[list[str]], Tensor], path: Path | None = None
) -> Tensor:
    """The vectors of texts, ``(N, d)``, of which only those are embedded that are not kept.

    What is kept is only ever a short cut: a file that is damaged is begun anew, and one that cannot
    be read or written is no reason to fail. Each text is embedded once, however often it occurs.

    Args:
        texts: At least one.
        embed: Texts to ``(n, d)``, float32. It is called with some texts at a time, of like length.
        path: The file of what this embedder made. None: nothing is kept.

    Example:
        >>> calls = []
        >>> def embed(texts):
        ...     calls.append(texts)
        ...     return torch.tensor([[float(len(text))] for text in texts])
        >>> embedded(["ab", "c", "ab"], embed).tolist(), calls
        ([[2.0], [1.0], [2.0]], [['c', 'ab']])
    """
    from tqdm import tqdm

    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
    found = {} if path is None else _read(path, list(dict.fromkeys(digests)))
    missing = {d: t for d, t in zip(digests, texts, strict=True) if d not in found}
    # Like lengths stand together, so that little of what is embedded is padding.
    order = sorted(missing.items(), key=lambda item: len(item[1]))
    with tqdm(
        total=len(order),
        unit="text",
        desc="embedding relations",
        disable=None if len(order) > TOLD else True,
        file=sys.stderr,
        leave=False,
    ) as progress:
        for first in range(0, len(order), CHUNK):
            chunk = dict(order[first : first + CHUNK])
            made = embed(list(chunk.values()))
            vectors = dict(zip(chunk, made, strict=True))
            found.update(vectors)
            if path is not None:
                _write(path, vectors)
            progress.update(len(chunk))
    if len({vector.shape for vector in found.values()}) > 1:  # what was kept is not this embedder's
        return embedded(texts, embed)
    return torch.stack([found[digest] for digest in digests])


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_WAIT)) as store:
        store.execute("CREATE TABLE IF NOT EXISTS vectors (text BLOB UNIQUE, vector BLOB)")
        with store:  # one transaction
            yield store


def _read(path: Path, digests: Sequence[bytes]) -> dict[bytes, Tensor]:
    """What is kept of these texts."""
    found: dict[bytes, Tensor] = {}
    try:
        with _opened(path) as store:
            for first in range(0, len(digests), _ASKED):
                some = digests[first : first + _ASKED]
                marks = ",".join("?" * len(some))
                query = f"SELECT text, vector FROM vectors WHERE text IN ({marks})"
                for text, vector in store.execute(query, some):
                    # A copy: torch wants memory that it may write to.
                    found[text] = torch.from_numpy(np.frombuffer(vector, np.float32).copy())
    except (sqlite3.OperationalError, OSError):  # locked, or not to be read or written here
        pass
    except (sqlite3.DatabaseError, TypeError, ValueError):
        path.unlink(missing_ok=True)
        return {}
    return found


def _write(path: Path, vectors: dict[bytes, Tensor]) -> None:
    rows = [(text, vector.float().cpu().numpy().tobytes()) for text, vector in vectors.items()]
    try:
        with _opened(path) as store:
            store.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            store.execute(
                "DELETE FROM vectors WHERE rowid <= (SELECT max(rowid) FROM vectors) - ?", (MOST,)
            )
    except (sqlite3.Error, OSError):
        pass
