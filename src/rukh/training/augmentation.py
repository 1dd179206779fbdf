"""Augmentation: captions, types and images are dropped, and images swapped, so that a model copes
without them and learns when not to trust an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from rukh.data.corpus import DataConfig, labelled_pairs
from rukh.records import Post


class AugmentedView(NamedTuple):
    """What the model sees of a post in one epoch.

    Attributes:
        caption, types: Whether the caption and the types of the arguments are kept.
        image: Index of the post whose image is shown, or None.
        image_fits: Whether that image belongs to the text, or None.
    """

    caption: bool
    types: bool
    image: int | None
    image_fits: bool | None


def text_decides(post: Post) -> bool:
    """Whether the labels of a post hold whatever its image shows.

    ``Post.meta["text_decides"]`` says so; by default, they do if no labelled pair has an object.
    """
    stated = post.meta.get("text_decides")
    if isinstance(stated, bool):
        return stated
    objects = {thing.id for thing in post.objects}
    return not any({pair.head, pair.tail} & objects for pair in labelled_pairs(post))


def augment(
    posts: Sequence[Post], chosen: Sequence[int], data: DataConfig, seed: int
) -> list[AugmentedView]:
    """Draw a view of each chosen post.

    A post that loses its image keeps its labels: either the text decides them, or the model
    learns how frequent each label is, which is the best answer without evidence. An image is
    swapped only if the text decides, because otherwise the labels would be wrong.

    Args:
        posts: All posts; an image fits its post unless ``Post.meta["image_fits"]`` is False.
        chosen: Indices of the posts to augment; swapped images come from these posts as well.
        data: The probabilities.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(len(chosen), 4, generator=generator).tolist()
    partners = torch.randint(max(1, len(chosen)), (len(chosen),), generator=generator).tolist()
    views = []
    for (caption, types, drop, swap), partner, i in zip(draws, partners, chosen, strict=True):
        post = posts[i]
        image, fits = None, None
        if post.image is not None and drop >= data.image_dropout:
            image, fits = i, post.meta.get("image_fits") is not False
            other = posts[chosen[partner]].image
            different = other is not None and other != post.image
            if different and swap < data.image_swap and text_decides(post):
                image, fits = chosen[partner], False
        views.append(
            AugmentedView(caption >= data.caption_dropout, types >= data.type_dropout, image, fits)
        )
    return views
