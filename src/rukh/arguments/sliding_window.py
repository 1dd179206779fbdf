"""Reading texts of any length by an encoder of a fixed one, and pieces as words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rukh.modeling.text_encoder import TextEncoder, TokenizedText
from rukh.records import TextEntity
from rukh.utils.batching import length_buckets


@torch.inference_mode()
def label_probabilities(
    texts: Sequence[str],
    encoder: TextEncoder,
    classify: Callable[[Tensor, Tensor], Tensor],
    labels: int,
) -> list[tuple[TokenizedText, Tensor]]:
    """Pieces of each text with their label probabilities, ``(pieces, labels)``.

    Texts longer than the encoder are read in windows that overlap by half; each piece takes its
    probabilities from the window in which it stands farthest from an edge.

    Args:
        texts: May be of any length, and empty.
        encoder: Cuts them into pieces, and says how many it reads at once.
        classify: Label logits ``(B, T, labels)`` of ids and mask, ``(B, T)``.
        labels: How many labels there are.
    """
    room = encoder.max_length - 2
    pieces = [encoder.tokenize(text) for text in texts]
    windows = [
        (i, first)
        for i, piece in enumerate(pieces)
        for first in range(0, max(1, len(piece.ids) - room // 2), room // 2)
        if piece.ids
    ]
    out = [torch.zeros(len(piece.ids), labels) for piece in pieces]
    margin = [torch.full((len(piece.ids),), -1) for piece in pieces]
    sizes = [min(room, len(pieces[i].ids) - first) for i, first in windows]
    for batch in length_buckets(sizes, 32):
        ids, mask = pad(encoder, [pieces[windows[b][0]].ids[windows[b][1] :][:room] for b in batch])
        probabilities = classify(ids, mask).softmax(-1)
        for row, b in enumerate(batch):
            i, first = windows[b]
            span = torch.arange(sizes[b])
            edge = torch.minimum(span, sizes[b] - 1 - span)
            better = edge > margin[i][first : first + sizes[b]]
            where = first + span[better]
            out[i][where] = probabilities[row, 1 : 1 + sizes[b]][better]
            margin[i][where] = edge[better]
    return list(zip(pieces, out, strict=True))


def pad(encoder: TextEncoder, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Special tokens and padding around piece ids: ``ids`` and ``mask``, ``(B, T)``."""
    rows = [[encoder.start_id, *row, encoder.end_id] for row in ids]
    padded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(padded, dtype=torch.bool)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = True
    return padded, mask


def words_of(text: str, pieces: TokenizedText) -> list[list[int]]:
    """Pieces grouped into words: a piece goes on with its word if no white space or punctuation
    parts them, or if they share a character, as the bytes of an emoji do.
    """
    words: list[list[int]] = []
    for i, (start, end) in enumerate(pieces.offsets):
        if start == end:
            continue
        before = pieces.offsets[words[-1][-1]][1] if words else -1
        if before > start or (
            before == start and text[start - 1].isalnum() and text[start].isalnum()
        ):
            words[-1].append(i)
        else:
            words.append([i])
    return words


def inside(pieces: TokenizedText, entity: TextEntity) -> list[int]:
    """The pieces that an entity's span touches."""
    return [
        k
        for k, (start, end) in enumerate(pieces.offsets)
        if start < entity.end and end > entity.start
    ]
