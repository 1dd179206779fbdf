"""What a relation model is trained on: posts, the fold that decides, and what is left out.

Posts come first as their file holds them, then those that nobody labelled; all are known by their
place in this list, so that a student and its teachers part the same posts alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from pydantic import Field, field_validator

from rukh.bank import RelationBank
from rukh.candidates import both_orders
from rukh.entity_types import in_words
from rukh.errors import InputError
from rukh.evaluation import check_labels
from rukh.folds import parts, split_fold
from rukh.orders import Order, columns
from rukh.readers import load_posts
from rukh.readers.conll import gold_spans, read_tagged
from rukh.records import Pair, Post, Record
from rukh.schema import RelationSchema
from rukh.tagging import load_tagger

T = TypeVar("T")
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
            others that part (see :mod:`rukh.distillation`), and is measured on it.
        caption_dropout: How often a post is shown without its caption, so that the model does
            without one too.
        type_dropout: How often a post is shown without the types of its arguments.
        picture_dropout: How often a post is shown without its picture.
        picture_swap: How often a post whose text decides is shown another post's picture in place
            of its own; see :mod:`rukh.augmentation`.
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
    type_dropout: float = Field(default=0.0, ge=0, lt=1)
    picture_dropout: float = Field(default=0.0, ge=0, lt=1)
    picture_swap: float = Field(default=0.0, ge=0, lt=1)
    share: float = Field(default=1.0, gt=0, le=1)

    @field_validator("part")
    @classmethod
    def _within(cls, part: tuple[int, int] | None) -> tuple[int, int] | None:
        if part is not None and not 0 <= part[0] < part[1]:
            raise ValueError("[k, n] asks for 0 <= k < n")
        return part


class MixConfig(Record):
    """Another corpus to train on, with relations of its own.

    A pair of it is told from the relations of its own schema only: that another schema's relation
    does not hold of it, nobody said.

    Attributes:
        train: The file.
        format: Its format, a reader's name.
        relations: Its schema; see :meth:`rukh.schema.RelationSchema.merged`.
        share: Share of its posts that is used.
    """

    train: Path
    format: str
    relations: str
    share: float = Field(default=1.0, gt=0, le=1)


class Corpus(NamedTuple):
    """Posts and what they are for.

    Attributes:
        posts: All posts, typed; the first ``labelled`` of them are those of the training files.
        labelled: See ``posts``.
        train, fold: Indices of the labelled posts to train on, and of the fold that decides.
        source: Of each post, which corpus it is of: 0 for ``data``, then those of ``mix``.
        left_out: Indices of those of ``data`` in the part that is left out, but for the fold.
    """

    posts: list[Post]
    labelled: int
    train: list[int]
    fold: list[int]
    source: list[int]
    left_out: list[int]

    def summary(self) -> str:
        """How many posts and labelled pairs there are, and how many with a picture at hand."""

        def told(chosen: Sequence[int]) -> str:
            posts = [self.posts[i] for i in chosen]
            pairs = [sum(p.relation is not None for p in post.pairs or ()) for post in posts]
            seen = [
                isinstance(p.image, bytes) or bool(p.image and p.image.is_file()) for p in posts
            ]
            pictured = sum(n for n, here in zip(pairs, seen, strict=True) if here)
            return (
                f"{sum(pairs):,} pairs of {len(posts):,} posts ({pictured:,} of {sum(seen):,} with "
                "a picture)"
            )

        more = len(self.posts) - self.labelled
        unlabelled = f"; {more:,} posts without labels" if more else ""
        return f"{told(self.train)} to train on, {told(self.fold)} in the fold{unlabelled}"


def read_corpus(
    data: DataConfig,
    tagger: str | None,
    schemas: Sequence[RelationSchema],
    unlabelled: Sequence[Path] = (),
    mix: Sequence[MixConfig] = (),
) -> Corpus:
    """Read, type and split the posts of a run; labels and types become those of their schema.

    Args:
        data, mix: The corpora.
        tagger: Types entities without a type; None leaves them so.
        schemas: One for ``data``, then one for each of ``mix``.
        unlabelled: See :func:`unlabelled_posts`.

    Raises:
        InputError: There are none, a file is unreadable, or a label stands outside its schema.
    """
    types = frozenset().union(*(schema.argument_types for schema in schemas))

    def spelt(posts: list[Post], number: int, file: Path) -> list[Post]:
        return [schemas[number].named(in_words(post, types), str(file)) for post in posts]

    found = load_posts(data.train, data.format, images=data.images, captions=data.captions)
    posts = spelt(found, 0, data.train)
    if not posts:
        raise InputError("no posts to train on", where=str(data.train))
    source = [0] * len(posts)
    for number, other in enumerate(mix, 1):
        found = _share(load_posts(other.train, other.format), other.share)
        posts += spelt(found, number, other.train)
        source += [number] * len(found)
    labelled = len(posts)
    train, fold = split_fold(posts, data.fold)
    missing: list[int] = []
    if data.part is not None:
        left_out, of = data.part
        part = parts(posts, of)
        missing = [i for i in train if part[i] == left_out and source[i] == 0]
        train = [i for i in train if part[i] != left_out]
    train = _share(train, data.share)
    posts += unlabelled_posts(unlabelled)
    source += [0] * (len(posts) - labelled)
    if tagger is not None:
        posts = load_tagger(tagger).type_posts(posts)
    return Corpus(posts, labelled, train, fold, source, missing)


def _share(items: list[T], share: float) -> list[T]:
    """That share of a list, drawn alike in every run, in its order."""
    if share == 1:
        return items
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0))
    return [items[i] for i in sorted(order[: max(1, round(share * len(items)))].tolist())]


def relabelled(
    post: Post, own: RelationSchema, merged: RelationSchema, without: Sequence[str]
) -> Post:
    """A post of one corpus under a schema that several were merged into: its NOTA becomes the
    merged one's, and pairs of relations that are left out are not there.
    """
    pairs = tuple(
        pair.model_copy(update={"relation": merged.nota}) if pair.relation == own.nota else pair
        for pair in post.pairs or ()
        if pair.relation not in without
    )
    return post.model_copy(update={"pairs": pairs})


def load_val(data: DataConfig, schema: RelationSchema) -> list[Post]:
    """The posts of ``data.val``, which must be set.

    Raises:
        InputError: A model of the schema cannot be measured on them.
    """
    assert data.val is not None
    posts = load_posts(data.val, data.format, images=data.val_images, captions=data.val_captions)
    check_labels(posts, schema, str(data.val))
    return posts


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
    told: set[tuple[str, str, str | None]] = set()
    labelled = [pair for pair in post.pairs or () if pair.relation is not None]
    related = {frozenset((p.head, p.tail)) for p in labelled if p.relation != nota}
    for pair in labelled:
        name = schema.resolve(str(pair.relation), f"{where}: post {post.id!r}")
        turned = name == nota and frozenset((pair.head, pair.tail)) in related
        if turned and order != "given":
            continue  # the other way round there is a relation, which is shown both ways
        if order != "given" and (pair.tail, pair.head, schema.reverse(name)) in told:
            continue  # the same fact, told from its other end
        told.add((pair.head, pair.tail, name))
        shown = 1 if order == "given" else 2
        asked += both_orders([pair])[:shown]
        targets += columns(name, bank, nota, order)[:shown]
    return asked, targets
