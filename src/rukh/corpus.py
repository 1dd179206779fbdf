"""What a relation model is trained on: posts, the fold that decides, and what is left out.

Posts come first as their file holds them, then those that nobody labelled; all are known by their
place in this list, so that a student and its teachers part the same posts alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import Field, field_validator

from rukh.bank import RelationBank
from rukh.errors import InputError
from rukh.extraction import both_orders
from rukh.folds import parts, split_fold
from rukh.orders import Order, columns
from rukh.readers import group_posts, read, read_captions
from rukh.readers.conll import gold_spans, read_tagged
from rukh.records import Pair, Post, Record
from rukh.schema import RelationSchema
from rukh.tagging import load_tagger

MOST_ENTITIES = 6
"""Unlabelled posts with more entities are left out: they are lists, and lists of pairs."""


class DataConfig(Record):
    """Where the data stands.

    Attributes:
        train: The training file; a fold of it decides everything that is to be decided.
        format: Its format, a reader's name.
        images: Folder of the pictures, or None.
        captions: Caption file of the training pictures, or None.
        val: Scored once, when training is over; None scores nothing.
        val_captions: Caption file of its pictures.
        val_images: Folder of its pictures.
        fold: Share of the training posts in the fold.
        part: ``[k, n]`` leaves the k-th of n parts out, counted from 0: such a model may teach
            others that part; see :mod:`rukh.distillation`.
        caption_dropout: How often a post is shown without its caption, so that the model does
            without one too.
        picture_dropout: How often a post is shown without its picture.
        picture_swap: How often a post whose text decides (see :func:`text_decides`) is shown
            another post's picture in place of its own.
        share: Share of the remaining training posts that is used, for low-resource figures and
            quick comparisons; the fold stays whole.
    """

    train: Path
    format: str = "mnre"
    images: Path | None = None
    captions: Path | None = None
    val: Path | None = None
    val_images: Path | None = None
    val_captions: Path | None = None
    fold: float = Field(default=0.1, gt=0, lt=0.5)
    part: tuple[int, int] | None = None
    caption_dropout: float = Field(default=0.0, ge=0, lt=1)
    picture_dropout: float = Field(default=0.0, ge=0, lt=1)
    picture_swap: float = Field(default=0.0, ge=0, lt=1)
    share: float = Field(default=1.0, gt=0, le=1)

    @field_validator("part")
    @classmethod
    def _within(cls, part: tuple[int, int] | None) -> tuple[int, int] | None:
        if part is not None and not 0 <= part[0] < part[1]:
            raise ValueError("[k, n] asks for 0 <= k < n")
        return part


class Corpus(NamedTuple):
    """Posts and what they are for.

    Attributes:
        posts: All posts, typed; the first ``labelled`` of them are those of the training file.
        labelled: See ``posts``.
        train, fold: Indices of the labelled posts to train on, and of the fold that decides.
    """

    posts: list[Post]
    labelled: int
    train: list[int]
    fold: list[int]


class Shown(NamedTuple):
    """Which picture a post is shown with in one epoch.

    Attributes:
        picture: Index of the post whose picture it is; None for none.
        fits: Whether it fits the text, as far as that is known; None where there is no picture.
    """

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


def shown_pictures(
    posts: Sequence[Post], chosen: Sequence[int], data: DataConfig, seed: int
) -> list[Shown]:
    """For each chosen post the picture that it is shown with: its own, none, or another's.

    A post that loses its picture keeps its labels: where the text decides they hold, and where it
    does not, a model that is asked without evidence learns how often each label occurs, which is
    the honest answer. Another's picture is shown only where the text decides, as elsewhere the
    labels would be false. Pictures fit their posts, unless ``Post.meta`` says
    ``picture_fits: false``.
    """
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(len(chosen), 2, generator=generator).tolist()
    partner = torch.randint(max(1, len(chosen)), (len(chosen),), generator=generator).tolist()
    out = []
    for (drop, swap), other, i in zip(chance, partner, chosen, strict=True):
        post = posts[i]
        if post.image is None or drop < data.picture_dropout:
            out.append(Shown(None, None))
            continue
        another = posts[chosen[other]].image
        if swap < data.picture_swap and another not in (None, post.image) and text_decides(post):
            out.append(Shown(chosen[other], False))
        else:
            out.append(Shown(i, post.meta.get("picture_fits") is not False))
    return out


def read_corpus(data: DataConfig, tagger: str | None, unlabelled: Sequence[Path] = ()) -> Corpus:
    """Read, type and split the posts of a run.

    Raises:
        InputError: There are none, or a file is unreadable.
    """
    posts = load_posts(data.train, data, data.images, data.captions)
    if not posts:
        raise InputError("no posts to train on", where=str(data.train))
    labelled = len(posts)
    train, fold = split_fold(posts, data.fold)
    if data.part is not None:
        left_out, of = data.part
        part = parts(posts, of)
        train = [i for i in train if part[i] != left_out]
    if data.share < 1:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        kept = order[: max(1, round(data.share * len(train)))]
        train = [train[i] for i in sorted(kept.tolist())]
    posts += unlabelled_posts(unlabelled)
    if tagger is not None:
        posts = load_tagger(tagger).type_posts(posts)
    return Corpus(posts, labelled, train, fold)


def load_posts(
    path: Path, data: DataConfig, images: Path | None, captions: Path | None
) -> list[Post]:
    """Posts of a file, with their captions, pairs of the same post brought together."""
    told = read_captions(captions) if captions is not None else None
    return group_posts(read(path, data.format, images=images, captions=told))


def unlabelled_posts(files: Sequence[Path]) -> list[Post]:
    """Posts of tagged sentences with two entities or more, without types and labels."""
    found: dict[str, Post] = {}
    for file in files:
        for sentence in read_tagged(file):
            text, spans = gold_spans(sentence)
            if text in found or not 2 <= len(spans) <= MOST_ENTITIES:
                continue
            entities = [span.model_copy(update={"type": None}) for span in spans]
            pairs = [Pair(head=a.id, tail=b.id) for a, b in combinations(entities, 2)]
            name = f"unlabelled-{len(found)}"
            found[text] = Post(id=name, text=text, entities=tuple(entities), pairs=tuple(pairs))
    return list(found.values())


def labelled_pairs(
    post: Post, bank: RelationBank, schema: RelationSchema, order: Order, where: str
) -> tuple[list[tuple[str, str]], list[int]]:
    """A post's labelled pairs in the orders to be shown, and the right column of each.

    Raises:
        InputError: A label stands outside the schema; names it with ``where``.
    """
    nota = schema.nota
    asked: list[tuple[str, str]] = []
    targets: list[int] = []
    labelled = [pair for pair in post.pairs or () if pair.relation is not None]
    related = {frozenset((p.head, p.tail)) for p in labelled if p.relation != nota}
    for pair in labelled:
        schema.check_label(str(pair.relation), f"{where}: post {post.id!r}")
        turned = pair.relation == nota and frozenset((pair.head, pair.tail)) in related
        if turned and order != "given":
            continue  # the other way round there is a relation, which is shown both ways
        shown = 1 if order == "given" else 2
        asked += both_orders([pair])[:shown]
        targets += columns(pair.relation, bank, nota, order)[:shown]
    return asked, targets
