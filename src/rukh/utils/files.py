"""Atomic writing of files and folders, file locks, JSON and YAML, and checks of outputs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rukh.errors import InputError
from rukh.utils.parsing import decode_utf8, parse_json

FILE_LIMIT = 64_000_000
"""Maximum size of a file that is read as a whole, in bytes."""


@contextmanager
def file_errors(path: str | Path, action: str = "read") -> Iterator[None]:
    """Convert an OSError or UnicodeDecodeError to an InputError that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot {action}: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", where=str(path)) from None


@contextmanager
def atomic_open(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file for writing; it replaces ``path`` only if the block succeeds."""
    path = Path(path)
    _check_replaceable(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with file_errors(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(part, mode, **text)  # type: ignore[call-overload]
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder; it replaces ``path`` only if the block succeeds."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    old = part.with_suffix(".old")
    with file_errors(path, "write"):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    try:
        yield part
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)  # of a killed process with the same process id
            os.replace(path, old)
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def try_lock(stream: IO[Any]) -> bool:
    """Lock an open file until the process ends. Return False if another process has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder within the block. Raises InputError if another process has locked it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as stream:
        if not try_lock(stream):
            raise InputError(
                "another process is using this folder", where=str(folder), fix="wait until it ends"
            )
        yield


def write_json(data: Any, path: str | Path) -> None:
    """Write JSON to a file, or to standard output for ``-``. An existing file is replaced."""
    text = json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    with atomic_open(Path(path)) as stream:
        stream.write(text)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises InputError if it is missing, invalid or too large."""
    with file_errors(path), open(path, "rb") as stream:
        try:
            return parse_json(read_text(stream))
        except InputError as error:
            raise error.at(str(path)) from None


def read_text(stream: IO[bytes], limit: int = FILE_LIMIT) -> str:
    """Read a whole file as UTF-8. Raises InputError if it has more than ``limit`` bytes."""
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"the file is larger than {limit:,} bytes")
    return decode_utf8(data).removeprefix("\ufeff")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML into plain data. ``1e-4`` is a number, and a repeated key is an error.

    Raises:
        InputError: The text is not YAML, or a key is repeated; ``where`` names the source.

    Example:
        >>> parse_yaml("rate: 1e-4", "a file")
        {'rate': 0.0001}
    """
    import yaml

    # The libyaml parser is three times as fast, but PyYAML may be built without it.
    safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(safe):  # type: ignore[misc]
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                    continue
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"key {key.value!r} is repeated", problem_mark=key.start_mark
                    )
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), [*"-+0123456789"]
    )
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark  # for libyaml it may be one line past the end
        line = f":{min(mark.line, text.count(chr(10))) + 1}" if mark else ""
        raise InputError(f"not YAML: {error.problem}", where=where + line) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"not YAML: {' '.join(str(error).split())}", where=where) from None


def check_outputs(outputs: Sequence[str | Path | None], *inputs: str | Path | None) -> None:
    """Check that outputs can be written, and replace neither inputs nor each other.

    Call this before any long work. None, ``-`` (standard output) and missing inputs are skipped.

    Raises:
        InputError: An output cannot be written, is no regular file, or is another given file.
    """
    paths = [Path(path) for path in outputs if path is not None and str(path) != "-"]
    existing = [Path(path) for path in inputs if path is not None and os.path.exists(path)]
    for i, path in enumerate(paths):
        _check_replaceable(path)
        problem = None
        if path.exists() and any(path.samefile(other) for other in existing):
            problem = "is an input and would be replaced"
        elif os.path.realpath(path) in map(os.path.realpath, paths[:i]):
            problem = "two outputs are the same file"
        if problem:
            raise InputError(problem, where=str(path), fix="name another output")
        folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
        # Permissions are not enough: on a file system such as /proc, no file can be created.
        with (
            file_errors(path, "write"),
            tempfile.NamedTemporaryFile(dir=folder, prefix=".rukh."),
        ):
            pass


def _check_replaceable(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise InputError("cannot write: not a regular file", where=str(path))
