"""Detectors: pictures in, the objects in them out; and how posts come by objects to ask about.

A detector is named ``hf:NAME_OR_FOLDER`` (any object-detection model of Hugging Face's form), or by
what a third party registered in :mod:`rukh.registry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from rukh import registry
from rukh.arguments.label_map import normalize_label
from rukh.errors import InputError, RukhError
from rukh.modeling.image_io import load_image
from rukh.records import Box, Post, VisualObject
from rukh.registry import resolve
from rukh.schema.schema import RelationSchema

if TYPE_CHECKING:
    from PIL import Image

MAX_OBJECTS = 20
"""The most objects of a picture that are taken, the surest first, where nobody says otherwise."""


class Detector(Protocol):
    """Finds objects in pictures."""

    def detect(self, images: Sequence[Image.Image]) -> list[list[VisualObject]]:
        """The objects of each RGB picture, the surest first, ids ``o0``, ``o1`` ...

        Each has a ``box``, a ``label`` in the detector's own words, no ``type``, and in ``meta`` a
        ``score`` in [0, 1].
        """


def load_detector(source: str) -> Detector:
    """The detector that a name stands for, ``KIND`` or ``KIND:WHERE``.

    Raises:
        InputError: There is no such kind.
        WeightsError: There is no such detector.
    """
    kind, _, where = source.partition(":")
    detector: Detector = resolve("detectors", kind).from_pretrained(where)
    return detector


def fingerprint(source: str) -> dict[str, str]:
    """Hashes of a detector's files, see :func:`rukh.registry.fingerprint`; empty for one of no
    known kind.
    """
    kind, _, where = source.partition(":")
    try:
        return registry.fingerprint(resolve("detectors", kind), where)
    except RukhError:
        return {}


def as_objects(found: Sequence[tuple[Box, str, float]]) -> list[VisualObject]:
    """Boxes, labels and scores as objects, the surest first.

    Boxes are clipped to the picture; what lies outside of it is dropped.

    Example:
        >>> (one,) = as_objects([((-0.1, 0.2, 0.5, 0.9), "dog", 0.75), ((1, 0, 2, 1), "cat", 0.5)])
        >>> one.id, one.box, one.label, one.meta
        ('o0', (0.0, 0.2, 0.5, 0.9), 'dog', {'score': 0.75})
    """
    objects: list[VisualObject] = []
    for box, label, score in sorted(found, key=lambda one: -one[2]):
        x1, y1, x2, y2 = (round(min(max(float(edge), 0.0), 1.0), 4) for edge in box)
        if x1 < x2 and y1 < y2:
            meta: dict[str, Any] = {"score": round(float(score), 4)}
            name = f"o{len(objects)}"
            objects.append(VisualObject(id=name, box=(x1, y1, x2, y2), label=label, meta=meta))
    return objects


def object_type(label: str, schema: RelationSchema) -> str | None:
    """The type of a schema that a detector's label belongs to.

    That of which it is the name or the word (``person`` is MNRE's ``PER``), else ``MISC`` where the
    schema has it; else None, and the label alone is read.

    Example:
        >>> mnre = RelationSchema.load("mnre")
        >>> [object_type(label, mnre) for label in ("person", "dog")]
        ['PER', 'MISC']
    """
    known = {name.casefold(): name for name in schema.types}
    known |= {word.casefold(): name for name, word in schema.types.items()}
    for word in (label, normalize_label(label) or label):
        if (found := known.get(word.casefold())) is not None:
            return found
    return known.get("misc")


def with_objects(
    posts: Sequence[Post], detector: Detector, schema: RelationSchema, most: int = MAX_OBJECTS
) -> list[Post]:
    """The posts with objects where one has a picture, gives no objects, and names no pairs.

    Pictures that cannot be read give none. Objects are typed by :func:`object_type`; their ids
    leave out those that entities bear.
    """
    images: dict[int, Image.Image] = {}
    for i, post in enumerate(posts):
        if post.image is not None and post.pairs is None and not post.objects:
            try:
                images[i] = load_image(post.image)
            except InputError:  # told by whoever reads it for the model
                continue
    out = list(posts)
    for i, objects in zip(images, detector.detect(list(images.values())), strict=True):
        taken = {entity.id for entity in posts[i].entities}
        free = (name for name in map("o{}".format, count()) if name not in taken)
        chosen = tuple(
            thing.model_copy(
                update={"id": next(free), "type": object_type(thing.label or "", schema)}
            )
            for thing in objects[:most]
        )
        out[i] = posts[i].model_copy(update={"objects": chosen})
    return out
