"""Weights are found at a path, in a package, and in the hub's cache, in that order."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from rukh import hub as weights
from rukh.errors import WeightsError
from rukh.hub import WeightPackage, fetch, find_weights, install, installed, model_folder

BODY = b"not really weights"
SUM = hashlib.sha256(BODY).hexdigest()
ONE = WeightPackage(
    "tiny", "text", "ours", ("tiny-pkg==1.0",), "model.safetensors", SUM, "org/tiny"
)
VISION = WeightPackage("eye", "vision", "ours", ("eye_pkg==1.0",), "eye.pth", SUM)
SPLIT = WeightPackage(
    "big", "text", "ours", ("big-1==1.0", "big-2==1.0", "big-3==1.0"), "model.safetensors", SUM
)


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for fake packages, an empty cache, no hub, and our own names only."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "WEIGHT_PACKAGES", (ONE, VISION, SPLIT))
    monkeypatch.setattr("huggingface_hub.snapshot_download", no_hub)
    return folder


def no_hub(name: str, **_: object) -> str:
    raise OSError("no route to the hub")


def put(site: Path, package: str, files: dict[str, bytes]) -> None:
    """Install files as pip does, with a record of them. Importing the package fails."""
    info = site / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    for name, body in {f"{package}-x/__init__.py": b"raise SystemExit", **files}.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(body)
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    import_module("importlib").invalidate_caches()


def put_one(site: Path, body: bytes = BODY) -> None:
    put(site, "tiny-pkg", {"tiny/m/model.safetensors": body, "tiny/m/config.json": b"{}"})


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, body in members.items():
            opened.writestr(name, body)
    return stream.getvalue()


GOOD = {"big/model.safetensors": BODY, "big/config.json": b"{}", "big/1_Pooling/config.json": b"{}"}


def put_split(site: Path, body: bytes) -> None:
    third = len(body) // 3
    for number, part in enumerate((body[:third], body[third:-third], body[-third:]), 1):
        put(site, f"big-{number}", {f"big-part_{number}/input/big.zip.00{number}": part})


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(BODY)
    return folder


def test_a_path_comes_first(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_one(site)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    # A folder without a model has the name by chance.
    assert find_weights("tiny", "text") == site / "tiny/m"
    (tmp_path / "tiny/config.json").touch()
    assert find_weights("tiny", "text") == Path("tiny")
    assert find_weights(model(tmp_path / "mine"), "vision") == tmp_path / "mine"


@pytest.mark.parametrize("name", ["tiny", "org/tiny"])
def test_a_package_is_found_but_not_imported(site: Path, name: str) -> None:
    put_one(site)
    before = set(sys.modules)
    assert find_weights(name, "text") == site / "tiny/m"
    assert not [name for name in set(sys.modules) - before if "tiny" in name]


def test_damage_is_noticed_after_a_successful_check(site: Path) -> None:
    put_one(site)
    file = find_weights("tiny", "text") / "model.safetensors"
    file.write_bytes(BODY[::-1])  # of the same size
    os.utime(file, ns=(1, 1))
    with pytest.raises(WeightsError, match=f"{SUM}.*pip uninstall tiny-pkg"):
        find_weights("tiny", "text")


def test_a_vision_encoder_is_its_file(site: Path) -> None:
    put(site, "eye_pkg", {"eye_pkg/models/eye.pth": BODY})
    assert find_weights("eye", "vision") == site / "eye_pkg/models/eye.pth"
    with pytest.raises(WeightsError, match="vision encoder, not a text encoder"):
        find_weights("eye", "text")


@pytest.mark.parametrize(
    ("name", "command"), [("tiny", "install tiny"), ("tiyn", "'tiny'.* rukh weights fetch tiyn")]
)
def test_missing_weights_have_a_command(name: str, command: str) -> None:
    with pytest.raises(WeightsError, match=command):
        find_weights(name, "text")


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, "../..", "a b/c", "a/b/c/d", "\ud800"])
def test_unusual_names_are_not_found(name: str) -> None:
    with pytest.raises(WeightsError):
        find_weights(name, "text")


class Hub:
    """A fake hub: what it has online, and what is in its cache."""

    def __init__(self, cached: dict[str, Path], online: dict[str, Path]) -> None:
        self.cached, self.online = cached, online
        self.revisions: list[str | None] = []

    def __call__(
        self,
        name: str,
        *,
        revision: str | None,
        local_files_only: bool,
        allow_patterns: list[str],
    ) -> str:
        assert not any(p.endswith((".bin", ".pt", ".pth", "*")) for p in allow_patterns)
        self.revisions.append(revision)
        if not local_files_only and name in self.online:
            self.cached[name] = self.online[name]
        if name not in self.cached:
            raise OSError("not found")
        return str(self.cached[name])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub({}, {})
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    return hub


def test_only_fetch_downloads(hub: Hub, tmp_path: Path) -> None:
    hub.online["org/other"] = model(tmp_path / "other")
    with pytest.raises(WeightsError, match="rukh weights fetch org/other"):
        find_weights("org/other", "text")
    assert not hub.cached
    assert fetch("org/other") == find_weights("org/other", "text") == tmp_path / "other"


def test_weights_from_the_hub_are_checked(hub: Hub, tmp_path: Path) -> None:
    hub.online["org/tiny"] = folder = model(tmp_path / "other")
    assert fetch("tiny") == folder
    assert find_weights("tiny", "text") == folder
    (folder / "model.safetensors").write_bytes(b"another model")
    with pytest.raises(WeightsError, match=str(SUM)):
        find_weights("tiny", "text")


def test_pickles_are_not_fetched(hub: Hub, tmp_path: Path) -> None:
    folder = hub.online["org/old"] = model(tmp_path / "old")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="no safetensors"):
        fetch("org/old")


def test_the_hub_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE.*no route"):
        fetch("org/other")
    with pytest.raises(WeightsError, match="rukh weights install eye"):
        fetch("eye")


class Pip:
    """A fake ``python -m pip``: records the packages it is to install, and calls ``work``."""

    def __init__(self, work: Callable[[list[str]], None] | None) -> None:
        self.work, self.packages = work, list[str]()

    def __call__(self, line: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert line[:5] == [sys.executable, "-m", "pip", "install", "--no-deps"]
        self.packages += line[5:]
        if self.work:
            self.work(line[5:])
        return subprocess.CompletedProcess(line, 0 if self.work else 1)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    pip = Pip(None)
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def test_install_runs_pip_once(site: Path, pip: Pip) -> None:
    pip.work = lambda _: put_one(site)
    assert install(ONE) == install(ONE) == find_weights("tiny", "text")
    assert pip.packages == ["tiny-pkg==1.0"]


def test_failed_installations(site: Path, pip: Pip) -> None:
    with pytest.raises(WeightsError, match="install --no-deps tiny-pkg==1.0"):
        install(ONE)
    pip.work = lambda _: put(site, "tiny-pkg", {"tiny/other": b""})
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        install(ONE)


def test_a_split_archive_is_joined_and_resumes(site: Path, pip: Pip, tmp_path: Path) -> None:
    body = archive(GOOD)
    put(site, "big-1", {"big-part_1/input/big.zip.001": body[:50]})  # pip was killed here
    killed = tmp_path / "cache/.big.123.part"
    killed.mkdir(parents=True)

    def work(wanted: list[str]) -> None:
        put(site, "big-2", {"big-part_2/input/big.zip.002": body[50:90]})
        put(site, "big-3", {"big-part_3/input/big.zip.003": body[90:]})

    pip.work = work
    folder = install(SPLIT)
    assert pip.packages == ["big-2==1.0", "big-3==1.0"]
    assert folder == find_weights("big", "text") == tmp_path / "cache/big/big"
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == {name.removeprefix("big/"): body for name, body in GOOD.items()}
    assert list((tmp_path / "cache").iterdir()) == [folder.parent]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({**GOOD, "big/model.safetensors": b"other"}, "expected weights"),
        ({"big/config.json": b"{}"}, "expected weights"),
        (None, "zip archive"),
    ],
)
def test_a_bad_archive_leaves_nothing(
    site: Path,
    tmp_path: Path,
    members: dict[str, bytes] | None,
    message: str,
) -> None:
    put_split(site, archive(GOOD)[:150] if members is None else archive(members))
    with pytest.raises(WeightsError, match=message):
        install(SPLIT)
    assert not list((tmp_path / "cache").iterdir()) and installed(SPLIT) is None


def test_no_member_is_unpacked_outside(site: Path, tmp_path: Path) -> None:
    put_split(site, archive({**GOOD, "big/../../evil": b"", "/../evil": b""}))
    install(SPLIT)
    assert {path.parent for path in tmp_path.rglob("*evil*")} <= {
        tmp_path / "cache/big",
        tmp_path / "cache/big/big",
    }


def test_model_folder(tmp_path: Path) -> None:
    assert model_folder(model(tmp_path / "m")) == tmp_path / "m"
    for home in (Path(weights.__file__).parent / "pretrained").glob("*/config.json"):
        assert model_folder(home.parent.name) == home.parent
    (tmp_path / "empty").mkdir()
    for absent in ("no-such-model", tmp_path / "empty", tmp_path / "m/config.json"):
        with pytest.raises(WeightsError, match="no model"):
            model_folder(absent)


def test_a_model_on_the_hub_is_downloaded_unless_it_is_forbidden(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hub.online["org/mine"] = folder = model(tmp_path / "snapshot")
    with pytest.raises(WeightsError, match="rukh weights fetch org/mine --revision v1"):
        model_folder("org/mine", revision="v1", local_files_only=True)
    (tmp_path / "org").mkdir()  # so that org/mine is rather a path with a typing error
    with pytest.raises(WeightsError, match="rukh weights fetch org/mine$"):
        model_folder("org/mine")
    assert not hub.cached
    assert model_folder("org/mine", revision="v1") == folder and hub.revisions[-1] == "v1"
    assert model_folder("org/mine") == model_folder("org/mine", local_files_only=True) == folder

    model(tmp_path / "org/mine")
    asked = len(hub.revisions)
    assert model_folder("org/mine") == Path("org/mine") and len(hub.revisions) == asked
    assert model_folder("org/mine", revision="v1") == folder


@pytest.mark.parametrize("name", ["mine", "./org/mine", "org/mine/part", Path("org/mine"), "~/x"])
def test_what_is_no_name_on_the_hub_is_never_looked_up(hub: Hub, name: str | Path) -> None:
    for revision in (None, "v1"):
        with pytest.raises(WeightsError, match=str(name)):
            model_folder(name, revision=revision)
    assert not hub.revisions


def test_models_that_the_hub_does_not_give(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="org/absent.*folder.*not found"):
        model_folder("org/absent")
    hub.online["org/other"] = folder = model(tmp_path / "other")
    for file in ("config.json", "model.safetensors"):
        (folder / file).unlink()
        with pytest.raises(WeightsError, match=f"org/other.*{file}"):
            model_folder("org/other")


@pytest.mark.parametrize("package", weights.WEIGHT_PACKAGES, ids=lambda package: package.name)
def test_the_installed_weights(package: WeightPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "WEIGHT_PACKAGES", (package,))
    path = installed(package)
    if path is None:
        pytest.skip(f"{package.name} is not installed; {package.install_hint}")
    assert find_weights(package.name, package.kind) == path
    assert path.is_dir() == (package.kind != "vision")
