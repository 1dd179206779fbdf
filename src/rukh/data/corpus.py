"""What a relation model is trained on: posts, the fold that decides, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from pydantic import Field

from rukh.arguments.label_map import normalize_types
from rukh.arguments.tagger import load_tagger
from rukh.candidates import both_orders
from rukh.data.readers import read_posts
from rukh.data.splits import split_dev
from rukh.errors import InputError
from rukh.evaluation.evaluate import check_labels
from rukh.modeling.directions import DirectionMode, target_columns
from rukh.modeling.relation_bank import RelationBank
from rukh.records import Post, Record
from rukh.schema.schema import RelationSchema

T = TypeVar("T")


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
        dev_fraction: Share of the training posts in the fold.
        caption_dropout: How often a post is shown without its caption, so that the model does
            without one too.
        type_dropout: How often a post is shown without the types of its arguments.
        image_dropout: How often a post is shown without its picture.
        image_swap: How often a post whose text decides is shown another post's picture in place
            of its own; see :mod:`rukh.training.augmentation`.
        train_fraction: Share of the remaining training posts that is used, for low-resource figures and
            quick comparisons; the fold stays whole.
    """

    train: Path
    format: str = "mnre"
    images: Path | None = None
    captions: Path | None = None
    val: Path | None = None
    val_images: Path | None = None
    val_captions: Path | None = None
    dev_fraction: float = Field(default=0.1, gt=0, lt=0.5)
    caption_dropout: float = Field(default=0.0, ge=0, lt=1)
    type_dropout: float = Field(default=0.0, ge=0, lt=1)
    image_dropout: float = Field(default=0.0, ge=0, lt=1)
    image_swap: float = Field(default=0.0, ge=0, lt=1)
    train_fraction: float = Field(default=1.0, gt=0, le=1)


class ExtraCorpusConfig(Record):
    """Another corpus to train on, with relations of its own.

    A pair of it is told from the relations of its own schema only: that another schema's relation
    does not hold of it, nobody said.

    Attributes:
        train: The file.
        format: Its format, a reader's name.
        relations: Its schema; see :meth:`rukh.schema.schema.RelationSchema.merged`.
        fraction: Share of its posts that is used.
    """

    train: Path
    format: str
    relation_schema: str = Field(alias="schema")
    fraction: float = Field(default=1.0, gt=0, le=1)


class Corpus(NamedTuple):
    """Posts and what they are for.

    Attributes:
        posts: All posts, typed.
        train, fold: Indices of the posts to train on, and of the fold that decides.
        source: Of each post, which corpus it is of: 0 for ``data``, then those of ``mix``.
    """

    posts: list[Post]
    train: list[int]
    fold: list[int]
    source: list[int]

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

        return f"{told(self.train)} to train on, {told(self.fold)} in the fold"


def read_corpus(
    data: DataConfig,
    tagger: str | None,
    schemas: Sequence[RelationSchema],
    mix: Sequence[ExtraCorpusConfig] = (),
) -> Corpus:
    """Read, type and split the posts of a run; labels and types become those of their schema.

    Args:
        data, mix: The corpora.
        tagger: Types entities without a type; None leaves them so.
        schemas: One for ``data``, then one for each of ``mix``.

    Raises:
        InputError: There are none, a file is unreadable, or a label stands outside its schema.
    """
    types = frozenset().union(*(schema.argument_types for schema in schemas))

    def spelt(posts: list[Post], number: int, file: Path) -> list[Post]:
        return [schemas[number].named(normalize_types(post, types), str(file)) for post in posts]

    found = read_posts(data.train, data.format, images=data.images, captions=data.captions)
    posts = spelt(found, 0, data.train)
    if not posts:
        raise InputError("no posts to train on", where=str(data.train))
    source = [0] * len(posts)
    for number, other in enumerate(mix, 1):
        found = _share(read_posts(other.train, other.format), other.fraction)
        posts += spelt(found, number, other.train)
        source += [number] * len(found)
    train, fold = split_dev(posts, data.dev_fraction)
    train = _share(train, data.train_fraction)
    if tagger is not None:
        posts = load_tagger(tagger).assign_types(posts)
    return Corpus(posts, train, fold, source)


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
    posts = read_posts(data.val, data.format, images=data.val_images, captions=data.val_captions)
    check_labels(posts, schema, str(data.val))
    return posts


def labelled_pairs(
    post: Post, bank: RelationBank, schema: RelationSchema, order: DirectionMode, where: str
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
        targets += target_columns(name, bank, nota, order)[:shown]
    return asked, targets
