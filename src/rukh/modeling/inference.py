"""Scoring the pairs of posts, in validation, evaluation and extraction alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from rukh.modeling.background import EncodedPairs
from rukh.modeling.batch import PairBatch, collate
from rukh.modeling.directions import num_columns
from rukh.modeling.markers import MarkedSequence, build_sequences, tokenize_post
from rukh.modeling.model import RelationModel
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import PairScores
from rukh.modeling.vision_encoder import PatchMap
from rukh.records import Post
from rukh.utils.batching import batches_by_length

MAX_SEQUENCES = 64
"""Maximum number of sequences per forward pass."""
MAX_POSITIONS = 4096
"""Maximum number of positions, including padding, per forward pass, to limit memory use."""


def tokenize_pairs(
    model: RelationModel, post: Post, pairs: Sequence[tuple[str, str]]
) -> list[MarkedSequence]:
    """Tokenize a post and build the sequences that contain the given pairs of argument ids."""
    encoder, config = model.pair_encoder, model.config.pair
    tokenized = tokenize_post(post, encoder.text_encoder, config.caption_words)
    return build_sequences(
        tokenized, pairs, config.markers, encoder.text_encoder, encoder.max_length
    )


def batch_inputs(
    model: RelationModel,
    sequences: Sequence[MarkedSequence],
    posts: Sequence[Post],
    images: Sequence[PatchMap | None],
) -> PairBatch:
    """Collate sequences, given the post and image features of each, on the model's device."""
    batch = collate(sequences, [post.objects for post in posts], images, model.config.visual_dim)
    return batch.to(model.device)


@torch.inference_mode()
def score_posts(
    model: RelationModel,
    bank: RelationBank,
    posts: Sequence[Post],
    pairs: Sequence[Sequence[tuple[str, str]]],
    images: Sequence[PatchMap | None],
) -> list[PairScores[float | None]]:
    """Score pairs of several posts.

    Args:
        bank: The relations.
        posts: The posts, with types assigned.
        pairs: For each post, pairs of argument ids, head first.
        images: For each post, the features of its image, or None.

    Returns:
        For each post, the scores of its pairs, in the CPU's memory.
    """
    sequences = [tokenize_pairs(model, post, some) for post, some in zip(posts, pairs, strict=True)]
    num_logits = num_columns(bank, model.config.direction_mode)
    logits = [torch.zeros(len(some), num_logits) for some in pairs]
    best = [torch.zeros(len(some), len(bank.names), dtype=torch.int16) for some in pairs]
    gates: list[float | None] = [None] * len(posts)
    for inputs, chosen in _batches(model, sequences, posts, images):
        scores = PairScores(*(one.cpu() for one in model(inputs, bank)))
        first = 0
        for (i, sequence), gate in zip(chosen, scores.gate.tolist(), strict=True):
            rows, last = [pair.pair for pair in sequence.pairs], first + len(sequence.pairs)
            logits[i][rows] = scores.logits[first:last]
            best[i][rows] = scores.best_description[first:last]
            gates[i] = None if images[i] is None else gate
            first = last
    return [PairScores(*one) for one in zip(logits, best, gates, strict=True)]


@torch.no_grad()
def encode_posts(
    model: RelationModel,
    type_words: Mapping[str, str],
    posts: Sequence[Post],
    pairs: Sequence[Sequence[tuple[str, str]]],
    images: Sequence[PatchMap | None],
) -> list[Tensor]:
    """Encode pairs of several posts; the arguments are those of :func:`score_posts`.

    Args:
        type_words: Names of types in plain words.

    Returns:
        For each post, the ``(Q, dim)`` embeddings of its pairs, from head to tail.
    """
    sequences = [tokenize_pairs(model, post, some) for post, some in zip(posts, pairs, strict=True)]
    embeddings = [torch.zeros(len(some), model.config.pair.dim) for some in pairs]
    for inputs, chosen in _batches(model, sequences, posts, images):
        (encoding,) = model.pair_encoder(inputs, type_words)
        parts = encoding.embedding.cpu().split([len(sequence.pairs) for _, sequence in chosen])
        for (i, sequence), part in zip(chosen, parts, strict=True):
            embeddings[i][[pair.pair for pair in sequence.pairs]] = part
    return embeddings


@torch.no_grad()
def encode_both_directions(
    model: RelationModel,
    bank: RelationBank,
    posts: Sequence[Post],
    images: Sequence[PatchMap | None],
) -> EncodedPairs:
    """Encode the pairs that posts list, in both directions, in the order of posts and pairs.

    Args:
        bank: Relation bank, of which the names of types are used.
        posts: The posts, with types assigned.
        images: For each post, the features of its image, or None.
    """
    listed = [(i, pair) for i, post in enumerate(posts) for pair in post.pairs or ()]
    sequences = [tokenize_pairs(model, posts[i], [(pair.head, pair.tail)]) for i, pair in listed]
    forward, backward = torch.zeros(2, len(listed), model.config.pair.dim)
    nota = torch.zeros(len(listed), 2)
    owners, bank = [i for i, _ in listed], bank.to(model.device)
    type_words = {**model.schema.types, **bank.types}
    batches = _batches(model, sequences, [posts[i] for i in owners], [images[i] for i in owners])
    for inputs, chosen in batches:
        rows = [row for row, _ in chosen]
        encodings = model.pair_encoder(inputs, type_words, both_directions=True)
        for column, (own, encoding) in enumerate(zip((forward, backward), encodings, strict=True)):
            own[rows] = encoding.embedding.cpu()
            nota[rows, column] = model.scorer(encoding, bank).logits[:, 0].cpu()
    return EncodedPairs(forward, backward, nota)


def _batches(
    model: RelationModel,
    sequences: Sequence[Sequence[MarkedSequence]],
    posts: Sequence[Post],
    images: Sequence[PatchMap | None],
) -> Iterator[tuple[PairBatch, list[tuple[int, MarkedSequence]]]]:
    """Yield batches of similar length, with the post index and the sequence of each row."""
    flat = [(i, one) for i, some in enumerate(sequences) for one in some]
    lengths = [len(one) for _, one in flat]
    for indices in batches_by_length(lengths, MAX_SEQUENCES, MAX_POSITIONS):
        chosen = [flat[index] for index in indices]
        owners = [i for i, _ in chosen]
        yield (
            batch_inputs(
                model,
                [one for _, one in chosen],
                [posts[i] for i in owners],
                [images[i] for i in owners],
            ),
            chosen,
        )
