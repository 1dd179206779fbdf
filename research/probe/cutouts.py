"""Cut-outs for the visual probe: which there are, what they show, and which split may use them.

They are photographs and drawings of Debian's ``tuxpaint-stamps-default`` and glyphs of
``fonts-noto-color-emoji``, read where they lie and never copied. The split is by cut-out and does
not depend on any seed, so that no test of any seed shows what some training has seen.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rukh.errors import InputError
from rukh.hub import cache_folder

if TYPE_CHECKING:
    from PIL import Image

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

SIDE = 200
"""The longer side of a cut-out in pixels; scenes are hardly larger."""

FEWEST = 12
"""A subject with fewer cut-outs is no subject of the probe."""


class Subject(NamedTuple):
    """What cut-outs of one kind are made of.

    Attributes:
        stamps: Patterns of stamps, without the folder and the ending; ``-`` takes away.
        glyphs: Emoji, divided by spaces; those joined by ``=`` show the same and share a split.
    """

    stamps: str
    glyphs: str


_FLAGS = (
    "AR AT AU BE BG BR CA CH CL CN CO CY CZ DE DK EE EG ES FI FR GB GR HR HU IE IN IS IT JP KE KR "
    "LT LU LV MA MX NG NL NO NZ PE PL PT RO RS SE SI SK TH TR UA US UY VN ZA"
)

SUBJECTS = {
    "animal": Subject(
        "animals/mammals/* animals/mammals/*/* animals/marsupials/* animals/birds/* "
        "-*edward_bear* -*silo* -animals/mammals/aquatic/*",
        "🐒 🦍 🦧 🐶 🐕 🦮 🐩 🐺 🦊 🦝 🐱 🐈 🦁 🐯 🐅 🐆 🐴 🐎 🦓 🦌 🦬 🐮 🐂 🐃 "
        "🐄 🐷 🐖 🐗 🐏 🐑 🐐 🐪 🐫 🦙 🦒 🐘 🦣 🦏 🦛 🐭 🐁 🐀 🐹 🐰 🐇 🐿 🦫 🦔 "
        "🐻 🐨 🐼 🦥 🦦 🦨 🦘 🦡 🦃 🐔 🐓 🐤 🐦 🐧 🕊 🦅 🦆 🦢 🦉 🦩 🦚 🦜",
    ),
    "vehicle": Subject(
        "vehicles/auto/* vehicles/construction/* vehicles/construction/cartoon/* "
        "vehicles/emergency/* vehicles/emergency/cartoon/* vehicles/farming/cartoon/* "
        "vehicles/masstransit/* vehicles/masstransit/cartoon/* vehicles/race/* "
        "vehicles/locomotive/cartoon/* vehicles/garbagetruck -*Sign",
        "🚂 🚃=🚋 🚄=🚅 🚆=🚇=🚊 🚈 🚝 🚞 🚌 🚍 🚎 🚐 🚑 🚒 🚓 🚔 🚕 🚖 🚗 🚘 🚙 🛻 🚚 🚛 🚜 🏎",
    ),
    "flower": Subject("plants/flowers/*", "🌸 🌹 🌺 🌻 🌼 🌷 🪷 💐 🪻"),
    "coin": Subject("symbols/money/*/coins/* symbols/money/japanese/*", ""),
    "clock": Subject(
        "symbols/clockface",
        "🕐=🕜 🕑=🕝 🕒=🕞 🕓=🕟 🕔=🕠 🕕=🕡 🕖=🕢 🕗=🕣 🕘=🕤 🕙=🕥 🕚=🕦 🕛=🕧",
    ),
    "flag": Subject(
        "town/flags/*",
        " ".join("".join(chr(ord(c) + 0x1F1A5) for c in code) for code in _FLAGS.split()),
    ),
    "nothing": Subject(
        "symbols/alphabets/english/filled/*/* symbols/math/*",
        "❤ 🧡 💛 💚 💙 💜 🖤 🤍 🤎 💖 💗 💓 💝",
    ),
    "person": Subject(
        "",
        "🧍 🧍‍♂️ 🧍‍♀️ 👦 👧 🧒 👨 👩 🧑 👴 👵 🧓 🧔 👱 "
        "🙋‍♂️ 🙋‍♀️ 💁‍♂️ 💁‍♀️ 🤷‍♂️ 🤷‍♀️ 🙎‍♂️ 🙎‍♀️ 👩‍🦰 👨‍🦰 👩‍🦱 👨‍🦱 👩‍🦳 👨‍🦳",
    ),
}
"""``nothing`` shows what no relation covers; ``person`` holds things."""

TONES = ("", "🏻", "🏼", "🏽", "🏾", "🏿")


class Cutout(NamedTuple):
    """One cut-out: a stamp's path below the stamps' folder, or an emoji."""

    subject: str
    name: str


class Assets(NamedTuple):
    """Where the images are.

    Attributes:
        stamps: The folder with ``animals``, ``vehicles`` and so on.
        font: ``NotoColorEmoji.ttf``.
    """

    stamps: Path
    font: Path


def find_assets() -> Assets:
    """The images in ``$RUKH_STAMPS``, fetched by ``make probe-assets``, or installed by Debian.

    Raises:
        InputError: They are not there; says what fetches them.
    """
    own = os.environ.get("RUKH_STAMPS")
    homes = [Path(own)] if own else [cache_folder() / "stamps"]
    stamps = ["", "stamps", "usr/share/tuxpaint/stamps"]
    fonts = ["NotoColorEmoji.ttf", "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"]
    system = Path("/")
    folders = [
        *(home / name for home in homes for name in stamps),
        *([] if own else [system / stamps[-1]]),
    ]
    folder = next((path for path in folders if (path / "animals").is_dir()), None)
    files = [*(home / name for home in homes for name in fonts), system / fonts[-1]]
    font = next((path for path in files if path.is_file()), None)
    if folder is None or font is None:
        what = "stamps (tuxpaint-stamps-default)" if folder is None else "NotoColorEmoji.ttf"
        raise InputError(
            f"the probe's images are missing: no {what}",
            where=str(homes[0]),
            fix="run: make probe-assets, or set RUKH_STAMPS to a folder that holds them",
        )
    return Assets(folder, font)


class Cutouts:
    """The cut-outs of one split.

    Args:
        assets: See :func:`find_assets`.
        split: Which of the three.

    Raises:
        InputError: A subject has fewer than :data:`FEWEST` cut-outs.
    """

    def __init__(self, assets: Assets, split: Split) -> None:
        self.assets = assets
        self.of = {name: split_of(groups(assets, name), split) for name in SUBJECTS}

    def load(self, cutout: Cutout) -> Image.Image:
        """The cut-out in RGBA, cropped to what is not transparent, at most :data:`SIDE` long."""
        return _load(self.assets, cutout.name).copy()


def groups(assets: Assets, name: str) -> list[list[Cutout]]:
    """A subject's cut-outs; those of one group show the same, and are never parted."""
    subject = SUBJECTS[name]
    out = [[Cutout(name, stamp)] for stamp in _stamps(assets.stamps, subject.stamps)]
    for together in subject.glyphs.split():
        tones = TONES if name == "person" else ("",)
        out.append([Cutout(name, _toned(g, tone)) for g in together.split("=") for tone in tones])
    if len(out) < FEWEST:
        raise InputError(
            f"{len(out)} cut-outs of {name!r}, fewer than {FEWEST}",
            where=str(assets.stamps),
            fix="run: make probe-assets",
        )
    return out


def split_of(groups_of_subject: list[list[Cutout]], split: Split) -> list[Cutout]:
    """Of a subject's groups 60 % train, 20 % val, 20 % test, in an order that a hash decides."""
    ordered = sorted(
        groups_of_subject, key=lambda g: hashlib.sha256(f"probe {g[0].name}".encode()).digest()
    )
    first, second = round(0.6 * len(ordered)), round(0.8 * len(ordered))
    part = {"train": ordered[:first], "val": ordered[first:second], "test": ordered[second:]}
    return [cutout for group in part[split] for cutout in group]


def _stamps(folder: Path, patterns: str) -> list[str]:
    names: set[str] = set()
    for pattern in patterns.split():
        if pattern.startswith("-"):
            names = {name for name in names if not Path(name).with_suffix("").match(pattern[1:])}
        else:
            names |= {p.relative_to(folder).as_posix() for p in folder.glob(f"{pattern}.png")}
    # Mirror images and numbered copies of what is there anyway are left out.
    return sorted(name for name in names if "_mirror" not in name)


def _toned(glyph: str, tone: str) -> str:
    """A skin tone stands right behind the person, before what is joined to it."""
    first, rest = glyph[0], glyph[1:]
    return first + tone + rest


@lru_cache(maxsize=2048)
def _load(assets: Assets, name: str) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    if name.endswith(".png"):
        with Image.open(assets.stamps / name) as stream:
            image = stream.convert("RGBA")
    else:
        font = ImageFont.truetype(str(assets.font), 109)  # the one size that its bitmaps have
        image = Image.new("RGBA", (180, 180))
        ImageDraw.Draw(image).text((20, 20), name, font=font, embedded_color=True)
    box = image.getchannel("A").point([0] * 32 + [255] * 224).getbbox()
    if box is None:
        raise InputError("shows nothing", where=name, fix="run: make probe-assets")
    image = image.crop(box)
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)
