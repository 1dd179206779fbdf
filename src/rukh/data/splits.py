"""Group posts that share a text or an image, and split off a dev set of whole groups."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from rukh.records import Post


def group_ids(texts: Iterable[Hashable], images: Iterable[Hashable | None]) -> list[int]:
    """Assign one group id to all items that share a text or an image, directly or transitively.

    Ids are 0, 1, ... in the order of each group's first item. Items with image None share no image.

    Example:
        >>> group_ids(["a", "b", "b", "c"], ["1.jpg", "1.jpg", None, None])
        [0, 0, 0, 1]
    """
    parent: list[int] = []

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[Hashable, int] = {}
    for item, (text, image) in enumerate(zip(texts, images, strict=True)):
        parent.append(item)
        keys = [("text", text)] if image is None else [("text", text), ("image", image)]
        for key in keys:
            parent[root(item)] = root(first.setdefault(key, item))
    ids: dict[int, int] = {}
    return [ids.setdefault(root(item), len(ids)) for item in range(len(parent))]


def split_dev(posts: Sequence[Post], fraction: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """Split posts into a training set and a dev set that share no text and no image.

    Groups of posts (see :func:`group_ids`) are drawn at random until the dev set holds at least
    ``fraction`` of the posts. Returns the indices of both sets, ascending.
    """
    import torch

    groups: dict[int, list[int]] = {}
    ids = group_ids((post.text for post in posts), (post.image for post in posts))
    for index, group in enumerate(ids):
        groups.setdefault(group, []).append(index)
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
    dev: set[int] = set()
    for group in order:
        if len(dev) >= fraction * len(posts):
            break
        dev.update(groups[group])
    return [i for i in range(len(posts)) if i not in dev], sorted(dev)
