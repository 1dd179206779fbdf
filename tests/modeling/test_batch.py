"""Sequences, objects and images padded into tensors."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from rukh.modeling.batch import PairBatch, collate
from rukh.modeling.markers import MarkedSequence, Markers, build_sequences, tokenize_post
from rukh.modeling.text_encoder import TextEncoder
from rukh.modeling.vision_encoder import PatchMap
from rukh.records import Post

PAIRS = {"words": [("a", "r"), ("r", "a")], "both": [("b", "hat"), ("dog", "b"), ("dog", "hat")]}


def make_batch(
    encoder: TextEncoder, posts: list[Post], scheme: Markers, image: PatchMap | None = None
) -> tuple[PairBatch, list[MarkedSequence]]:
    """A batch of the first two posts; the second one has the image."""
    rows = [
        (post, sequence)
        for post in posts[:2]
        for sequence in build_sequences(
            tokenize_post(post, encoder, 0), PAIRS[post.id], scheme, encoder, 128
        )
    ]
    images = [image if post is posts[1] else None for post, _ in rows]
    sequences = [sequence for _, sequence in rows]
    return collate(sequences, [post.objects for post, _ in rows], images, 16), sequences


@pytest.mark.parametrize("scheme", get_args(Markers))
def test_kind_boxes_distance_and_positions(
    tiny_text: str, posts: list[Post], scheme: Markers
) -> None:
    encoder = TextEncoder.load(tiny_text)
    batch, _ = make_batch(encoder, posts, scheme)
    assert batch.kind.tolist() == [0, 0, 1, 2, 3]
    assert batch.head_object.tolist() == [-1, -1, -1, 1, 1]
    assert batch.tail_object.tolist() == [-1, -1, 0, -1, 0]
    hat = torch.tensor(posts[1].objects[0].box)
    none = torch.zeros(4)
    boxes = batch.of_objects(batch.boxes, batch.tail_object)
    assert torch.equal(boxes, torch.stack([none, none, hat, none, hat]))
    assert torch.equal(batch.swap_direction().head_object, batch.tail_object)
    between = len(encoder.tokenize("Ann Lee works at Acme of ").ids)
    assert batch.distance[0] == -batch.distance[1] >= between
    assert batch.distance[2:].tolist() == [0, 0, 0]
    width = batch.ids.shape[1]
    for positions, objects in ((batch.head, batch.head_object), (batch.tail, batch.tail_object)):
        for row, pair, thing in zip(batch.sequence, positions, objects, strict=True):
            if thing >= 0:
                assert pair.tolist() == [width + thing] * 2
            else:
                assert (batch.roles[row, pair] > 0).all()


def test_types_images_and_padding(tiny_text: str, posts: list[Post]) -> None:
    image = PatchMap(torch.ones(2, 16), torch.rand(2, 4))
    batch, sequences = make_batch(TextEncoder.load(tiny_text), posts, "post", image)
    assert batch.has_patch.tolist() == [[False, False], [True, True]]
    assert torch.equal(batch.patches[1], image.states) and not batch.patches[0].any()
    assert batch.has_object.tolist() == [[False, False], [True, True]]
    assert [batch.type_names[k] for k in batch.object_types[1]] == ["hat", "animal"]
    for sequence, types, mask in zip(sequences, batch.types, batch.mask, strict=True):
        names = [batch.type_names[k] if k >= 0 else None for k in types]
        padding = len(mask) - len(sequence)
        assert names == sequence.types + [None] * padding
        assert mask.tolist() == [True] * len(sequence) + [False] * padding
    assert len(sequences[1]) < len(sequences[0])
