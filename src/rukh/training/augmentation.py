"""Augmentation of posts in training: captions, types and images are dropped, images swapped.

A model that was trained this way copes without them, and learns when not to trust an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from rukh.data.corpus import DataConfig
from rukh.records import Post


class AugmentedView(NamedTuple):
    """What the model sees of a post in one epoch.

    Attributes:
        caption, types: Whether the caption and the types of the arguments are kept.
        image: Index of the post whose image is shown, or None for no image.
        image_fits: Whether that image belongs to the text; None without an image.
    """

    caption: bool
    types: bool
    image: int | None
    image_fits: bool | None


def text_decides(post: Post) -> bool:
    """Whether the labels of a post hold whatever its image shows.

    ``Post.meta["text_decides"]`` says so if it is set. Otherwise they do if all labelled pairs are
    pairs of text entities.

    Example:
        >>> post = Post(id="0", text="Ann in Rome", entities=[
        ...     {"id": "a", "start": 0, "end": 3}, {"id": "r", "start": 7, "end": 11}],
        ...     pairs=[{"head": "a", "tail": "r", "relation": "in"}])
        >>> unclear = post.model_copy(update={"meta": {"text_decides": False}})
        >>> text_decides(post), text_decides(unclear)
        (True, False)
    """
    stated = post.meta.get("text_decides")
    if isinstance(stated, bool):
        return stated
    objects = {thing.id for thing in post.objects}
    return not any({p.head, p.tail} & objects for p in post.pairs or () if p.relation is not None)


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
        data: The probabilities ``caption_dropout``, ``type_dropout``, ``image_dropout`` and
            ``image_swap``.
        seed: Determines the result together with the other arguments.
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
