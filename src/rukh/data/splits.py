"""The held-out fold of the training posts, by which everything is decided."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rukh.records import Post


def split_fold(posts: Sequence[Post], share: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """Indices of the posts to train on and of the held-out fold.

    Posts that share a picture or a sentence, however indirectly, fall on the same side.
    """
    fold: list[int] = []
    for members in _groups(posts, seed):
        if len(fold) >= share * len(posts):
            break
        fold += members
    held = set(fold)
    return [i for i in range(len(posts)) if i not in held], sorted(fold)


def _groups(posts: Sequence[Post], seed: int) -> list[list[int]]:
    """Indices of posts that must not be parted, in an order that the seed decides."""
    parent = list(range(len(posts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[object, int] = {}
    for i, post in enumerate(posts):
        keys: list[object] = [("text", post.text)]
        if post.image is not None:
            keys.append(("image", post.image))
        for key in keys:
            parent[root(i)] = root(first.setdefault(key, i))
    groups: dict[int, list[int]] = {}
    for i in range(len(posts)):
        groups.setdefault(root(i), []).append(i)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(groups), generator=generator).tolist()
    members = list(groups.values())
    return [members[g] for g in order]
