"""Embed texts with a cache, so that no text is embedded twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rukh.utils.cache import DiskCache, content_key
from rukh.utils.progress import progress_bar

CHUNK = 256
"""Number of texts that are embedded and stored together."""
_NO_CACHE = DiskCache(None)


def embed_texts(
    texts: Sequence[str],
    embed: Callable[[list[str]], ArrayLike],
    cache: DiskCache = _NO_CACHE,
) -> NDArray[np.float32]:
    """Embed ``N`` texts as ``(N, d)``. Texts in the cache, and repeated texts, are not recomputed.

    Args:
        texts: The texts, at least one.
        embed: Function from at most 256 texts of similar length to vectors ``(n, d)``.
        cache: Cache that is used by this encoder only.
    """
    keys = [content_key(text) for text in texts]
    stored = cache.get_many(list(dict.fromkeys(keys)))
    vectors = {key: np.frombuffer(value, np.float32) for key, value in stored.items()}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
    by_length = sorted(missing, key=lambda key: len(missing[key]))
    with progress_bar(total=len(missing), desc="embedding texts", unit="text", delay=2) as progress:
        for first in range(0, len(by_length), CHUNK):
            chunk = by_length[first : first + CHUNK]
            new = np.asarray(embed([missing[key] for key in chunk]), np.float32)
            cache.put_many({key: row.tobytes() for key, row in zip(chunk, new, strict=True)})
            vectors.update(zip(chunk, new, strict=True))
            progress.update(len(chunk))
    if len({vector.shape for vector in vectors.values()}) > 1:
        return embed_texts(texts, embed)  # the cache holds vectors of another encoder
    return np.stack([vectors[key] for key in keys])
