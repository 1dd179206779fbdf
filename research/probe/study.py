"""The visual probe: does a model use the image? Posts are made anew and scored with their images,
without them, and with shuffled ones.

Everything is scored through :class:`rukh.extractor.Extractor`, as a user would. A pair is correct
only if it is predicted correctly in both orders.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from research.probe.cutouts import Cutouts, Split, find_assets
from research.probe.posts import (
    AGREES,
    AT_EVENTS,
    POSITIONS,
    RELATIONS,
    SHARED_IMAGES,
    TRACKS,
    Probe,
)
from rukh.extractor import Extractor
from rukh.records import Box, Pair, Post, both_orders
from rukh.schema.schema import RelationSchema
from rukh.utils.markdown import markdown_table, percent

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class ProbeScores(NamedTuple):
    """The scores of some posts.

    Attributes:
        correct: Whether each labelled pair is predicted correctly in both orders.
        gate: Mean gate of the images; None without any.
    """

    correct: list[bool]
    gate: float | None

    @property
    def accuracy(self) -> float:
        """Share of correct pairs."""
        return round(sum(self.correct) / len(self.correct), 4)


def score(extractor: Extractor, posts: Sequence[Post]) -> ProbeScores:
    """Score every labelled pair of posts in both orders."""
    both = [
        post.model_copy(
            update={"pairs": tuple(Pair(head=a, tail=b) for a, b in both_orders(post.pairs or ()))}
        )
        for post in posts
    ]
    correct: list[bool] = []
    gates: list[float] = []
    for post, triples in zip(posts, extractor.stream(both), strict=True):
        predicted = [triple.relation for triple in triples]
        gold = [
            label for pair in post.pairs or () for label in _gold_labels(pair, extractor.schema)
        ]
        hits = [a == b for a, b in zip(predicted, gold, strict=True)]
        correct += [a and b for a, b in zip(hits[::2], hits[1::2], strict=True)]
        if triples and triples[0].gate is not None:
            gates.append(triples[0].gate)
    return ProbeScores(correct, round(float(np.mean(gates)), 4) if gates else None)


def _gold_labels(pair: Pair, schema: RelationSchema) -> tuple[str | None, str | None]:
    """The labels of a pair and of the same pair in the reverse order."""
    inverse = schema.inverse_of(pair.relation)
    return pair.relation, schema.nota if inverse is None else inverse


def without_image(post: Post) -> Post:
    """The post without its image, and with every box the whole frame."""
    return _with_boxes(post, [WHOLE] * len(post.objects)).model_copy(update={"image": None})


def boxes_only(post: Post) -> Post:
    """The post without its image, but with its boxes: do they give the label away?"""
    return post.model_copy(update={"image": None})


def shuffled(posts: Sequence[Post], seed: int) -> list[Post]:
    """Each post with the image and the boxes of another."""
    order = np.random.default_rng(seed).permutation(len(posts))
    out: list[Post | None] = [None] * len(posts)
    for to, of in zip(order, np.roll(order, 1), strict=True):
        other = posts[of]
        boxes = [thing.box for thing in other.objects]
        out[to] = _with_boxes(posts[to], boxes).model_copy(update={"image": other.image})
    return [post for post in out if post is not None]


def boxes_shuffled(posts: Sequence[Post], seed: int) -> list[Post]:
    """Each post with its own image and wrong boxes: of three or more objects each takes the box of
    the next one, and two take those of another post.
    """
    others = shuffled(posts, seed)
    return [
        _with_boxes(post, [t.box for t in (*post.objects[1:], post.objects[0])])
        if len(post.objects) > 2
        else other.model_copy(update={"image": post.image})
        for post, other in zip(posts, others, strict=True)
    ]


def _with_boxes(post: Post, boxes: Sequence[Box]) -> Post:
    things = tuple(
        thing.model_copy(update={"box": box})
        for thing, box in zip(post.objects, boxes, strict=True)
    )
    return post.model_copy(update={"objects": things})


def _limit_pairs(posts: Iterator[Post], most: int) -> list[Post]:
    """Posts with ``most`` labelled pairs in total; the last one may lose some of its pairs."""
    out: list[Post] = []
    for post in posts:
        if most <= 0:
            break
        pairs = (post.pairs or ())[:most]
        most -= len(pairs)
        out.append(post.model_copy(update={"pairs": pairs}))
    return out


def run(
    extractor: Extractor,
    seed: int,
    pairs: int = 1000,
    progress: Callable[[str], None] = lambda name: None,
    split: Split = "test",
) -> dict[str, Any]:
    """Figures of all tracks on a new test set.

    Args:
        extractor: Its model was trained on splits ``train`` and ``val`` at most.
        seed: Of layouts, names and the choice of cut-outs; the test cut-outs are always the same.
        pairs: Labelled pairs of each track.
        progress: Called with the name of each track before it is scored.
        split: Whose cut-outs and names to use; ``val`` is for decisions.

    Returns:
        ``split``, ``seed``, ``pairs``, ``seconds``; ``tracks``: for each its ``accuracy``,
        ``accuracy_text_only``, ``accuracy_shuffled``, ``chance`` and mean ``gate`` and
        ``gate_shuffled``, and for tracks with objects also ``accuracy_boxes_only`` and
        ``accuracy_boxes_shuffled``; ``agreeing``: the same of posts whose text and image agree.

    Raises:
        InputError: The cut-outs are missing, or the model's schema has other relations.
    """
    start = time.perf_counter()
    for label in (*RELATIONS.values(), *AT_EVENTS.values(), *POSITIONS):
        extractor.schema.resolve(label, "probe")  # fails before any scene is made
    probe = Probe(Cutouts(find_assets(), split), split, seed)
    measured: dict[str, dict[str, Any]] = {}
    with closing(_generate(probe, pairs)) as made:
        for track, posts in made:
            progress(track)
            measured[track] = _track(extractor, posts, seed)
    return {
        "split": split,
        "seed": seed,
        "pairs": pairs,
        "tracks": {track: measured[track] for track in TRACKS},
        "agreeing": measured[AGREES],
        "seconds": round(time.perf_counter() - start, 1),
    }


def _generate(probe: Probe, pairs: int) -> Generator[tuple[str, list[Post]], None, None]:
    """Each track with its posts, which a thread makes while the previous track is scored.

    Tracks that share the images of ``whole_image`` come next to it, since an extractor keeps only
    the latest image features in memory.
    """
    order = sorted((*TRACKS, AGREES), key=lambda track: track not in SHARED_IMAGES)
    stopped = threading.Event()

    def make(track: str) -> list[Post]:
        most = pairs if track != AGREES else max(1, pairs // 2)
        # Every post has at least one pair.
        posts = itertools.takewhile(lambda _: not stopped.is_set(), probe.posts(track, most))
        return _limit_pairs(posts, most)

    with ThreadPoolExecutor(1) as pool:
        coming = [(track, pool.submit(make, track)) for track in order]
        try:
            for track, posts in coming:
                yield track, posts.result()
        finally:
            stopped.set()  # an interruption waits for one scene only


def _track(extractor: Extractor, posts: Sequence[Post], seed: int) -> dict[str, Any]:
    labels = [str(pair.relation) for post in posts for pair in post.pairs or ()]
    own = score(extractor, posts)
    other = score(extractor, shuffled(posts, seed))
    figures: dict[str, Any] = {
        "pairs": len(labels),
        "accuracy": own.accuracy,
        "accuracy_text_only": score(extractor, [without_image(post) for post in posts]).accuracy,
        "accuracy_shuffled": other.accuracy,
        "chance": round(max(Counter(labels).values()) / len(labels), 4),
        "gate": own.gate,
        "gate_shuffled": other.gate,
    }
    if posts[0].objects:
        alone = [boxes_only(post) for post in posts]
        wrong = boxes_shuffled(posts, seed)
        figures["accuracy_boxes_only"] = score(extractor, alone).accuracy
        figures["accuracy_boxes_shuffled"] = score(extractor, wrong).accuracy
    return figures


def table(figures: Mapping[str, Any]) -> str:
    """The figures in per cent, as a Markdown table."""
    keys = (
        "accuracy", "accuracy_text_only", "accuracy_shuffled", "accuracy_boxes_shuffled",
        "accuracy_boxes_only", "chance",
    )  # fmt: skip
    header = (
        "track", "with image", "text only", "images shuffled", "boxes shuffled", "boxes only",
        "chance", "gate", "gate, shuffled",
    )  # fmt: skip
    rows = []
    for name, one in (*figures["tracks"].items(), (AGREES, figures["agreeing"])):
        cells = [percent(one[key]) if key in one else "" for key in keys]
        gates = ["" if one[k] is None else f"{one[k]:.2f}" for k in ("gate", "gate_shuffled")]
        rows.append((name, *cells, *gates))
    return markdown_table(header, rows) + "\n"
