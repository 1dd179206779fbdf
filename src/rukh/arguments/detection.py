"""Object detectors, and object detection for posts that have an image but no objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from rukh.arguments.label_map import normalize_label
from rukh.errors import InputError
from rukh.modeling.device import choose_device, move
from rukh.modeling.image_io import load_image
from rukh.records import Box, Post, VisualObject, free_ids
from rukh.registry import resolve_source
from rukh.schema.schema import RelationSchema

if TYPE_CHECKING:
    import torch
    from PIL import Image

MAX_OBJECTS = 20
"""Default maximum number of objects per image."""


class Detector(Protocol):
    """Interface of object detectors. Registered classes need the class methods of taggers."""

    def detect(self, images: Sequence[Image.Image]) -> list[list[VisualObject]]:
        """Detect the objects of each RGB image, highest score first, with ids ``o0``, ``o1``, ...

        An object has a box, the detector's label, no type, and ``meta["score"]`` in [0, 1].
        """


def load_detector(source: str, *, device: str | torch.device = "auto") -> Detector:
    """Load a detector from ``hf:NAME``, ``hf:FOLDER``, or ``KIND:NAME`` with a registered kind.

    Args:
        source: The detector.
        device: Name of a device, as in :func:`rukh.modeling.device.choose_device`.

    Raises:
        InputError: The kind is unknown, or there is no such device.
        WeightsError: The model is not found.
    """
    device = choose_device(device)
    implementation, name = resolve_source("detectors", source)
    detector: Detector = implementation.from_pretrained(name)
    return move(detector, device)


def to_objects(detections: Sequence[tuple[Box, str, float]]) -> list[VisualObject]:
    """Build objects from boxes, labels and scores, highest score first.

    Boxes are clipped to the image. Boxes outside the image are dropped.

    Example:
        >>> (one,) = to_objects([((-0.1, 0.2, 0.5, 0.9), "dog", 0.75), ((1, 0, 2, 1), "cat", 0.5)])
        >>> one.id, one.box, one.label, one.meta
        ('o0', (0.0, 0.2, 0.5, 0.9), 'dog', {'score': 0.75})
    """
    objects: list[VisualObject] = []
    for box, label, score in sorted(detections, key=lambda detection: -detection[2]):
        x1, y1, x2, y2 = (round(min(max(float(edge), 0.0), 1.0), 4) for edge in box)
        if x1 < x2 and y1 < y2:
            objects.append(
                VisualObject(
                    id=f"o{len(objects)}",
                    box=(x1, y1, x2, y2),
                    label=label,
                    meta={"score": round(float(score), 4)},
                )
            )
    return objects


def object_type(label: str, schema: RelationSchema) -> str | None:
    """Map a label to the schema's type with this name or word, or else to its type ``MISC``.

    Example:
        >>> mnre = RelationSchema.load("mnre")
        >>> [object_type(label, mnre) for label in ("person", "dog")]
        ['PER', 'MISC']
    """
    types = {type_.casefold(): type_ for type_ in schema.types}
    types |= {word.casefold(): type_ for type_, word in schema.types.items()}
    names = (label, normalize_label(label), "misc")
    return next((types[name.casefold()] for name in names if name.casefold() in types), None)


def detect_objects(
    posts: Sequence[Post], detector: Detector, schema: RelationSchema, max_objects: int
) -> list[Post]:
    """Add detected objects to posts that have an image but no objects.

    Types are assigned by :func:`object_type`. Images that cannot be read are skipped.
    """
    images: dict[int, Image.Image] = {}
    for i, post in enumerate(posts):
        if post.image is not None and not post.objects:
            try:
                images[i] = load_image(post.image)
            except InputError:  # reported when the model reads the image
                continue
    out = list(posts)
    for i, objects in zip(images, detector.detect(list(images.values())), strict=True):
        ids = free_ids("o", (entity.id for entity in posts[i].entities))
        chosen = tuple(
            one.model_copy(update={"id": next(ids), "type": object_type(one.label or "", schema)})
            for one in objects[:max_objects]
        )
        out[i] = posts[i].model_copy(update={"objects": chosen})
    return out
