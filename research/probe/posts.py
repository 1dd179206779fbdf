"""Posts of the visual probe: five tracks in which the image decides, or must not.

In the first four tracks labels are drawn independently of the words, so that the text alone cannot
beat the commonest label. In ``picture_misleads`` the text states the relation, and the image shows
the subject of another relation. ``picture_agrees`` is a control: the same sentences with a fitting
image, from which the gate can learn the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from research.probe import texts as texts
from research.probe.cutouts import SPLITS, Cutout, Cutouts, Split, find_assets
from research.probe.scenes import Placed, compose, frame_at, scene_size, slots
from rukh.records import Box, Pair, Post, TextEntity, VisualObject
from rukh.utils.files import atomic_folder

TRACKS = ("whole_image", "one_region", "position", "object_argument", "picture_misleads")
AGREES = "picture_agrees"
SHARED_IMAGES = ("whole_image", "picture_misleads", AGREES)
"""Posts of these tracks with the same number show the same image."""

RELATIONS = {
    "animal": "keeps",
    "vehicle": "drives",
    "flower": "grows",
    "coin": "collects",
    "clock": "repairs",
    "flag": "represents",
    "nothing": "none",
}
"""The relation of a person to the thing shown, by its subject."""

AT_EVENTS = {
    "animal": "exhibits_at",
    "vehicle": "races_at",
    "flower": "decorates",
    "coin": "funds",
    "clock": "times",
    "flag": "carries_flag_at",
    "nothing": "none",
}
"""The relation of the person who holds a thing to an event, by the subject of the thing."""

POSITIONS = ("left_of", "right_of", "above", "below", "inside", "contains")

SIZES: dict[Split, dict[str, int]] = {
    "train": {
        "whole_image": 2200, "one_region": 900, "position": 1500, "object_argument": 350,
        "picture_misleads": 600, "picture_agrees": 400,
    },
    "val": {
        "whole_image": 200, "one_region": 100, "position": 100, "object_argument": 100,
        "picture_misleads": 200, "picture_agrees": 100,
    },
    "test": {
        "whole_image": 200, "one_region": 100, "position": 100, "object_argument": 100,
        "picture_misleads": 200, "picture_agrees": 100,
    },
}  # fmt: skip
"""Posts of each track; those of the last two share the images of ``whole_image``."""


class Probe:
    """Makes the posts of one split.

    Args:
        cutouts: Those of the split.
        split: Whose names are used.
        seed: Decides everything except which cut-outs belong to the split.

    Example:
        >>> probe = Probe(Cutouts(find_assets(), "test"), "test", seed=1)   # doctest: +SKIP
        >>> next(probe.posts("position", 1)).pairs[0].relation              # doctest: +SKIP
        'below'
    """

    def __init__(self, cutouts: Cutouts, split: Split, seed: int) -> None:
        self.cutouts, self.split, self.seed = cutouts, split, seed
        self._images: dict[int, tuple[bytes, str]] = {}  # three tracks share them

    def posts(self, track: str, count: int) -> Iterator[Post]:
        """The first ``count`` posts of a track, or of :data:`AGREES`; images are bytes.

        The result does not depend on earlier calls.
        """
        for number in range(count):
            yield getattr(self, f"_{track}")(number, self._random(track, number))

    def _random(self, what: str, number: int) -> np.random.Generator:
        parts = [(*TRACKS, AGREES, "images").index(what), SPLITS.index(self.split), number]
        return np.random.default_rng([self.seed, *parts])

    def _cutout(self, random: np.random.Generator, subject: str) -> Cutout:
        return self.cutouts.of[subject][int(random.integers(len(self.cutouts.of[subject])))]

    def _placed(self, random: np.random.Generator, subject: str, frame: Box) -> Placed:
        return Placed(self.cutouts.load(self._cutout(random, subject)), frame)

    def _image(self, number: int) -> tuple[bytes, str]:
        """The image of the post ``number`` of ``whole_image``, and its subject."""
        if number in self._images:
            return self._images[number]
        random = self._random("images", number)
        subject = texts.pick(random, list(RELATIONS))
        # Things that no relation covers may appear in any image.
        things = [
            self._placed(random, "nothing", frame_at(random, _anywhere(random), 0.15))
            for _ in range(int(random.integers(3)))
        ]
        centre = (random.uniform(0.3, 0.7), random.uniform(0.3, 0.7))
        things.append(
            self._placed(random, subject, frame_at(random, centre, random.uniform(0.55, 0.9)))
        )
        image, _ = compose(random, scene_size(random), things)
        self._images[number] = image, subject
        return image, subject

    def _whole_image(self, number: int, random: np.random.Generator) -> Post:
        image, subject = self._image(number)
        return self._named(
            "whole_image", number, random, texts.NEUTRAL, RELATIONS[subject], image, decides=False
        )

    def _picture_misleads(self, number: int, random: np.random.Generator) -> Post:
        image, subject = self._image(number)
        others = [label for label in texts.STATED if label != RELATIONS[subject]]
        label = texts.pick(random, others)
        return self._named(
            "picture_misleads", number, random, texts.STATED[label], label, image, fits=False
        )

    def _picture_agrees(self, number: int, random: np.random.Generator) -> Post:
        image, subject = self._image(number)
        label = RELATIONS[subject]
        return self._named(AGREES, number, random, texts.STATED[label], label, image)

    def _named(
        self,
        track: str,
        number: int,
        random: np.random.Generator,
        cores: tuple[str, ...],
        label: str,
        image: bytes,
        *,
        decides: bool = True,
        fits: bool = True,
    ) -> Post:
        """A post with a person and a name."""
        names = {"A": texts.person(random, self.split), "T": texts.invented(random, self.split)}
        text, spans = texts.sentence(random, cores, names)
        return Post(
            id=f"{track}-{number}",
            text=text,
            image=image,
            entities=_entities(spans, {"A": "PER", "T": "NAME"}),
            pairs=(Pair(head="A", tail="T", relation=label),),
            meta=_meta(track, decides, fits),
        )

    def _one_region(self, number: int, random: np.random.Generator) -> Post:
        subjects = [texts.pick(random, list(AT_EVENTS)) for _ in range(3)]
        while len(set(subjects)) == 1:
            subjects = [texts.pick(random, list(AT_EVENTS)) for _ in range(3)]
        frames = slots(random, 0.46, 0.49)
        things = []
        for frame, subject in zip(frames, subjects, strict=False):
            body, hands = _held(random, frame)
            things += [
                self._placed(random, "person", body),
                self._placed(random, subject, hands),
            ]
        if random.random() < 0.5:
            things.append(self._placed(random, "nothing", _shrunk(frames[3], 0.5)))
        image, _ = compose(random, scene_size(random), things)
        event = f"{texts.invented(random, self.split)} {texts.pick(random, texts.EVENT_KINDS)}"
        text, spans = texts.sentence(random, texts.EVENTS, {"T": event})
        return Post(
            id=f"one_region-{number}",
            text=text,
            image=image,
            entities=_entities(spans, {"T": "EVENT"}),
            # The frames, not their contents: the shape would distinguish a flag from a coin.
            objects=_objects(frames[:3], "person"),
            pairs=tuple(
                Pair(head=f"o{i}", tail="T", relation=AT_EVENTS[subject])
                for i, subject in enumerate(subjects)
            ),
            meta=_meta("one_region", False, True),
        )

    def _position(self, number: int, random: np.random.Generator) -> Post:
        label = texts.pick(random, POSITIONS)
        subjects = [texts.pick(random, list(RELATIONS)) for _ in range(2)]
        first, second = _standing(random, label)
        things = [
            self._placed(random, s, f) for s, f in zip(subjects, (first, second), strict=True)
        ]
        # The inner thing is drawn after the outer one.
        if label == "inside":
            things.reverse()
        clutter = [
            self._placed(random, "nothing", frame_at(random, _anywhere(random), 0.12))
            for _ in range(int(random.integers(3)))
        ]
        image, boxes = compose(random, scene_size(random), [*clutter, *things])
        boxes = boxes[len(clutter) :]
        if label == "inside":
            boxes.reverse()
        names = {"A": texts.person(random, self.split), "T": texts.invented(random, self.split)}
        text, spans = texts.sentence(random, texts.WALLS, names)
        return Post(
            id=f"position-{number}",
            text=text,
            image=image,
            entities=_entities(spans, {"A": "PER", "T": "NAME"}),
            objects=_objects(boxes, "thing"),
            pairs=(Pair(head="o0", tail="o1", relation=label),),
            meta=_meta("position", False, True),
        )

    def _object_argument(self, number: int, random: np.random.Generator) -> Post:
        """Four things and their owner, with or without somebody else: half the pairs are none."""
        beside = random.random() < 0.4
        covered = 3 if beside else (1, 2, 2, 3)[int(random.integers(4))]
        some = list(RELATIONS)[:-1]
        subjects = [texts.pick(random, some) for _ in range(covered)] + ["nothing"] * (4 - covered)
        order = random.permutation(4)
        subjects = [subjects[int(i)] for i in order]
        frames = slots(random, 0.38, 0.48)
        things = [self._placed(random, s, f) for s, f in zip(subjects, frames, strict=True)]
        image, _ = compose(random, scene_size(random), things)
        names = {"A": texts.person(random, self.split), "B": texts.person(random, self.split)}
        cores = texts.BESIDE if beside else texts.ALONE
        text, spans = texts.sentence(random, cores, names)
        pairs = [
            Pair(head="A", tail=f"o{i}", relation=RELATIONS[subject])
            for i, subject in enumerate(subjects)
        ]
        if beside:
            others = [i for i, subject in enumerate(subjects) if subject != "nothing"]
            pairs += [Pair(head="B", tail=f"o{i}", relation="none") for i in others[:2]]
        return Post(
            id=f"object_argument-{number}",
            text=text,
            image=image,
            entities=_entities(spans, {"A": "PER", "B": "PER"}),
            objects=_objects(frames, "thing"),
            pairs=tuple(pairs),
            meta=_meta("object_argument", False, True),
        )


def write_probe(
    out: Path, seed: int, sizes: Mapping[Split, Mapping[str, int]] = SIZES
) -> dict[str, int]:
    """Write ``{train,val,test}.jsonl`` and ``images/`` into a folder, atomically.

    Returns:
        The number of posts of each split.

    Raises:
        InputError: The cut-outs are missing, or the folder cannot be written.
    """
    import hashlib

    from tqdm import tqdm

    from rukh.data.readers import write

    assets = find_assets()
    counts: dict[str, int] = {}
    with atomic_folder(out) as part:
        (part / "images").mkdir()

        def stored(post: Post) -> Post:
            # Named by content, so that posts with the same image share a file.
            assert isinstance(post.image, bytes)
            path = part / "images" / f"{hashlib.sha256(post.image).hexdigest()[:16]}.jpg"
            path.write_bytes(post.image)  # the folder appears when it is complete
            return post.model_copy(update={"image": path})

        for split, tracks in sizes.items():
            probe = Probe(Cutouts(assets, split), split, seed)
            posts = (p for track, count in tracks.items() for p in probe.posts(track, count))
            counts[split] = sum(tracks.values())
            shown = tqdm(posts, desc=split, total=counts[split], leave=False, disable=None)
            write(map(stored, shown), part / f"{split}.jsonl", "jsonl")
    return counts


def _meta(track: str, decides: bool, fits: bool) -> dict[str, Any]:
    return {"track": track, "text_decides": decides, "image_fits": fits}


def _entities(
    spans: Mapping[str, tuple[int, int]], types: Mapping[str, str]
) -> tuple[TextEntity, ...]:
    return tuple(
        TextEntity(id=name, start=start, end=end, type=types[name])
        for name, (start, end) in spans.items()
    )


def _objects(boxes: list[Box], kind: str) -> tuple[VisualObject, ...]:
    things = []
    for i, box in enumerate(boxes):
        left, top, right, bottom = (round(side, 4) for side in box)
        things.append(VisualObject(id=f"o{i}", box=(left, top, right, bottom), type=kind))
    return tuple(things)


def _anywhere(random: np.random.Generator) -> tuple[float, float]:
    return random.uniform(), random.uniform()


def _held(random: np.random.Generator, frame: Box) -> tuple[Box, Box]:
    """Frames of a person and of what the person holds, at the left or right inside a frame."""
    left, top, right, bottom = frame
    side = right - left
    body, thing = 0.5 * side, random.uniform(0.72, 0.8) * side
    at_left = random.random() < 0.5
    x = left if at_left else right - body
    y = right - thing if at_left else left
    return (x, top, x + body, top + body), (y, bottom - thing, y + thing, bottom)


def _shrunk(frame: Box, share: float) -> Box:
    x, y = (frame[0] + frame[2]) / 2, (frame[1] + frame[3]) / 2
    half = share * (frame[2] - frame[0]) / 2
    return (x - half, y - half, x + half, y + half)


def _standing(random: np.random.Generator, label: str) -> tuple[Box, Box]:
    """Frames of head and tail whose positions match the label."""
    if label in ("right_of", "below", "contains"):
        swapped = {"right_of": "left_of", "below": "above", "contains": "inside"}[label]
        second, first = _standing(random, swapped)
        return first, second
    if label == "inside":
        outer = random.uniform(0.6, 0.9)
        inner = outer * random.uniform(0.2, 0.4)
        around = frame_at(random, (random.uniform(0.3, 0.7), random.uniform(0.3, 0.7)), outer)
        middle = ((around[0] + around[2]) / 2, (around[1] + around[3]) / 2)
        slack = 0.1 * outer
        centre = (
            middle[0] + random.uniform(-slack, slack),
            middle[1] + random.uniform(-slack, slack),
        )
        return frame_at(random, centre, inner), around
    one, two = random.uniform(0.2, 0.45), random.uniform(0.2, 0.45)
    gap = random.uniform(0.0, 0.95 - one - two)
    start = random.uniform(0, 1 - one - two - gap)
    # Across the direction the centres differ by less than they do along it.
    along = gap + (one + two) / 2
    low = max(one, two) / 2
    across = random.uniform(low, 1 - low)
    shift = random.uniform(-0.4, 0.4) * along
    a = (start, across - one / 2, start + one, across + one / 2)
    begin = start + one + gap
    centre_b = min(max(across + shift, two / 2), 1 - two / 2)
    b = (begin, centre_b - two / 2, begin + two, centre_b + two / 2)
    if label == "above":
        a, b = (a[1], a[0], a[3], a[2]), (b[1], b[0], b[3], b[2])
    return a, b
