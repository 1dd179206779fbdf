"""Patch maps of pictures: of a frozen encoder, computed once for each picture and kept on disk; of
one that is trained, computed whenever they are asked for.

A map's file is named after the picture's bytes and lies in a folder named after the encoder, so
a cache is never stale: another encoder or other bytes are another file. Files appear whole or not
at all; work that was killed goes on where it stopped, and processes may share a folder.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from tqdm import tqdm

from rukh.errors import InputError
from rukh.modeling.image_io import PreparedImage, load_image, read_image
from rukh.modeling.vision_encoder import BATCH, PatchMap, VisionEncoder, encode_prepared
from rukh.records import Post
from rukh.utils.files import atomic_open

PREPROCESSING = 1
"""Raised whenever :mod:`rukh.modeling.image_io` comes to make other pixels of the same bytes."""

QUIET = 8
"""Pictures up to which no progress is shown."""

_HALF_MAX = torch.finfo(torch.float16).max

Source = Path | bytes


class FeatureCache:
    """Patch maps by picture.

    Args:
        folder: Where to keep them; None keeps the last ``limit`` of them in memory.
        encoder: What makes them; its weights must not change while the cache is in use.
        batch_size: Pictures of one pass.
        limit: The most maps kept in memory where there is no folder.

    Attributes:
        folder: Where this encoder's maps are kept, inside the given folder, or None.
        missing: Pictures that are not there, with the reason.
        broken: Pictures that are there but cannot be read, with the reason.
    """

    def __init__(
        self,
        folder: Path | None,
        encoder: VisionEncoder,
        *,
        batch_size: int = BATCH,
        limit: int = 2048,
    ) -> None:
        self.encoder, self.batch_size, self.limit = encoder, batch_size, limit
        self.missing: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        maker = f"{encoder.fingerprint} {PREPROCESSING}"
        self.folder = folder and Path(folder) / hashlib.sha256(maker.encode()).hexdigest()[:16]
        self._memory: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, sources: Sequence[Source]) -> list[PatchMap | None]:
        """The map of each picture, states in float32; None for one that cannot be had.

        What is not there yet is computed; pictures that fail are noted, never raised.
        """
        with self._lock:
            keys = [self._key(source) for source in sources]
            found = {key: self._load(key) for key in keys if key is not None}
            todo = {
                key: source
                for key, source in zip(keys, sources, strict=True)
                if key is not None and found[key] is None
            }
            found.update(self._compute(todo))
            return [None if key is None else found[key] for key in keys]

    def fill(self, sources: Iterable[Source]) -> int:
        """Compute what is not there yet, and hold none of it in memory if there is a folder.

        Returns:
            How many maps were computed; of pictures with the same bytes, one is.
        """
        with self._lock:
            todo: dict[str, Source] = {}
            for source in sources:
                key = self._key(source)
                if key is not None and key not in todo and self._load(key) is None:
                    todo[key] = source
            return sum(1 for _ in self._compute(todo))

    def _key(self, source: Source) -> str | None:
        """SHA-256 of the picture's bytes; None, and noted, where they cannot be read."""
        name = _name(source)
        self.missing.pop(name, None)
        self.broken.pop(name, None)
        try:
            return hashlib.sha256(read_image(source, name)).hexdigest()
        except InputError as error:
            self._note(source, error)
            return None

    def _compute(self, todo: dict[str, Source]) -> Iterator[tuple[str, PatchMap]]:
        items = list(todo.items())
        quiet = True if len(items) <= QUIET else None  # None: only where one can see it
        with tqdm(total=len(items), desc="pictures", leave=False, disable=quiet) as bar:
            for first in range(0, len(items), self.batch_size):
                batch = items[first : first + self.batch_size]
                pictures = {key: self._prepare(key, source) for key, source in batch}
                ready = {key: one for key, one in pictures.items() if one is not None}
                with torch.no_grad():
                    maps = encode_prepared(self.encoder, list(ready.values()))
                for key, one in zip(ready, maps, strict=True):
                    blob = _pack(one)
                    self._store(key, blob)
                    yield key, _unpack(blob)  # what a later run will read, to the bit
                bar.update(len(batch))

    def _prepare(self, key: str, source: Source) -> PreparedImage | None:
        name = _name(source)
        try:
            data = read_image(source, name)
            if hashlib.sha256(data).hexdigest() != key:
                raise InputError("changed while it was read", where=name)
            image = load_image(data, name)
        except InputError as error:
            self._note(source, error)
            return None
        return self.encoder.prepared(image)

    def _note(self, source: Source, error: InputError) -> None:
        gone = isinstance(source, Path) and not os.path.exists(source)
        (self.missing if gone else self.broken)[_name(source)] = error.problem

    def _path(self, folder: Path, key: str) -> Path:
        return folder / key[:2] / f"{key}.safetensors"

    def _load(self, key: str) -> PatchMap | None:
        try:
            if self.folder is None:
                return _unpack(self._memory[key])
            return _unpack(self._path(self.folder, key).read_bytes())
        except (KeyError, OSError, SafetensorError):  # absent, or damaged on the disk
            return None

    def _store(self, key: str, blob: bytes) -> None:
        if self.folder is not None:
            with atomic_open(self._path(self.folder, key), "wb") as stream:
                stream.write(blob)
            return
        self._memory[key] = blob
        while len(self._memory) > self.limit:
            del self._memory[next(iter(self._memory))]


def image_features(
    posts: Sequence[Post | None], features: FeatureCache | None
) -> list[PatchMap | None]:
    """The patch map of each post's picture; None where it has none, it cannot be read, or there is
    no post.
    """
    out: list[PatchMap | None] = [None] * len(posts)
    images = [None if post is None else post.image for post in posts]
    sources = {i: image for i, image in enumerate(images) if image is not None}
    if features is not None and sources:
        for i, found in zip(sources, features.get(list(sources.values())), strict=True):
            out[i] = found
    return out


def _name(source: Source) -> str:
    if isinstance(source, Path):
        return str(source)
    return f"bytes {hashlib.sha256(source).hexdigest()[:16]}"


def _pack(one: PatchMap) -> bytes:
    half = one.states.clamp(-_HALF_MAX, _HALF_MAX).half()
    return save({"states": half.contiguous(), "boxes": one.boxes.contiguous()})


def _unpack(blob: bytes) -> PatchMap:
    tensors = load(blob)
    return PatchMap(tensors["states"].float(), tensors["boxes"])
