"""Batches of like lengths, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def length_buckets(
    lengths: Sequence[int], batch_size: int, seed: int | None = None
) -> list[list[int]]:
    """Indices in batches whose members are of similar length, so that little is padding.

    Args:
        lengths: One length an item.
        batch_size: The most items a batch.
        seed: Shuffles items within windows of 50 batches, and the batches. None: longest first,
            for inference.

    Example:
        >>> length_buckets([3, 9, 4, 8], 2)
        [[1, 3], [2, 0]]
    """
    if seed is None:
        order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    window = batch_size * 50
    batches = []
    for first in range(0, len(order), window):
        near = sorted(order[first : first + window], key=lambda i: lengths[i])
        batches += [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def bounded(counts: Sequence[int], most: int) -> list[list[tuple[int, slice]]]:
    """Items of several things each, as parts of at most so many things.

    Only an item that is larger than a part is cut; an item of nothing stands in a part as well.

    Args:
        counts: How many things each item has.
        most: The most things a part, at least 1.

    Returns:
        Parts of ``(item, which of its things)``, in order.

    Example:
        >>> bounded([2, 2, 5], 4)[1:]
        [[(2, slice(0, 4, None))], [(2, slice(4, 5, None))]]
    """
    parts: list[list[tuple[int, slice]]] = []
    room = 0
    for item, count in enumerate(counts):
        first = 0
        while True:
            taken = min(count - first, most)
            if taken > room or not parts:
                parts.append([])
                room = most
            parts[-1].append((item, slice(first, first + taken)))
            first, room = first + taken, room - taken
            if first >= count:
                break
    return parts
