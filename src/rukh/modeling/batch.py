"""Rows and pictures of several posts, padded into the tensors that the pair tower reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rukh.modeling.markers import MarkedSequence
from rukh.modeling.vision_encoder import PatchMap
from rukh.records import VisualObject


@dataclass
class PairBatch:
    """A batch of ``B`` rows, ``T`` positions, ``R`` objects, ``P`` patches and ``Q`` asked pairs.

    Attributes:
        ids, roles, types, positions, segments, groups, objects: ``(B, T)``; ``types`` and
            ``type_names`` index each other, -1 for none; ``groups`` is -1 where there is nothing,
            0 for words, ``k`` for the markers of the row's k-th levitated pair.
        type_names: The batch's distinct type strings.
        boxes, object_types, has_object: ``(B, R, 4)``, ``(B, R)``, ``(B, R)``.
        patches, patch_boxes, has_patch: ``(B, P, D)``, ``(B, P, 4)``, ``(B, P)``; ``P`` is 0 where
            no post of the batch has a picture.
        row: ``(Q,)`` the row of each asked pair.
        head, tail: ``(Q, 2)`` positions of start and end marker, objects after the ``T`` words.
        distance: ``(Q,)`` signed distance from head to tail, in pieces; 0 unless both are text.
        head_object, tail_object: ``(Q,)`` which of the row's objects, -1 for text.
    """

    ids: Tensor
    roles: Tensor
    types: Tensor
    type_names: list[str]
    positions: Tensor
    segments: Tensor
    groups: Tensor
    objects: Tensor
    boxes: Tensor
    object_types: Tensor
    has_object: Tensor
    patches: Tensor
    patch_boxes: Tensor
    has_patch: Tensor
    row: Tensor
    head: Tensor
    tail: Tensor
    distance: Tensor
    head_object: Tensor
    tail_object: Tensor

    @property
    def kind(self) -> Tensor:
        """``(Q,)`` 0 text-text, 1 text-object, 2 object-text, 3 object-object."""
        return 2 * (self.head_object >= 0).long() + (self.tail_object >= 0).long()

    def of(self, objects: Tensor, which: Tensor) -> Tensor:
        """What is told of each pair's argument, ``(Q, d)``; zeros for text.

        Args:
            objects: ``(B, R, d)`` what is told of each object.
            which: ``head_object`` or ``tail_object``.
        """
        if not objects.shape[1]:
            return objects.new_zeros(len(which), objects.shape[2])
        told = objects[self.row, which.clamp_min(0)]
        return torch.where((which >= 0)[:, None], told, 0.0)

    @property
    def head_box(self) -> Tensor:
        """``(Q, 4)``, zeros for text."""
        return self.of(self.boxes, self.head_object)

    @property
    def tail_box(self) -> Tensor:
        """``(Q, 4)``, zeros for text."""
        return self.of(self.boxes, self.tail_object)

    def turned(self) -> PairBatch:
        """The same batch with every pair asked from tail to head."""
        return replace(
            self,
            head=self.tail,
            tail=self.head,
            distance=-self.distance,
            head_object=self.tail_object,
            tail_object=self.head_object,
        )


def collate(
    rows: Sequence[MarkedSequence],
    objects: Sequence[Sequence[VisualObject]],
    pictures: Sequence[PatchMap | None],
    visual_dim: int,
) -> PairBatch:
    """Pad rows with their posts' objects and pictures; pairs come out row by row, in order."""
    names: dict[str, int] = {}

    def type_id(name: str | None) -> int:
        return -1 if name is None else names.setdefault(name, len(names))

    def padded(lists: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
        return pad_sequence([torch.tensor(x) for x in lists], batch_first=True, padding_value=fill)

    width = max(len(row) for row in rows)
    most = max((len(o) for o in objects), default=0)
    boxes = torch.zeros(len(rows), most, 4)
    has_object = torch.zeros(len(rows), most, dtype=torch.bool)
    object_types = torch.full((len(rows), most), -1)
    for i, chosen in enumerate(objects):
        for k, thing in enumerate(chosen):
            boxes[i, k] = torch.tensor(thing.box)
            has_object[i, k] = True
            object_types[i, k] = type_id(thing.type or thing.label)
    count = max((len(p.states) for p in pictures if p is not None), default=0)
    patches = torch.zeros(len(rows), count, visual_dim)
    patch_boxes = torch.zeros(len(rows), count, 4)
    has_patch = torch.zeros(len(rows), count, dtype=torch.bool)
    for i, picture in enumerate(pictures):
        if picture is not None:
            patches[i, : len(picture.states)] = picture.states
            patch_boxes[i, : len(picture.states)] = picture.boxes
            has_patch[i, : len(picture.states)] = True

    where: list[int] = []
    slots: list[tuple[int, int, int, int]] = []
    distance: list[int] = []
    pair_objects: list[list[int]] = []
    for i, row in enumerate(rows):
        for ask in row.asks:
            head, tail = ask.head, ask.tail
            # A levitated object has markers like a word; they say which object they stand for.
            things = [-1 - p if p < 0 else row.objects[p] for p in (head[0], tail[0])]
            where.append(i)
            # Marker positions say where the marked words stand, in every scheme.
            distance.append(
                0 if max(things) >= 0 else row.positions[tail[0]] - row.positions[head[0]]
            )
            pair_objects.append(things)
            a, b, c, d = (p if p >= 0 else width - 1 - p for p in (*head, *tail))
            slots.append((a, b, c, d))
    slot = torch.tensor(slots).reshape(-1, 4)
    whose = torch.tensor(pair_objects, dtype=torch.long).reshape(-1, 2)
    return PairBatch(
        ids=padded([row.ids for row in rows]),
        roles=padded([row.roles for row in rows]),
        types=padded([[type_id(t) for t in row.types] for row in rows], -1),
        type_names=list(names),
        positions=padded([row.positions for row in rows]),
        segments=padded([row.segments for row in rows]),
        groups=padded([row.groups for row in rows], -1),
        objects=padded([row.objects for row in rows], -1),
        boxes=boxes,
        object_types=object_types,
        has_object=has_object,
        patches=patches,
        patch_boxes=patch_boxes,
        has_patch=has_patch,
        row=torch.tensor(where, dtype=torch.long),
        head=slot[:, :2],
        tail=slot[:, 2:],
        distance=torch.tensor(distance),
        head_object=whose[:, 0],
        tail_object=whose[:, 1],
    )
