"""How a post is shown in one epoch: with or without its caption, types and picture, or with another
post's picture, so that a model does without them, and learns when not to trust a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from rukh.data.corpus import DataConfig
from rukh.records import Post


class AugmentedView(NamedTuple):
    """What a post is shown with.

    Attributes:
        caption, types: Whether with its own.
        picture: Index of the post whose picture it is; None for none.
        fits: Whether the picture fits the text, as far as that is known; None where there is none.
    """

    caption: bool
    types: bool
    picture: int | None
    fits: bool | None


def text_decides(post: Post) -> bool:
    """Whether the labels of a post hold whatever its picture shows.

    What the data says, as ``text_decides`` in ``Post.meta``, holds; where it says nothing, they do
    where all labelled pairs are of two text entities.

    Example:
        >>> post = Post(id="0", text="Ann in Rome", entities=[
        ...     {"id": "a", "start": 0, "end": 3}, {"id": "r", "start": 7, "end": 11}],
        ...     pairs=[{"head": "a", "tail": "r", "relation": "in"}])
        >>> silent = post.model_copy(update={"meta": {"text_decides": False}})
        >>> text_decides(post), text_decides(silent)
        (True, False)
    """
    said = post.meta.get("text_decides")
    if isinstance(said, bool):
        return said
    seen = {thing.id for thing in post.objects}
    return not any({p.head, p.tail} & seen for p in post.pairs or () if p.relation is not None)


def augment(
    posts: Sequence[Post], chosen: Sequence[int], data: DataConfig, seed: int
) -> list[AugmentedView]:
    """For each chosen post what it is shown with; the shares are the data's ``caption_dropout``,
    ``type_dropout``, ``image_dropout`` and ``image_swap``.

    A post that loses its picture keeps its labels: where the text decides they hold, and where it
    does not, a model that is asked without evidence learns how often each label occurs, which is
    the honest answer. Another's picture is shown only where the text decides, as elsewhere the
    labels would be false. Pictures fit their posts, unless ``Post.meta`` says
    ``picture_fits: false``.
    """
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(len(chosen), 4, generator=generator).tolist()
    partner = torch.randint(max(1, len(chosen)), (len(chosen),), generator=generator).tolist()
    out = []
    for (bare, untyped, drop, swap), other, i in zip(chance, partner, chosen, strict=True):
        post = posts[i]
        picture, fits = None, None
        if post.image is not None and drop >= data.image_dropout:
            picture, fits = i, post.meta.get("picture_fits") is not False
            another = posts[chosen[other]].image
            swapped = swap < data.image_swap and another not in (None, post.image)
            if swapped and text_decides(post):
                picture, fits = chosen[other], False
        out.append(
            AugmentedView(bare >= data.caption_dropout, untyped >= data.type_dropout, picture, fits)
        )
    return out
