"""Files and folders that are written completely or not at all; JSON, YAML; checks of outputs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rukh.errors import InputError


@contextmanager
def atomic_open(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing; it takes its name, complete, only if the block succeeds."""
    path = Path(path)
    if path.is_dir():
        raise InputError("cannot write: it is a folder", where=str(path))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(part, mode, **text)  # type: ignore[call-overload]
    except OSError as error:
        raise InputError(f"cannot write: {error.strerror}", where=str(path)) from None
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder; it replaces ``path`` only if the block succeeds."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write: {error.strerror}", where=str(path)) from None
    try:
        yield part
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        if path.exists():
            # A killed process with the same id may have left one.
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
        os.replace(part, path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def try_lock(stream: IO[Any]) -> bool:
    """Lock an open file; False if another process holds the lock, which ends with the process."""
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
    """Lock a folder for this process.

    Raises:
        InputError: Another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as stream:
        if not try_lock(stream):
            raise InputError(
                "another process is using this folder", where=str(folder), fix="wait until it ends"
            )
        yield


def write_json(data: Any, path: str | Path) -> None:
    """Write JSON to a file, replacing an existing one, or to standard output for ``-``."""
    text = json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    with atomic_open(Path(path)) as stream:
        stream.write(text)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises InputError, with the line, if it is missing or malformed."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", where=str(path)) from None
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", where=f"{path}:{error.lineno}") from None


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML into plain data. ``1e-4`` is a number, and a repeated key is an error.

    Args:
        text: The YAML.
        where: The name of the source, for error messages.

    Raises:
        InputError: The text is not YAML, or a key is repeated.

    Example:
        >>> parse_yaml("rate: 1e-4", "a file")
        {'rate': 0.0001}
    """
    import yaml

    # The parser of libyaml, if PyYAML was built with it, is three times as fast.
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
    """Check before any work that outputs can be written and replace neither inputs nor each other.

    Args:
        outputs: Files to be written. None and ``-`` (standard output) are skipped.
        inputs: Files that are read; None and missing ones are skipped.

    Raises:
        InputError: An output is a folder, an input, another output, or cannot be written.
    """
    paths = [Path(path) for path in outputs if path is not None and str(path) != "-"]
    existing = [Path(path) for path in inputs if path is not None and os.path.exists(path)]
    for i, path in enumerate(paths):
        if path.is_dir():
            raise InputError("cannot write: it is a folder", where=str(path))
        if path.exists() and any(path.samefile(other) for other in existing):
            raise InputError(
                "is an input and would be replaced", where=str(path), fix="name another output"
            )
        if any(os.path.realpath(path) == os.path.realpath(other) for other in paths[:i]):
            raise InputError(
                "two outputs are the same file", where=str(path), fix="name another output"
            )
        folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
        try:
            # Permissions do not tell: a file system such as /proc takes no files at all.
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".rukh."):
                pass
        except OSError as error:
            raise InputError(f"cannot write: {error.strerror}", where=str(path)) from None


def check_output_folder(path: Path, expected: Collection[str]) -> None:
    """Check before any work that a folder can be replaced without loss.

    Args:
        path: The folder; it may be missing.
        expected: The names that it may contain, as an earlier run wrote them.

    Raises:
        InputError: It is a file, or contains other names.
    """
    if path.exists() and not path.is_dir():
        raise InputError("is not a folder", where=str(path), fix="name a new folder")
    if path.exists() and {entry.name for entry in path.iterdir()} - {*expected}:
        raise InputError("contains other files", where=str(path), fix="name a new folder")
