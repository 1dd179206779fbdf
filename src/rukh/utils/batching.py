"""Batches of limited size: of items of similar length, or of parts of large items."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_WINDOW = 50  # number of batches within which items are sorted by length in random order


def batches_by_length(
    lengths: Sequence[int],
    max_items: int,
    max_positions: int | None = None,
    seed: int | None = None,
) -> list[list[int]]:
    """Group item indices into batches of similar length, to reduce padding.

    Args:
        lengths, max_items: Length of each item, and maximum number of items per batch.
        max_positions: Maximum number of positions per batch, including padding. A longer item
            gets its own batch.
        seed: Random seed for shuffling items and batches. None: longest first, for inference.

    Example:
        >>> batches_by_length([3, 9, 4, 8], 2)
        [[1, 3], [2, 0]]
        >>> batches_by_length([3, 9, 4, 8], 2, max_positions=10)
        [[1], [3], [2, 0]]
    """
    if seed is None:
        order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
        batches = _chunks(order, max_items)
    else:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(lengths), generator=generator).tolist()
        batches = []
        for window in _chunks(order, max_items * _WINDOW):
            batches += _chunks(sorted(window, key=lambda i: lengths[i]), max_items)
        batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
    if max_positions is None:
        return batches
    return [
        part
        for batch in batches
        for part in _chunks(batch, max(1, max_positions // max(1, *(lengths[i] for i in batch))))
    ]


def _chunks(items: list[int], size: int) -> list[list[int]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def split_by_count(counts: Sequence[int], max_count: int) -> list[list[tuple[int, slice]]]:
    """Split items with the given numbers of elements into parts of at most ``max_count`` elements.

    A part is a list of ``(item, slice of its elements)``. Items stay in order, and are split
    only if larger than a part. An item without elements is in one part, with an empty slice.

    Example:
        >>> split_by_count([2, 2, 5], 4)[1:]
        [[(2, slice(0, 4, None))], [(2, slice(4, 5, None))]]
    """
    parts: list[list[tuple[int, slice]]] = []
    room = 0
    for item, count in enumerate(counts):
        for first in range(0, max(count, 1), max_count):
            size = min(count - first, max_count)
            if size > room or not parts:
                parts.append([])
                room = max_count
            parts[-1].append((item, slice(first, first + size)))
            room -= size
    return parts
