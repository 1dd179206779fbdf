"""An output file that survives a kill.

Lines are appended to a part file. After each commit, a state file records how many bytes of it are
valid; whatever follows them is cut off when the run is resumed. The finished part file is renamed
to the output.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rukh.errors import InputError
from rukh.utils.files import read_json, sha256, try_lock, write_json


class ResumableOutput:
    """A resumable output file.

    Args:
        out: The file to write; an existing one is replaced only at the end.
        identity: What determines the output. A path stands for the content of its file. If an
            earlier part file has another identity, it is discarded.

    Attributes:
        done: The number of inputs whose output is in the part file.

    Raises:
        InputError: The file cannot be written, or another process is writing it.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any]) -> None:
        self.out = Path(out)
        self.part = self.out.with_name(f".{self.out.name}.part")
        self.state = self.out.with_name(f".{self.out.name}.part.json")
        self.identity = json.loads(json.dumps(identity, default=sha256))
        self.done = 0
        if self.out.is_dir():
            raise InputError("cannot write: it is a folder", where=str(out))
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self.part, "ab")  # noqa: SIM115 - open as long as the run
        except OSError as error:
            raise InputError(f"cannot write: {error.strerror}", where=str(out)) from None
        if not try_lock(self._stream) or self._renamed():
            self._stream.close()
            raise InputError("another process is writing this file", where=str(out))
        size = 0
        if self.state.exists():
            state = read_json(self.state)
            if state["identity"] == self.identity and state["bytes"] <= self.part.stat().st_size:
                self.done, size = state["done"], state["bytes"]
        self._stream.truncate(size)

    def _renamed(self) -> bool:
        """Whether the process that held the lock has finished, and renamed the part file."""
        try:
            return not os.path.samestat(os.stat(self.part), os.fstat(self._stream.fileno()))
        except OSError:
            return True

    def commit(self, lines: Iterable[str], done: int) -> None:
        """Append lines; once this returns, the output of ``done`` inputs survives a kill."""
        for line in lines:
            self._stream.write(line.encode("utf-8") + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.done = done
        state = {"identity": self.identity, "done": done, "bytes": self.part.stat().st_size}
        write_json(state, self.state)

    def finish(self) -> None:
        """Rename the part file to the output."""
        os.replace(self.part, self.out)
        self._stream.close()
        self.state.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop without finishing; a later run continues from here."""
        self._stream.close()
