"""Batches of bounded size: items of similar length, and parts of items that are too large."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_WINDOW = 50  # batches among which items are sorted by length when the order is random


def batches_by_length(
    lengths: Sequence[int],
    max_items: int,
    max_positions: int | None = None,
    seed: int | None = None,
) -> list[list[int]]:
    """Group item indices into batches of similar length, so that little is padding.

    Args:
        max_positions: Maximum number of positions per batch, padding included; a longer item is a
            batch of its own.
        seed: Shuffle items, and then batches. None: longest first, for inference.

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
    """Divide items that have several elements each into parts of a bounded number of elements.

    Only an item larger than a part is split; an item without elements belongs to a part as well.
    Parts are in order, as lists of ``(item, slice of its elements)``.

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
