"""A cache of the features that the frozen vision encoder computes for each image.

Features are stored by a hash of the image's content, in one file per encoder, so they are never
outdated. An interrupted run finds the features that it has computed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from rukh.errors import InputError
from rukh.modeling.image_io import load_image, read_image
from rukh.modeling.vision_encoder import PatchMap, VisionEncoder, encode_images
from rukh.records import Post
from rukh.utils.cache import DiskCache, content_key
from rukh.utils.progress import progress_bar

logger = logging.getLogger(__name__)

PREPROCESSING_VERSION = 1
"""Increase this whenever a change to :mod:`rukh.modeling.image_io` changes the pixels."""
MAX_WARNINGS = 10
"""Maximum number of unreadable images to warn about; further ones are logged at level INFO."""
MAX_IN_MEMORY = 2048
"""Maximum number of images in a cache without a folder."""

_READ_TOGETHER = 32  # images whose encoded bytes are in memory at once
_HALF_MAX = torch.finfo(torch.float16).max

Source = Path | bytes


class FeatureCache:
    """Computes the features of each image once, and stores them.

    Several threads and processes may use a cache at once.

    Args:
        folder: Folder to store the features in, one file per encoder. None: keep them in memory.
        encoder: Vision encoder, whose weights must not change while the cache is in use.

    Attributes:
        missing: Images that do not exist: error message by path.
        broken: Images that exist but cannot be read: error message by path.
    """

    def __init__(self, folder: Path | None, encoder: VisionEncoder) -> None:
        self.encoder = encoder
        self.missing: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self._stored: DiskCache | _MemoryCache = _MemoryCache()
        if folder is not None:
            version = content_key(encoder.fingerprint, str(PREPROCESSING_VERSION))
            self._stored = DiskCache(folder / f"{version[:16]}.sqlite")
        self._lock = threading.Lock()

    def get(self, sources: Sequence[Source]) -> list[PatchMap | None]:
        """Return the features of each image, with float32 states; compute those not stored yet.

        The result is None for an image that cannot be read. Such an image is logged once, and is
        listed in :attr:`missing` or :attr:`broken` until it can be read.
        """
        return [features for some in self._process(sources) for features in some]

    def fill(self, sources: Sequence[Source]) -> None:
        """Compute and store the features that are not stored yet."""
        for _ in self._process(sources):
            pass

    def _process(self, sources: Sequence[Source]) -> Iterator[list[PatchMap | None]]:
        """Yield the features of the images in chunks."""
        with progress_bar(total=len(sources), desc="images", unit="image", delay=2) as progress:
            for first in range(0, len(sources), _READ_TOGETHER):
                some = sources[first : first + _READ_TOGETHER]
                with self._lock:
                    features = self._process_some(some)
                yield features
                progress.update(len(some))

    def _process_some(self, sources: Sequence[Source]) -> list[PatchMap | None]:
        contents: dict[Source, bytes] = {}
        errors: dict[Source, InputError] = {}
        for source in sources:
            try:
                contents[source] = read_image(source)
            except InputError as error:
                errors[source] = error
        keys = {source: content_key(data) for source, data in contents.items()}
        features = _unpack(self._stored.get_many(list(set(keys.values()))))
        images = {}
        for source, key in keys.items():
            if key not in features and key not in images:
                try:
                    images[key] = load_image(contents[source])
                except InputError as error:
                    errors[source] = error
        maps = encode_images(self.encoder, list(images.values()))
        packed = {key: _pack(one) for key, one in zip(images, maps, strict=True)}
        self._stored.put_many(packed)
        features |= _unpack(packed)  # in the precision in which they are stored
        for source in sources:
            self._record(source, errors.get(source))
        return [features.get(keys.get(source, "")) for source in sources]

    def _record(self, source: Source, error: InputError | None) -> None:
        """Update :attr:`missing` and :attr:`broken` for an image."""
        name = str(source) if isinstance(source, Path) else f"bytes {content_key(source)[:16]}"
        if error is None:
            self.missing.pop(name, None)
            self.broken.pop(name, None)
            return
        exists = isinstance(source, bytes) or os.path.exists(source)
        problems = self.broken if exists else self.missing
        if name not in problems:
            known = len(self.missing) + len(self.broken)
            level = logging.WARNING if known < MAX_WARNINGS else logging.INFO
            logger.log(level, "cannot use the image %s: %s", name, error.problem)
        problems[name] = error.problem


class _MemoryCache(dict[str, bytes]):
    """A cache like :class:`~rukh.utils.cache.DiskCache` that lives in memory."""

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return {key: self[key] for key in keys if key in self}

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        self.update(entries)
        while len(self) > MAX_IN_MEMORY:
            del self[next(iter(self))]  # the oldest


def features_of(posts: Sequence[Post | None], cache: FeatureCache | None) -> list[PatchMap | None]:
    """Return the features of each post's image.

    The result is None if there is no cache, no post or no image, or the image cannot be read.
    """
    sources = [post.image for post in posts if post is not None and post.image is not None]
    if cache is None or not sources:
        return [None] * len(posts)
    features = iter(cache.get(sources))
    return [None if post is None or post.image is None else next(features) for post in posts]


def _pack(features: PatchMap) -> bytes:
    half = features.states.clamp(-_HALF_MAX, _HALF_MAX).half()
    return save({"states": half.contiguous(), "boxes": features.boxes.contiguous()})


def _unpack(packed: Mapping[str, bytes]) -> dict[str, PatchMap]:
    """Unpack stored features, by key, and skip damaged ones."""
    features = {}
    for key, data in packed.items():
        with suppress(SafetensorError, KeyError):
            tensors = load(data)
            features[key] = PatchMap(tensors["states"].float(), tensors["boxes"])
    return features
