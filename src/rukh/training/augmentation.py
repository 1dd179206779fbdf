"""Data augmentation: captions, types and images are dropped, and images are swapped.

The model thereby learns to work without these inputs, and to recognize images that do not match.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from rukh.data.corpus import DataConfig
from rukh.records import Post, labelled_pairs


class AugmentedView(NamedTuple):
    """The inputs that the model gets for a post in one epoch.

    Attributes:
        caption, types: Whether the caption and the types of the arguments are kept.
        image: Index of the post whose image is used; None if no image is used.
        image_fits: Whether that image belongs to the text; None if no image is used.
    """

    caption: bool
    types: bool
    image: int | None
    image_fits: bool | None


def text_decides(post: Post) -> bool:
    """Whether the text of a post determines its labels, independently of the image.

    This is ``Post.meta["text_decides"]`` if given, else whether no labelled pair has an object.
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

    A post whose image is dropped keeps its labels. If the text determines them, they are still
    right; if not, the model learns to predict the label frequencies, which is the best it can do
    without evidence. An image is swapped only if the text determines the labels.

    Args:
        posts: All posts. The image of a post fits unless ``Post.meta["image_fits"]`` is False.
        chosen: Indices of the posts to augment, and of the posts that images are swapped with.
        data: Options with the probabilities of dropping and swapping.
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
