"""Batches: sequences and images of several posts, padded to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rukh.modeling.device import to_device
from rukh.modeling.markers import MarkedSequence
from rukh.modeling.vision_encoder import PatchMap
from rukh.records import VisualObject


@dataclass
class PairBatch:
    """``B`` sequences of ``T`` positions with ``R`` objects and ``P`` patches, and ``Q`` pairs.

    Attributes:
        ids, roles, segments: ``(B, T)`` values of :class:`rukh.modeling.markers.MarkedSequence`.
        types: ``(B, T)`` indices into ``type_names``; -1 for positions without a type.
        mask: ``(B, T)`` bool, False for padding.
        type_names: The distinct types of the batch.
        boxes: ``(B, R, 4)`` boxes of objects.
        object_types: ``(B, R)`` indices into ``type_names``; -1 for objects without a type.
        patches: ``(B, P, D)`` patch states; ``P`` is 0 if no post of the batch has an image.
        patch_boxes: ``(B, P, 4)`` boxes of patches.
        has_object, has_patch: ``(B, R)`` and ``(B, P)`` bool, False for padding.
        sequence: ``(Q,)`` index of the sequence that contains the pair.
        head, tail: ``(Q, 2)`` positions of the start and end markers of the argument. Visual object
            ``i`` has the position ``T + i`` twice.
        distance: ``(Q,)`` signed distance from head to tail in positions; 0 unless both arguments
            are in the text.
        head_object, tail_object: ``(Q,)`` index of the visual object; -1 for a text entity.
    """

    ids: Tensor
    roles: Tensor
    segments: Tensor
    types: Tensor
    mask: Tensor
    type_names: list[str]
    boxes: Tensor
    object_types: Tensor
    has_object: Tensor
    patches: Tensor
    patch_boxes: Tensor
    has_patch: Tensor
    sequence: Tensor
    head: Tensor
    tail: Tensor
    distance: Tensor
    head_object: Tensor
    tail_object: Tensor

    @property
    def kind(self) -> Tensor:
        """Kind of each pair ``(Q,)``: 0 text-text, 1 text-object, 2 object-text, 3 both objects."""
        return 2 * (self.head_object >= 0).long() + (self.tail_object >= 0).long()

    def of_objects(self, values: Tensor, objects: Tensor) -> Tensor:
        """Select the vectors of the objects that are the heads or the tails of the pairs.

        Args:
            values: ``(B, R, d)`` vectors of all objects.
            objects: ``head_object`` or ``tail_object``.

        Returns:
            ``(Q, d)`` vectors; zeros for arguments in the text.
        """
        if not values.shape[1]:
            return values.new_zeros(len(objects), values.shape[2])
        selected = values[self.sequence, objects.clamp_min(0)]
        return torch.where((objects >= 0)[:, None], selected, 0.0)

    def to(self, device: torch.device) -> PairBatch:
        """Return a copy of the batch on a device."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        moved: dict[str, Any] = {
            name: to_device(value, device)
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def swap_direction(self) -> PairBatch:
        """Return the batch with head and tail of every pair swapped."""
        return replace(
            self,
            head=self.tail,
            tail=self.head,
            distance=-self.distance,
            head_object=self.tail_object,
            tail_object=self.head_object,
        )


def collate(
    sequences: Sequence[MarkedSequence],
    objects: Sequence[Sequence[VisualObject]],
    images: Sequence[PatchMap | None],
    visual_dim: int,
) -> PairBatch:
    """Pad sequences, objects and images into a batch.

    Args:
        objects: For each sequence, the visual objects of its post.
        images: For each sequence, the image features of its post, or None.
        visual_dim: Width of patch states.

    Returns:
        A batch in the CPU's memory with the pairs in the order of the sequences.
    """
    type_index: dict[str, int] = {}

    def index_of(name: str | None) -> int:
        return -1 if name is None else type_index.setdefault(name, len(type_index))

    types = _pad([[index_of(name) for name in one.types] for one in sequences], -1)
    ids = _pad([one.ids for one in sequences])
    lengths = torch.tensor([len(one) for one in sequences])
    width = ids.shape[1]

    boxes = torch.zeros(len(objects), max(map(len, objects)), 4)
    has_object = torch.zeros(boxes.shape[:2], dtype=torch.bool)
    object_types = torch.full(boxes.shape[:2], -1)
    for i, some in enumerate(objects):
        for k, thing in enumerate(some):
            boxes[i, k] = torch.tensor(thing.box)
            has_object[i, k] = True
            object_types[i, k] = index_of(thing.type or thing.label)
    num_patches = max(0 if image is None else len(image.states) for image in images)
    patches = torch.zeros(len(images), num_patches, visual_dim)
    patch_boxes = torch.zeros(len(images), num_patches, 4)
    has_patch = torch.zeros(len(images), num_patches, dtype=torch.bool)
    for i, image in enumerate(images):
        if image is not None:
            patches[i, : len(image.states)] = image.states
            patch_boxes[i, : len(image.states)] = image.boxes
            has_patch[i, : len(image.states)] = True

    pairs = [(i, pair) for i, one in enumerate(sequences) for pair in one.pairs]
    positions = torch.tensor([(*pair.head, *pair.tail) for _, pair in pairs], dtype=torch.long)
    positions = positions.reshape(-1, 4)
    # In a sequence, the position of object i is -1 - i.
    head_object, tail_object = (-1 - positions[:, ::2]).clamp_min(-1).unbind(1)
    positions = torch.where(positions < 0, width - 1 - positions, positions)
    both_text = (head_object < 0) & (tail_object < 0)
    return PairBatch(
        ids=ids,
        roles=_pad([one.roles for one in sequences]),
        segments=_pad([one.segments for one in sequences]),
        types=types,
        mask=torch.arange(width) < lengths[:, None],
        type_names=list(type_index),
        boxes=boxes,
        object_types=object_types,
        has_object=has_object,
        patches=patches,
        patch_boxes=patch_boxes,
        has_patch=has_patch,
        sequence=torch.tensor([i for i, _ in pairs], dtype=torch.long),
        head=positions[:, :2],
        tail=positions[:, 2:],
        distance=torch.where(both_text, positions[:, 2] - positions[:, 0], 0),
        head_object=head_object,
        tail_object=tail_object,
    )


def _pad(lists: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
    """Pad lists of integers at the end into one tensor."""
    return pad_sequence([torch.tensor(x) for x in lists], batch_first=True, padding_value=fill)
