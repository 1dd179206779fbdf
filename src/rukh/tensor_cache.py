"""Tensors that cost something to make, kept on disk under a hash of what they are made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from torch import Tensor

from rukh.errors import InputError
from rukh.files import atomic_open
from rukh.weights import cache


def kept(kind: str, key: Any, make: Callable[[], Tensor]) -> Tensor:
    """The tensor of this key: read where it was made before, else made and kept.

    The cache is only ever a short cut: what is absent or damaged is made anew, and a folder that
    cannot be written is no reason to fail.

    Args:
        kind: Folder in :func:`rukh.weights.cache`.
        key: Plain data that decides what ``make`` returns.
    """
    from safetensors.torch import load, save

    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    path = cache() / kind / f"{digest}.safetensors"
    try:
        return load(path.read_bytes())["vectors"]
    except Exception:
        made = make()
    try:
        with atomic_open(path, "wb") as stream:
            stream.write(save({"vectors": made.contiguous()}))
    except (InputError, OSError):
        pass
    return made
