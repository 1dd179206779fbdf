"""Output that survives a kill: rows are appended to a part file, and a note says how far they go.

The note is replaced after every chunk has reached the disk, so that whatever stands in the part
file beyond it is cut off on resuming. The finished part takes the output's name in one rename.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rukh.errors import InputError
from rukh.utils.files import read_json, write_json


class ResumableOutput:
    """A resumable output file.

    Args:
        out: The file to be written; an existing one is replaced only at the end.
        identity: What is being done; a part file of another identity is begun anew.

    Attributes:
        done: How many inputs the part file already answers.

    Raises:
        InputError: The place cannot be written, or another process is writing it.
    """

    def __init__(self, out: Path, identity: dict[str, Any]) -> None:
        self.out = Path(out)
        self.part = self.out.with_name(f".{self.out.name}.part")
        self.note = self.out.with_name(f".{self.out.name}.part.json")
        self.identity = json.loads(json.dumps(identity))
        self.done = 0
        if self.out.is_dir():
            raise InputError("is a folder", where=str(out), fix="give --out a file's name")
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self.part, "ab")  # noqa: SIM115 - open as long as the run
        except OSError as error:
            raise InputError(f"cannot write: {error.strerror}", where=str(out)) from None
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The other run may have finished, and given the part its final name, just before.
            if not os.path.samestat(os.stat(self.part), os.fstat(self._stream.fileno())):
                raise OSError
        except OSError:
            self._stream.close()
            raise InputError("another run is writing this file", where=str(out)) from None
        size = 0
        if self.note.exists():
            note = read_json(self.note)
            if note["identity"] == self.identity and note["bytes"] <= self.part.stat().st_size:
                self.done, size = note["done"], note["bytes"]
        self._stream.truncate(size)

    def commit(self, lines: Iterable[str], done: int) -> None:
        """Append lines; once this returns, ``done`` inputs survive a kill."""
        for line in lines:
            self._stream.write(line.encode("utf-8") + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.done = done
        note = {"identity": self.identity, "done": done, "bytes": self.part.stat().st_size}
        write_json(note, self.note)

    def finish(self) -> None:
        """Give the output its name."""
        os.replace(self.part, self.out)
        self._stream.close()
        self.note.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop without finishing; a later run goes on from here."""
        self._stream.close()
