"""Atomic writing of files and folders, file locks, JSON and YAML, and checks of outputs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from rukh.errors import InputError
from rukh.utils.parsing import decode_utf8, parse_json

FILE_LIMIT = 64_000_000
"""Maximum size of a file that is read as a whole, in bytes."""


@contextmanager
def file_errors(path: str | Path, action: str = "read") -> Iterator[None]:
    """Convert an OSError, UnicodeDecodeError or error of gzip to an InputError with the file."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error):
        fix = "compress it again, or rename it if it is not compressed"
        raise InputError("not a complete gzip file", where=str(path), fix=fix) from None
    except OSError as error:
        raise InputError(f"cannot {action}: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", where=str(path)) from None


def is_standard_output(path: str | Path) -> bool:
    """Whether an output is standard output: ``-`` or ``/dev/stdout``."""
    return str(path) in {"-", "/dev/stdout"}


def is_stream(path: str | Path) -> bool:
    """Whether a file can be read or written only once: ``-``, a pipe or a device, for example."""
    path = Path(path)
    return str(path) == "-" or (path.exists() and not path.is_file() and not path.is_dir())


def is_compressed(path: str | Path) -> bool:
    """Whether the name of a file says that it is compressed by gzip."""
    return str(path).endswith(".gz")


@contextmanager
def open_input(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes. A file whose name ends in ``.gz`` is decompressed."""
    with open(path, "rb") as stream:
        if is_compressed(path):
            with gzip.GzipFile(fileobj=stream) as decompressed:
                yield decompressed  # type: ignore[misc]
        else:
            yield stream


@contextmanager
def open_stream(path: str | Path) -> Iterator[IO[bytes]]:
    """Open standard input if the path is ``-``, else a file as :func:`open_input` does.

    Raises:
        InputError: Standard input is closed.
    """
    if str(path) != "-":
        with open_input(path) as stream:
            yield stream
    elif sys.stdin is None:
        raise InputError("standard input is closed", where="-", fix="name a file")
    else:
        yield sys.stdin.buffer


@contextmanager
def atomic_open(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file for writing; it replaces ``path`` only if the block succeeds.

    Of a symbolic link, the target is replaced. A pipe or a character device is written directly,
    and so is standard output (``-``). If the name ends in ``.gz``, the file is compressed.
    """
    path = Path(path)
    if is_standard_output(path):
        stream: IO[Any] = sys.stdout.buffer if "b" in mode else sys.stdout
        yield stream
        stream.flush()
        return
    _check_writable(path)
    direct, target = is_stream(path), follow_links(path)
    part = path if direct else target.with_name(f".{target.name}.{os.getpid()}.part")
    with file_errors(path, "write"):
        if not direct:
            target.parent.mkdir(parents=True, exist_ok=True)
        raw = open(part, "wb")
    try:
        with name_file(path), ExitStack() as stack:
            stack.enter_context(raw)
            layer: IO[Any] = raw
            stream = raw
            if is_compressed(path):
                # Neither a name nor a time, so that the same content gives the same bytes.
                layer = cast("IO[Any]", gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
                stream = stack.enter_context(layer)
            if "b" not in mode:
                stream = io.TextIOWrapper(stream, encoding="utf-8", newline="\n")
                stack.enter_context(stream)
            yield stream
            stream.flush()
            if layer is not raw:
                layer.close()
            raw.flush()
            if not direct:
                os.fsync(raw.fileno())
        if not direct:
            os.replace(part, target)
    finally:
        if not direct:
            part.unlink(missing_ok=True)


@contextmanager
def name_file(path: Path) -> Iterator[None]:
    """Add the name of the file to an OSError that has none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def follow_links(path: Path) -> Path:
    """Return the file that a symbolic link leads to, which need not exist; other paths as is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


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


def check_empty(folder: Path) -> None:
    """Raise InputError if a folder to write exists and is not empty."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError("is not an empty folder", where=str(folder), fix="choose a new folder")


def check_replaceable(folder: Path) -> None:
    """Raise InputError if a folder to write exists, unless it is empty or a model."""
    if not (folder / "config.json").is_file():
        check_empty(folder)


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
    with atomic_open(Path(path)) as stream:
        stream.write(text)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises InputError if it is missing, invalid or too large."""
    with file_errors(path), open_input(path) as stream:
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
        colon = "mapping values" in str(error.problem)
        fix = "write a text that has ': ' in it in quotes" if colon else None
        raise InputError(f"not YAML: {error.problem}", where=where + line, fix=fix) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"not YAML: {' '.join(str(error).split())}", where=where) from None


def check_new(out: Path | None, contents: str) -> None:
    """Raise InputError if a file exists that a command must not replace.

    Args:
        contents: What the file may contain that is worth keeping.
    """
    if out is not None and (out.exists() or out.is_symlink()):
        problem = f"the file exists and may contain {contents}"
        raise InputError(problem, where=str(out), fix="name a new file")


def check_outputs(outputs: Sequence[str | Path | None], *inputs: str | Path | None) -> None:
    """Check that outputs can be written, and replace neither inputs nor each other.

    Call this before any long work. None, standard output and missing inputs are skipped.

    Raises:
        InputError: An output cannot be written, is a folder or disk, or is another given file.
    """
    paths = [Path(path) for path in outputs if path is not None and not is_standard_output(path)]
    existing = [Path(path) for path in inputs if path is not None and os.path.exists(path)]
    for i, path in enumerate(paths):
        _check_writable(path)
        if path.is_char_device():
            continue
        problem = None
        if path.exists() and any(path.samefile(other) for other in existing):
            problem = "is an input and would be replaced"
        elif os.path.realpath(path) in map(os.path.realpath, paths[:i]):
            problem = "two outputs are the same file"
        if problem:
            raise InputError(problem, where=str(path), fix="name another output")
        if path.is_fifo():
            continue
        parents = follow_links(path).absolute().parents
        folder = next((parent for parent in parents if parent.exists()), Path("/"))
        # Permissions are not enough: on a file system such as /proc, no file can be created.
        with (
            file_errors(path, "write"),
            tempfile.NamedTemporaryFile(dir=folder, prefix=".rukh."),
        ):
            pass


def _check_writable(path: Path) -> None:
    """Raise InputError for what is neither a file, a pipe nor a character device."""
    if path.exists() and not (path.is_file() or path.is_fifo() or path.is_char_device()):
        raise InputError("cannot write: not a regular file", where=str(path))
