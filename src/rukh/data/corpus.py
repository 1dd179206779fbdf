"""Read, split and check the training corpora of a relation model."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from pydantic import Field

from rukh.data.readers import read_posts
from rukh.data.splits import split_dev
from rukh.errors import InputError, listed, suggestion
from rukh.records import Pair, Post, Record, check_pair_count, labelled_pairs
from rukh.schema.schema import RelationSchema

logger = logging.getLogger(__name__)

T = TypeVar("T")

FEW_RELATED_PAIRS = 10
"""With fewer related pairs in the dev set, chance decides which epoch and threshold look best."""


class DataConfig(Record):
    """The section ``data`` of a configuration file.

    Attributes:
        train, format: Training file, and the name of its format.
        images, captions: Folder and caption file of its images.
        val, val_images, val_captions: The same for the file evaluated once, after training.
        dev_fraction: Fraction of the posts held out as the dev set, for early stopping and
            calibration.
        train_fraction: Fraction of the remaining posts to train on, for low-resource experiments.
        caption_dropout, type_dropout, image_dropout: Probability that a training post loses its
            caption, the types of its arguments, or its image.
        image_swap: Probability that a training post whose text alone determines its labels gets
            another post's image; see :mod:`rukh.training.augmentation`.
    """

    train: Path
    format: str = "jsonl"
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


class CorpusConfig(Record):
    """A training corpus, labelled with the relations of its own schema only.

    Attributes:
        train: A file of posts, or a folder of which all files ``NAME.jsonl`` are read, each with
            its schema ``NAME.yaml``.
        format: Format of the file.
        relation_schema: Name of a shipped schema, or a YAML file (``schema`` in the config); not
            for a folder.
        complete: Whether the posts list all relations of the schema, so that pairs that are not
            listed are unrelated. If not, nothing is assumed about them.
        fraction: Fraction of its posts to use.
    """

    train: Path
    format: str = "jsonl"
    relation_schema: str | None = Field(default=None, alias="schema")
    complete: bool = False
    fraction: float = Field(default=1.0, gt=0, le=1)

    def read(self) -> list[tuple[RelationSchema, list[Post]]]:
        """Read the posts, with each schema that they are labelled with.

        Labels are replaced by the names of their relations. Posts of a complete corpus list all
        pairs.

        Raises:
            InputError: A file cannot be read, or a label is not in its schema.
        """
        if self.train.is_dir():
            files = [(p, str(p.with_suffix(".yaml"))) for p in corpus_files(self.train)]
            if missing := next((name for _, name in files if not os.path.isfile(name)), None):
                fix = "put the schema of each file NAME.jsonl beside it, as NAME.yaml"
                raise InputError("there is no such schema", where=missing, fix=fix)
        elif self.relation_schema is None:
            fix = "name its schema in the configuration"
            raise InputError("the corpus has no schema", where=str(self.train), fix=fix)
        else:
            files = [(self.train, self.relation_schema)]
        corpora = []
        for path, name in files:
            schema = RelationSchema.load(name)
            posts = _subset(read_posts(path, self.format), self.fraction)
            posts = [schema.resolve_labels(post, str(path)) for post in posts]
            if self.complete:
                posts = [list_all_pairs(post, schema.nota) for post in posts]
            corpora.append((schema, posts))
        return corpora


def corpus_files(path: Path) -> list[Path]:
    """Return the files ``*.jsonl`` of a folder, or the path itself if it is not a folder.

    Raises:
        InputError: The folder has no such file.
    """
    if not path.is_dir():
        return [path]
    if not (paths := sorted(path.glob("*.jsonl"))):
        raise InputError("the folder has no file *.jsonl", where=str(path))
    return paths


def list_all_pairs(post: Post, nota: str | None) -> Post:
    """Label the pairs of arguments that a post does not list in either order with NOTA.

    Example:
        >>> post = Post(id="1", text="Ann of Rome", entities=[
        ...     {"id": "a", "start": 0, "end": 3}, {"id": "r", "start": 7, "end": 11}])
        >>> [(pair.head, pair.relation, pair.tail) for pair in list_all_pairs(post, "none").pairs]
        [('a', 'none', 'r')]
    """
    check_pair_count(post)
    listed = {frozenset((pair.head, pair.tail)) for pair in post.pairs or ()}
    names = [argument.id for argument in post.arguments]
    unlisted = (pair for pair in combinations(names, 2) if frozenset(pair) not in listed)
    added = [Pair(head=head, tail=tail, relation=nota) for head, tail in unlisted]
    return post.model_copy(update={"pairs": (*(post.pairs or ()), *added)})


class Corpus(NamedTuple):
    """The posts of all corpora, and the indices of the training set and of the dev set.

    Attributes:
        posts: All posts.
        train, dev: Indices of posts.
        schemas: The schemas that posts are labelled with; the first is that of ``data``.
        source: Index of each post's schema in ``schemas``.
        corpus: Corpus of each post: 0 for ``data``, 1, 2, ... for ``extra_corpora``.
    """

    posts: list[Post]
    train: list[int]
    dev: list[int]
    schemas: list[RelationSchema]
    source: list[int]
    corpus: list[int]


def read_corpus(
    data: DataConfig, schema: RelationSchema, extra_corpora: Sequence[CorpusConfig] = ()
) -> Corpus:
    """Read the posts of all corpora and split off the dev set.

    Posts that share a text or an image are on the same side of the split. Labels are replaced by
    the names of their relations; entity types are not changed.

    Args:
        schema: Schema of ``data``.

    Raises:
        InputError: There are no posts, a file is unreadable, or a label is not in its schema.
    """
    _check_exists(data.captions, "data.captions", "go without captions")
    posts = read_posts(data.train, data.format, images=data.images, captions=data.captions)
    if not posts:
        raise InputError("no posts to train on", where=str(data.train))
    posts = [schema.resolve_labels(post, str(data.train)) for post in posts]
    schemas, source, corpus = [schema], [0] * len(posts), [0] * len(posts)
    for number, extra in enumerate(extra_corpora, 1):
        for own, added in extra.read():
            source += [len(schemas)] * len(added)
            corpus += [number] * len(added)
            schemas.append(own)
            posts += added
    train, dev = split_dev(posts, data.dev_fraction)
    return Corpus(posts, _subset(train, data.train_fraction), dev, schemas, source, corpus)


def _subset(items: list[T], fraction: float) -> list[T]:
    """Return a random subset in the original order; the subset is the same in every run."""
    if fraction == 1:
        return items
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0))
    return [items[i] for i in sorted(order[: max(1, round(fraction * len(items)))].tolist())]


def merge_labels(
    post: Post, own: RelationSchema, merged: RelationSchema, excluded: Collection[str]
) -> Post:
    """Replace the NOTA label by that of the merged schema; remove pairs of excluded relations."""
    pairs = tuple(
        pair.model_copy(update={"relation": pair.relation and merged.nota})
        if pair.relation == own.nota
        else pair
        for pair in post.pairs or ()
        if pair.relation not in excluded
    )
    return post.model_copy(update={"pairs": pairs})


def check_labels(posts: Sequence[Post], schema: RelationSchema, where: str) -> None:
    """Check the labels of posts from the file ``where``.

    Raises:
        InputError: No pair has a label, or labels are not in the schema; the message lists them.
    """
    counts = Counter(str(pair.relation) for post in posts for pair in labelled_pairs(post))
    if not counts:
        raise InputError("no pair has a label", where=where)
    unknown = [label for label, _ in counts.most_common() if not schema.has_label(label)]
    if unknown:
        names = listed([*map(repr, unknown)])
        number = sum(counts[label] for label in unknown)
        problem = f"{number:,} pairs carry labels outside schema {schema.name!r}: {names}"
        raise InputError(problem, where=where, fix=suggestion(unknown[0], schema.labels))


def check_training_labels(
    train: Sequence[Post], dev: Sequence[Post], schema: RelationSchema, where: str
) -> None:
    """Check that the training set and the dev set have pairs to learn from; warn of few.

    Raises:
        InputError: A set has no labelled pair, or, if the schema has NOTA, none with a relation.
    """
    nota = schema.nota
    counts = []
    for name, posts in (("training set", train), ("dev set", dev)):
        labels = Counter(pair.relation for post in posts for pair in labelled_pairs(post))
        related = labels.total() - labels[nota]
        if not related:
            kind = "pair with a relation" if labels else "labelled pair"
            raise InputError(
                f"the {name} has no {kind} in its {len(posts):,} posts",
                where=where,
                fix="label more posts (a pair labelled null is unlabelled; posts with the same "
                "text or image stay in one set), or change data.dev_fraction",
            )
        counts.append((labels, related))
    (labels, _), (_, related) = counts
    if related < FEW_RELATED_PAIRS:
        logger.warning(
            "%s: pairs with a relation in the dev set: %d, too few to choose the epoch and the "
            "threshold well; label more posts, or raise data.dev_fraction",
            where,
            related,
        )
    if nota is not None and not labels[nota]:
        logger.warning(
            "%s: no pair of the training set is labelled %r, so that the model does not learn when "
            "no relation holds",
            where,
            nota,
        )


def warn_unseen_relations(posts: Sequence[Post], schema: RelationSchema, where: str) -> None:
    """Warn of relations that no pair of the posts is labelled with, in either direction."""
    seen = {pair.relation for post in posts for pair in labelled_pairs(post)}
    seen |= {*map(schema.inverse_of, seen)}
    unseen = [name for name in schema.names if name not in seen]
    if unseen:
        logger.warning("%s: relations without a training pair: %s", where, listed(unseen))


def _check_exists(path: Path | None, field: str, without: str) -> None:
    if path is not None and not path.exists():
        fix = f"name the file, or set {field}=null to {without}"
        raise InputError("there is no such file", where=str(path), field=field, fix=fix)


def load_val(data: DataConfig, schema: RelationSchema) -> list[Post]:
    """Read ``data.val``, which must be set, and check its labels with :func:`check_labels`."""
    assert data.val is not None
    _check_exists(data.val, "data.val", "train without measuring the model")
    _check_exists(data.val_captions, "data.val_captions", "go without captions")
    posts = read_posts(data.val, data.format, images=data.val_images, captions=data.val_captions)
    check_labels(posts, schema, str(data.val))
    return posts
