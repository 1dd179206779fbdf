"""Learning from the answers of other models (Hinton et al., 2015) as well as from labels.

Labels of social media are noisy: of two pairs that read alike one carries a relation and the other
none. The averaged answers of several teachers say how likely each label is, on labelled pairs and
on posts that nobody labelled. A teacher that was trained with ``data.part`` never saw one part of
the posts and answers on that part alone (cross-fitting), so that no teacher repeats by heart what
it was told.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from rukh.answers import ANSWERS, Answers, digest
from rukh.bank import RelationBank
from rukh.errors import InputError
from rukh.features import Features, pictures_of
from rukh.files import sha256
from rukh.folds import parts
from rukh.model import RelationModel
from rukh.records import Post, Record
from rukh.scoring import score_posts
from rukh.tensor_cache import kept
from rukh.weights import model_folder


class DistillationConfig(Record):
    """What is learned from other models.

    Attributes:
        teachers: Models whose answers are averaged: folders, or shipped names; or folders of a
            language teacher's answers, see :mod:`rukh.language_teacher`.
        weight: Share of the target that is theirs where a pair has a label too.
        unlabelled: CoNLL files of tagged sentences; every pair of their entities is learned from
            the teachers alone. Only the spans are used: types come from the tagger.
    """

    teachers: tuple[str, ...] = ()
    weight: float = Field(default=0.5, gt=0, le=1)
    unlabelled: tuple[Path, ...] = ()


def teach(
    config: DistillationConfig,
    posts: Sequence[Post],
    labelled: int,
    chosen: Sequence[int],
    asked: Sequence[Sequence[tuple[str, str]]],
    student: RelationModel,
    features: Features | None,
    fold: Sequence[int] = (),
) -> list[Tensor | None]:
    """What the teachers say.

    Args:
        posts: All typed posts, those of the training file first.
        labelled: How many of them are of the training file, which cross-fitting parts.
        chosen: Indices of those to be asked.
        asked: The ordered pairs of each of these.
        student: The model that will learn; teachers must tell the same relations in the same form.
        features: Patch states of pictures, for teachers that share the student's vision encoder.
        fold: Indices of the student's fold, which must be that of a language teacher.

    Returns:
        For each chosen post ``(Q, C)`` mean probabilities over the student's columns, or None
        where no teacher may answer.

    Raises:
        InputError: A teacher has another schema, order, vision encoder, or reads no such posts.
    """
    sums: list[Tensor | None] = [None] * len(chosen)
    counts = [0] * len(chosen)
    for name in config.teachers:
        if (file := model_folder(name) / ANSWERS).is_file():
            said = _kept_answers(file, posts, chosen, asked, student, fold)
        else:
            said = _model_answers(name, posts, labelled, chosen, asked, student, features)
        for k, answer in enumerate(said):
            if answer is not None:
                before = sums[k]
                sums[k] = answer if before is None else before + answer
                counts[k] += 1
    return [None if s is None else s / n for s, n in zip(sums, counts, strict=True)]


def _kept_answers(
    file: Path,
    posts: Sequence[Post],
    chosen: Sequence[int],
    asked: Sequence[Sequence[tuple[str, str]]],
    student: RelationModel,
    fold: Sequence[int],
) -> list[Tensor | None]:
    """What a file says of each chosen post."""
    kept_ones = Answers.load(file, RelationBank.unembedded(student.schema), student.config.order)
    if kept_ones.fold != digest(posts[i] for i in fold) or student.config.part:
        raise InputError(
            "answers rest on labels that this run holds out: the fold is another, or "
            "data.part is set",
            where=str(file),
        )
    out = [kept_ones.of_all(posts[i], p) for i, p in zip(chosen, asked, strict=True)]
    answered = sum(answer is not None for answer in out)
    print(f"{file.parent} answers on {answered:,} of {len(out):,} posts", file=sys.stderr)
    if not answered:
        raise InputError("answers on none of the posts", where=str(file))
    return out


def _model_answers(
    name: str,
    posts: Sequence[Post],
    labelled: int,
    chosen: Sequence[int],
    asked: Sequence[Sequence[tuple[str, str]]],
    student: RelationModel,
    features: Features | None,
) -> list[Tensor | None]:
    """What a model says of each chosen post that it may answer on."""
    teacher = RelationModel.from_pretrained(name)
    bank = teacher.bank()
    own, other = student.config, teacher.config
    for what, same in (
        ("relations", bank.names == student.schema.names),
        ("order", own.order == other.order),
        # A trained one's patch states are its own.
        (
            "vision encoder",
            own.pair.vision_encoder == other.pair.vision_encoder
            and own.pair.picture_size == other.pair.picture_size
            and own.pair.middle_map == other.pair.middle_map
            and not (own.pair.tuned_vision_layers or other.pair.tuned_vision_layers),
        ),
    ):
        if not same:
            raise InputError(f"teacher {name!r} has another {what} than the student")
    places = [k for k, pairs in enumerate(asked) if pairs]
    if other.part is not None:
        part, of = other.part
        mine = parts(posts[:labelled], of)
        places = [k for k in places if chosen[k] >= labelled or mine[chosen[k]] == part]
    said = _answers(
        name, teacher, [posts[chosen[k]] for k in places], [asked[k] for k in places], features
    )
    out: list[Tensor | None] = [None] * len(chosen)
    for k, answer in zip(places, said, strict=True):
        out[k] = answer
    return out


def _answers(
    name: str,
    teacher: RelationModel,
    posts: Sequence[Post],
    asked: Sequence[Sequence[tuple[str, str]]],
    features: Features | None,
) -> Sequence[Tensor]:
    """Probabilities ``(Q, C)`` for each post; kept on disk, as every student and every resumed run
    asks the same.
    """

    def score() -> Tensor:
        scored = score_posts(teacher, teacher.bank(), posts, asked, pictures_of(posts, features))
        logits = torch.cat([answer.logits for answer in scored])
        return (logits / teacher.config.temperature).softmax(-1)

    folder = model_folder(name)
    told = [sha256(folder / file) for file in ("model.safetensors", "config.json")]
    read = [post.model_dump_json(exclude={"image", "pairs", "meta"}) for post in posts]
    key = [told, read, [str(post.image) for post in posts], asked]
    return torch.split(kept("teachers", key, score), [len(pairs) for pairs in asked])


def mixed(gold: Tensor | None, told: Tensor | None, weight: float) -> Tensor:
    """Targets ``(Q, C)`` from labels and teachers, either of which may be missing.

    Example:
        >>> mixed(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]), 0.5).tolist()
        [[0.75, 0.25]]
    """
    if gold is None or told is None:
        only = told if gold is None else gold
        if only is None:
            raise ValueError("neither a label nor a teacher")
        return only
    return torch.lerp(gold, told, weight)
