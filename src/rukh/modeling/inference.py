"""Pairs of posts against a bank: the one path that training's validation, evaluation and
extraction all take, so that what is measured is what is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rukh.modeling.batch import PairBatch, collate
from rukh.modeling.directions import num_columns
from rukh.modeling.markers import MarkedSequence, TokenizedPost, build_sequences, tokenize_post
from rukh.modeling.memory import Memory
from rukh.modeling.model import RelationModel
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.vision_encoder import PatchMap
from rukh.records import Post
from rukh.utils.batching import batches_by_length

MAX_ROWS = 64
MAX_POSITIONS = 4096
"""Maximum number of positions per forward pass, padding included; bounds its memory."""


class PostScores(NamedTuple):
    """What the model says of one post's ``Q`` pairs.

    Attributes:
        logits: ``(Q, 1 + R)`` or wider, NOTA first; see :meth:`RelationModel.forward`.
        match: ``(Q, R)`` which of each relation's descriptions is its best.
        gate: Trust in the picture, or None where the post has none.
    """

    logits: Tensor
    match: Tensor
    gate: float | None


def tokenize_pairs(
    model: RelationModel, post: Post, pairs: Sequence[tuple[str, str]]
) -> tuple[TokenizedPost, list[MarkedSequence]]:
    """Tokenize a post once and lay out the rows that ask its pairs."""
    config = model.config.pair
    prepared = tokenize_post(post, model.pair_encoder.text_encoder, config.caption_words)
    return prepared, build_sequences(
        prepared, pairs, config.markers, model.pair_encoder.text_encoder, model.pair_encoder.limit
    )


def batch_inputs(
    model: RelationModel,
    rows: Sequence[MarkedSequence],
    posts: Sequence[Post],
    pictures: Sequence[PatchMap | None],
) -> PairBatch:
    """Tensors of rows with their posts (one entry a row, repeated where a post has several)."""
    return collate(rows, [post.objects for post in posts], pictures, model.config.visual_dim)


@torch.inference_mode()
def score_posts(
    model: RelationModel,
    bank: RelationBank,
    posts: Sequence[Post],
    pairs: Sequence[Sequence[tuple[str, str]]],
    pictures: Sequence[PatchMap | None],
) -> list[PostScores]:
    """Score pairs of several posts; each post is encoded once for all its pairs.

    Args:
        posts: The posts, typed.
        pairs: For each post the ordered pairs to ask, as argument ids.
        pictures: For each post its patch states, or None.
    """
    rows: list[tuple[int, MarkedSequence]] = [
        (i, row)
        for i, post in enumerate(posts)
        for row in tokenize_pairs(model, post, pairs[i])[1]
        if pairs[i]
    ]
    columns = num_columns(bank, model.config.direction_mode)
    out = [
        PostScores(
            torch.zeros(len(asked), columns),
            torch.zeros(len(asked), len(bank.names), dtype=torch.int16),
            None,
        )
        for asked in pairs
    ]
    lengths = [len(row) for _, row in rows]
    for batch in batches_by_length(lengths, MAX_ROWS, MAX_POSITIONS):
        where = [rows[b][0] for b in batch]
        inputs = batch_inputs(
            model,
            [rows[b][1] for b in batch],
            [posts[i] for i in where],
            [pictures[i] for i in where],
        )
        scores, encoded = model(inputs, bank)
        at = 0
        for line, b in enumerate(batch):
            i, row = rows[b]
            index = [ask.pair for ask in row.asks]
            out[i].logits[index] = scores.logits[at : at + len(index)]
            out[i].match[index] = scores.match[at : at + len(index)]
            if pictures[i] is not None:
                out[i] = out[i]._replace(gate=float(encoded.gate[line]))
            at += len(index)
    return out


@torch.no_grad()
def remember(
    model: RelationModel,
    bank: RelationBank,
    posts: Sequence[Post],
    pictures: Sequence[PatchMap | None],
    numbers: Sequence[int] | None = None,
) -> Memory:
    """What the model's pair tower makes of labelled pairs, in the order of posts and pairs.

    Args:
        bank: Words of the types, where its schema gives them; its relations are not asked.
        posts: Typed posts; their pairs without a label are left out.
        pictures: For each post its patch states, or None.
        numbers: Of the posts; counted where None.
    """
    chosen = [(i, p) for i, post in enumerate(posts) for p in post.pairs or () if p.relation]
    names = tuple(sorted({str(pair.relation) for _, pair in chosen}))
    rows = [tokenize_pairs(model, posts[i], [(pair.head, pair.tail)])[1][0] for i, pair in chosen]
    forward = torch.zeros(len(rows), model.config.pair.dim)
    backward, nota = torch.zeros_like(forward), torch.zeros(len(rows), 2)
    lengths = [len(row) for row in rows]
    words = {**model.schema.types, **bank.types}
    for part in batches_by_length(lengths, MAX_ROWS, MAX_POSITIONS):
        where = [chosen[b][0] for b in part]
        inputs = batch_inputs(
            model,
            [rows[b] for b in part],
            [posts[i] for i in where],
            [pictures[i] for i in where],
        )
        encoded = model.pair_encoder(inputs, words, back=True)
        assert encoded.back is not None
        forward[part], backward[part] = encoded.embedding, encoded.back.embedding
        for way, read in enumerate((encoded, encoded.back)):
            nota[part, way] = model.scorer(read, bank).logits[:, 0]
    numbers = range(len(posts)) if numbers is None else numbers
    return Memory(
        names,
        torch.tensor([names.index(str(pair.relation)) for _, pair in chosen], dtype=torch.long),
        forward,
        backward,
        nota,
        torch.tensor([numbers[i] for i, _ in chosen], dtype=torch.long),
    )
