"""The training corpora of a relation model: reading, splitting and checking their posts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from pydantic import Field

from rukh.data.readers import read_posts
from rukh.data.splits import split_dev
from rukh.errors import MAX_LISTED, InputError, suggestion
from rukh.records import Post, Record
from rukh.schema.schema import RelationSchema

T = TypeVar("T")


class DataConfig(Record):
    """The section ``data`` of a configuration file.

    Attributes:
        train: The training file. A part of it, the dev set, is held out for early stopping and
            calibration.
        format: Name of the reader of ``train`` and ``val``.
        images: Folder of the training images, or None.
        captions: Caption file of the training images, or None.
        val: File that is evaluated once, after training; None evaluates nothing.
        val_images: Folder of its images.
        val_captions: Caption file of its images.
        dev_fraction: Fraction of the training posts in the dev set.
        train_fraction: Fraction of the remaining training posts that is used, for low-resource
            experiments; the dev set is not reduced.
        caption_dropout: Probability that the caption of a training post is dropped.
        type_dropout: Probability that the types of its arguments are dropped.
        image_dropout: Probability that its image is dropped.
        image_swap: Probability that its image is replaced by that of another post, if the text
            alone decides its labels; see :mod:`rukh.training.augmentation`.
    """

    train: Path
    format: str = "mnre"
    images: Path | None = None
    captions: Path | None = None
    val: Path | None = None
    val_images: Path | None = None
    val_captions: Path | None = None
    dev_fraction: float = Field(default=0.1, gt=0, lt=0.5)
    train_fraction: float = Field(default=1.0, gt=0, le=1)
    caption_dropout: float = Field(default=0.0, ge=0, lt=1)
    type_dropout: float = Field(default=0.0, ge=0, lt=1)
    image_dropout: float = Field(default=0.0, ge=0, lt=1)
    image_swap: float = Field(default=0.0, ge=0, lt=1)


class ExtraCorpusConfig(Record):
    """An additional training corpus with its own schema.

    Its pairs are scored against the relations of its own schema only, because it has no labels
    for those of the others.

    Attributes:
        train: The file.
        format: Name of its reader.
        relation_schema: Its schema (``schema`` in the file): a shipped name or a YAML file.
        fraction: Fraction of its posts that is used.
    """

    train: Path
    format: str
    relation_schema: str = Field(alias="schema")
    fraction: float = Field(default=1.0, gt=0, le=1)


class Corpus(NamedTuple):
    """The posts of all corpora and their use.

    Attributes:
        posts: All posts.
        train, dev: Indices of the training posts and of the dev set.
        source: The corpus of each post: 0 for ``data``, then those of ``extra_corpora``.
    """

    posts: list[Post]
    train: list[int]
    dev: list[int]
    source: list[int]


def read_corpus(
    data: DataConfig,
    schemas: Sequence[RelationSchema],
    extra_corpora: Sequence[ExtraCorpusConfig] = (),
) -> Corpus:
    """Read the posts of all corpora and split off the dev set.

    Posts that share a text or an image are on the same side of the split. Labels are normalised to
    the names of the corpus's schema; types are left as the data gives them.

    Args:
        schemas: The schema of ``data``, then those of ``extra_corpora``.

    Raises:
        InputError: There are no posts, a file is unreadable, or a label is not in its schema.
    """
    posts = read_posts(data.train, data.format, images=data.images, captions=data.captions)
    if not posts:
        raise InputError("no posts to train on", where=str(data.train))
    posts = [schemas[0].resolve_labels(post, str(data.train)) for post in posts]
    source = [0] * len(posts)
    for number, extra in enumerate(extra_corpora, 1):
        added = _subset(read_posts(extra.train, extra.format), extra.fraction)
        posts += [schemas[number].resolve_labels(post, str(extra.train)) for post in added]
        source += [number] * len(added)
    train, dev = split_dev(posts, data.dev_fraction)
    return Corpus(posts, _subset(train, data.train_fraction), dev, source)


def _subset(items: list[T], fraction: float) -> list[T]:
    """A random subset in the original order, the same in every run."""
    if fraction == 1:
        return items
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0))
    return [items[i] for i in sorted(order[: max(1, round(fraction * len(items)))].tolist())]


def merge_labels(
    post: Post, own: RelationSchema, merged: RelationSchema, excluded: Collection[str]
) -> Post:
    """Translate the labels of a post from its own schema to a merged schema.

    The NOTA label becomes that of the merged schema; pairs of excluded relations are removed.
    """
    pairs = tuple(
        pair.model_copy(update={"relation": pair.relation and merged.nota})
        if pair.relation == own.nota
        else pair
        for pair in post.pairs or ()
        if pair.relation not in excluded
    )
    return post.model_copy(update={"pairs": pairs})


def check_labels(posts: Iterable[Post], schema: RelationSchema, where: str) -> None:
    """Check that the posts have labels, and that the schema knows each of them, by name or id.

    Args:
        where: The posts' file, for error messages.

    Raises:
        InputError: No pair is labelled, or labels are unknown (listed, the most frequent first).
    """
    counts = Counter(
        pair.relation for post in posts for pair in post.pairs or () if pair.relation is not None
    )
    if not counts:
        raise InputError("no pair has a label", where=where)
    unknown = [label for label, _ in counts.most_common() if not schema.has_label(label)]
    if unknown:
        names = ", ".join(map(repr, unknown[:MAX_LISTED]))
        more = len(unknown) - MAX_LISTED
        raise InputError(
            f"{sum(counts[label] for label in unknown):,} pairs carry labels outside schema "
            f"{schema.name!r}: {names}" + (f" and {more:,} more" if more > 0 else ""),
            where=where,
            fix=suggestion(unknown[0], schema.labels),
        )


def load_val(data: DataConfig, schema: RelationSchema) -> list[Post]:
    """The posts of ``data.val``, which must be set.

    Raises:
        InputError: The file is unreadable, has no labels, or has labels outside the schema.
    """
    assert data.val is not None
    posts = read_posts(data.val, data.format, images=data.val_images, captions=data.val_captions)
    check_labels(posts, schema, str(data.val))
    return posts
