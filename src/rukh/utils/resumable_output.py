"""An output file whose run can be resumed after the last commit if it was killed."""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from rukh.errors import InputError
from rukh.utils.files import (
    check_outputs,
    follow_links,
    is_compressed,
    name_file,
    read_json,
    sha256,
    try_lock,
    write_json,
)
from rukh.utils.progress import progress_bar

logger = logging.getLogger(__name__)
T = TypeVar("T")


class ResumableOutput:
    """A resumable output file.

    Lines are appended to a part file, which is renamed to the output at the end. A state file has
    the number of committed bytes; a resumed run cuts off the bytes after them. Of a symbolic link,
    the target is written. If the name ends in ``.gz``, each commit is compressed on its own.

    Args:
        out: Output file.
        identity: Everything that the output depends on; a path is replaced by the SHA-256 of its
            file. A part file with another identity is discarded.
        header: The first line of the file, or None.

    Attributes:
        done: Number of inputs whose output is in the part file.
        count: Number of results in the part file that the caller counts.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], header: str | None = None) -> None:
        check_outputs([out])
        self.compressed = is_compressed(out)
        self.out = follow_links(Path(out))
        self.part = self.out.with_name(f".{self.out.name}.part")
        self.state = self.out.with_name(f".{self.out.name}.part.json")
        self.identity = json.loads(json.dumps(identity, default=sha256))
        self.done = self.count = 0
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(self.part, "ab")  # noqa: SIM115 - stays open during the run
        if not try_lock(self._stream) or self._renamed():
            self._stream.close()
            raise InputError("another process is writing this file", where=str(out))
        size = 0
        if self.state.exists():
            state = read_json(self.state)
            same = isinstance(state, dict) and state.get("identity") == self.identity
            if same and state["bytes"] <= self.part.stat().st_size:
                self.done, self.count, size = state["done"], state["count"], state["bytes"]
                logger.info("%s: continuing after %d inputs", out, self.done)
            else:
                logger.warning("%s: discarding an unfinished run with other options or input", out)
        self._stream.truncate(size)
        if header is not None and not size:
            self._append(f"{header}\n".encode())

    def _renamed(self) -> bool:
        """Whether the process that held the lock has renamed the part file."""
        try:
            return not os.path.samestat(os.stat(self.part), os.fstat(self._stream.fileno()))
        except OSError:
            return True

    def commit(self, lines: Iterable[str], done: int, count: int = 0) -> None:
        """Append lines and save ``done`` and ``count``. All survive a kill."""
        self._append("".join(line + "\n" for line in lines).encode("utf-8"))
        self.done, self.count = done, count
        size = self.part.stat().st_size
        state = {"identity": self.identity, "done": done, "count": count, "bytes": size}
        write_json(state, self.state)

    def write_chunks(
        self, items: Sequence[T], size: int, to_lines: Callable[[Sequence[T]], list[str]], unit: str
    ) -> None:
        """Write the lines of the items that are not done yet, with a commit after each chunk.

        Args:
            items: All inputs.
            size: Number of inputs between two commits.
            to_lines: Function that makes the lines of a chunk; ``count`` is their number.
            unit: What the progress bar counts.
        """
        with closing(self), progress_bar(total=len(items), initial=self.done, unit=unit) as bar:
            for first in range(self.done, len(items), size):
                chunk = items[first : first + size]
                lines = to_lines(chunk)
                self.commit(lines, first + len(chunk), self.count + len(lines))
                bar.update(len(chunk))
            self.finish()

    def _append(self, data: bytes) -> None:
        with name_file(self.out):
            self._stream.write(gzip.compress(data, mtime=0) if self.compressed else data)
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def finish(self) -> None:
        """Rename the part file to the output."""
        if self.compressed and not self.part.stat().st_size:
            self._append(b"")  # a compressed file of nothing is not empty
        os.replace(self.part, self.out)
        self._stream.close()
        self.state.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop without finishing; a later run can resume from here."""
        with suppress(OSError):  # bytes that a full disk refused are written again by a later run
            self._stream.close()
