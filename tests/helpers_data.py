"""What the tests of the data formats share."""

from __future__ import annotations

from pathlib import Path

from rukh.data.readers import scan
from rukh.errors import InputError


def errors_of(path: Path, format: str = "jsonl") -> list[InputError]:
    """The errors of a file's bad records, in order."""
    return [result for _, result in scan(path, format) if isinstance(result, InputError)]
