"""Files that are never half-written, by renaming what was written beside; and data in them."""

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
    """Open a file for writing; it appears under its name, whole, only if the block succeeds."""
    path = Path(path)
    if path.is_dir():
        raise InputError("cannot write: it is a folder", where=str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
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
    """Fill a fresh folder; it replaces ``path`` only if the block succeeds."""
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
            shutil.rmtree(old, ignore_errors=True)  # of a killed process that had our number
            os.replace(path, old)
        os.replace(part, path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Hold a folder for this process within the block; a killed process lets go by itself.

    Raises:
        InputError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                "another process is at work in this folder", where=str(folder), fix="let it finish"
            ) from None
        yield


def write_json(data: Any, path: str | Path) -> None:
    """Write JSON to a path, or to standard output for ``-``; an existing file is replaced."""
    text = json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    with atomic_open(Path(path)) as stream:
        stream.write(text)


def read_json(path: Path) -> Any:
    """Read JSON. Raises InputError, with the line, where it is missing or broken."""
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
    """Plain data from YAML, where ``1e-4`` is a number (in YAML 1.1 it is not) and a key that
    stands twice is a mistake (in PyYAML the last one holds).

    Args:
        where: What errors name, beside the line.

    Raises:
        InputError: It is none, or a key stands twice.

    Example:
        >>> parse_yaml("rate: 1e-4", "a file")
        {'rate': 0.0001}
    """
    import yaml

    # libyaml's parser, where PyYAML was built with it, is three times as fast and as safe.
    safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(safe):  # type: ignore[misc]
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                    continue
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), [*"-+0123456789"]
    )
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark  # libyaml counts a line more behind the end
        line = f":{min(mark.line, text.count(chr(10))) + 1}" if mark else ""
        raise InputError(f"not YAML: {error.problem}", where=where + line) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"not YAML: {' '.join(str(error).split())}", where=where) from None


def check_output(path: str | Path | None, *inputs: str | Path | None) -> None:
    """Say before any work that an output could not be written, or would replace an input.

    Args:
        path: None and ``-`` are no files, and always good.

    Raises:
        InputError: It is a folder, one of the inputs, or nothing can be written there.
    """
    if path is None or str(path) == "-":
        return
    path = Path(path)
    if path.is_dir():
        raise InputError("cannot write: it is a folder", where=str(path))
    there = [Path(one) for one in inputs if one is not None and os.path.exists(one)]
    if path.exists() and any(path.samefile(one) for one in there):
        raise InputError("it is the input", where=str(path), fix="name another file to write")
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    try:
        # Tried, as no rights tell of a file system that takes no files, such as /proc.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".rukh."):
            pass
    except OSError as error:
        raise InputError(f"cannot write there: {error.strerror}", where=str(path)) from None


def check_outputs(outputs: Sequence[str | Path | None], *inputs: str | Path | None) -> None:
    """See :func:`check_output`; and that no two outputs are one file."""
    told = [Path(path) for path in outputs if path is not None]
    for i, path in enumerate(told):
        check_output(path, *inputs)
        if any(os.path.realpath(path) == os.path.realpath(other) for other in told[:i]):
            raise InputError(
                "two outputs are the same", where=str(path), fix="name another file for one"
            )


def check_folder(path: Path, holds: Collection[str]) -> None:
    """Say before any work that a folder to be replaced is none, or holds other things.

    Args:
        holds: The names of what it may hold, as a run before left them.

    Raises:
        InputError: See above.
    """
    if path.exists() and not path.is_dir():
        raise InputError("is no folder", where=str(path), fix="give --out a new folder")
    if path.exists() and {one.name for one in path.iterdir()} - {*holds}:
        raise InputError("holds other files", where=str(path), fix="give --out a new folder")
