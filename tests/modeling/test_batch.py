"""Rows padded into tensors: what stands where, in every scheme."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from rukh.modeling.batch import collate
from rukh.modeling.markers import Markers, build_sequences, tokenize_post
from rukh.modeling.text_encoder import TextEncoder
from rukh.modeling.vision_encoder import PatchMap
from rukh.records import Post

ASKED = {
    "words": [("a", "r"), ("r", "a")],
    "both": [("b", "hat"), ("dog", "b"), ("dog", "hat")],
}


@pytest.mark.parametrize("scheme", get_args(Markers))
def test_pairs_know_their_kind_boxes_and_distance(
    tiny_text: str, posts: list[Post], scheme: Markers
) -> None:
    encoder = TextEncoder.load(tiny_text)
    rows, objects, order = [], [], []
    for post in posts[:2]:
        for row in build_sequences(
            tokenize_post(post, encoder, 0), ASKED[post.id], scheme, encoder, 128
        ):
            rows.append(row)
            objects.append(post.objects)
            order += [(post.id, *ASKED[post.id][ask.pair]) for ask in row.asks]
    inputs = collate(rows, objects, [None] * len(rows), 1)
    assert order == [(name, *pair) for name, pairs in ASKED.items() for pair in pairs]
    assert inputs.kind.tolist() == [0, 0, 1, 2, 3]
    hat, dog = (torch.tensor(thing.box) for thing in posts[1].objects)
    nowhere = torch.zeros(4)
    assert torch.equal(inputs.head_box, torch.stack([nowhere] * 3 + [dog, dog]))
    assert torch.equal(inputs.tail_box, torch.stack([nowhere, nowhere, hat, nowhere, hat]))
    assert inputs.distance[0] == -inputs.distance[1] > 0
    assert inputs.distance[2:].tolist() == [0, 0, 0]
    pieces = len(encoder.tokenize("Ann Lee works at Acme of ").ids)
    assert inputs.distance[0] >= pieces
    if scheme == "levitated":
        assert inputs.distance[0] == pieces
    width = inputs.ids.shape[1]
    for q, (name, head, tail) in enumerate(order):
        post = posts[0] if name == "words" else posts[1]
        for slot, argument in ((inputs.head[q], head), (inputs.tail[q], tail)):
            visual = argument in {thing.id for thing in post.objects}
            if visual and scheme != "levitated":
                number = [thing.id for thing in post.objects].index(argument)
                assert slot.tolist() == [width + number] * 2
            else:
                assert (slot < width).all()
                assert (inputs.roles[inputs.row[q], slot] > 0).all()


def test_types_pictures_and_padding(tiny_text: str, posts: list[Post]) -> None:
    encoder = TextEncoder.load(tiny_text)
    rows = [
        build_sequences(tokenize_post(post, encoder, 0), ASKED[post.id], "post", encoder, 128)[0]
        for post in posts[:2]
    ]
    shown = PatchMap(torch.ones(2, 16), torch.rand(2, 4))
    inputs = collate(rows, [post.objects for post in posts[:2]], [None, shown], 16)
    assert inputs.has_patch.tolist() == [[False, False], [True, True]]
    assert torch.equal(inputs.patches[1], shown.states) and not inputs.patches[0].any()
    assert inputs.has_object.tolist() == [[False, False], [True, True]]
    named = [[inputs.type_names[k] if k >= 0 else None for k in row] for row in inputs.types]
    for row, names in zip(rows, named, strict=True):
        assert names == row.types + [None] * (len(names) - len(row))
    assert [inputs.type_names[k] for k in inputs.object_types[1]] == ["hat", "animal"]
    short = len(rows[1])
    assert short < len(rows[0])
    assert (inputs.groups[1, :short] == 0).all() and (inputs.groups[1, short:] == -1).all()
