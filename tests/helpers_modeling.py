"""Pairs, image features and examples that several tests use."""

from __future__ import annotations

from itertools import permutations

import torch

from rukh.modeling.vision_encoder import PatchMap
from rukh.records import Pair, Post


def all_pairs(post: Post) -> list[tuple[str, str]]:
    """Every ordered pair of a post's arguments."""
    return list(permutations([argument.id for argument in post.arguments], 2))


def make_patches(count: int = 6, seed: int = 0) -> PatchMap:
    """Random states of ``count`` patches side by side, 16 wide."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.arange(count) / count
    boxes = torch.stack([left, torch.zeros(count), left + 1 / count, torch.ones(count)], 1)
    return PatchMap(torch.randn(count, 16, generator=generator), boxes)


def swapped(post: Post) -> Post:
    """The post with head and tail of every pair swapped."""
    pairs = tuple(Pair(head=p.tail, tail=p.head, relation=p.relation) for p in post.pairs or ())
    return post.model_copy(update={"pairs": pairs})
