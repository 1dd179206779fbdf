"""Does a model look? The visual probe, made anew and asked with pictures, without, and shuffled.

Everything is asked through :class:`rukh.extractor.Extractor`, as a user would. A pair is right
only if it is answered rightly in both orders.
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
    SAME_PICTURES,
    TRACKS,
    Probe,
)
from rukh.extractor import Extractor
from rukh.records import Box, Pair, Post, both_orders
from rukh.schema.schema import RelationSchema

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class Asked(NamedTuple):
    """What came of asking posts once.

    Attributes:
        right: Of each labelled pair, whether both orders were answered rightly.
        gate: Mean trust in the pictures; None where no post had one.
    """

    right: list[bool]
    gate: float | None

    @property
    def accuracy(self) -> float:
        """Share of right pairs."""
        return round(sum(self.right) / len(self.right), 4)


def ask(extractor: Extractor, posts: Sequence[Post]) -> Asked:
    """Ask every labelled pair of posts in both orders."""
    both = [
        post.model_copy(
            update={"pairs": tuple(Pair(head=a, tail=b) for a, b in both_orders(post.pairs or ()))}
        )
        for post in posts
    ]
    right: list[bool] = []
    gates: list[float] = []
    for post, triples in zip(posts, extractor.stream(both), strict=True):
        told = [triple.relation for triple in triples]
        wanted = [label for pair in post.pairs or () for label in _both(pair, extractor.schema)]
        hits = [a == b for a, b in zip(told, wanted, strict=True)]
        right += [a and b for a, b in zip(hits[::2], hits[1::2], strict=True)]
        if triples and triples[0].gate is not None:
            gates.append(triples[0].gate)
    return Asked(right, round(float(np.mean(gates)), 4) if gates else None)


def _both(pair: Pair, schema: RelationSchema) -> tuple[str | None, str | None]:
    """The right answers for a pair, and for the same pair turned round."""
    back = schema.inverse_of(pair.relation)
    return pair.relation, schema.nota if back is None else back


def without_picture(post: Post) -> Post:
    """The post without its picture; where things stood in it is then unknown as well."""
    return _boxed(post, [WHOLE] * len(post.objects)).model_copy(update={"image": None})


def boxes_alone(post: Post) -> Post:
    """The post without its picture, but with all boxes: what do they give away?"""
    return post.model_copy(update={"image": None})


def shuffled(posts: Sequence[Post], seed: int) -> list[Post]:
    """Each post with the picture, and with it the boxes, of another."""
    order = np.random.default_rng(seed).permutation(len(posts))
    out: list[Post | None] = [None] * len(posts)
    for to, of in zip(order, np.roll(order, 1), strict=True):
        other = posts[of]
        boxes = [thing.box for thing in other.objects]
        out[to] = _boxed(posts[to], boxes).model_copy(update={"image": other.image})
    return [post for post in out if post is not None]


def boxes_shuffled(posts: Sequence[Post], seed: int) -> list[Post]:
    """Each post with its own picture and wrong boxes: of three objects or more each takes the next
    one's, and two take those of another post.
    """
    others = shuffled(posts, seed)
    return [
        _boxed(post, [t.box for t in (*post.objects[1:], post.objects[0])])
        if len(post.objects) > 2
        else other.model_copy(update={"image": post.image})
        for post, other in zip(posts, others, strict=True)
    ]


def _boxed(post: Post, boxes: Sequence[Box]) -> Post:
    things = tuple(
        thing.model_copy(update={"box": box})
        for thing, box in zip(post.objects, boxes, strict=True)
    )
    return post.model_copy(update={"objects": things})


def _first_pairs(posts: Iterator[Post], most: int) -> list[Post]:
    """Posts with ``most`` labelled pairs together; the last one may lose some of its own."""
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
    """Figures of all tracks on a fresh test set.

    Args:
        extractor: Its model was trained on splits ``train`` and ``val`` at most.
        seed: Of layouts, names and the choice of cut-outs; the test cut-outs are always the same.
        pairs: Labelled pairs of each track.
        progress: Called with the name of what is asked next.
        split: Whose cut-outs and names; ``val`` for decisions, so that the test decides none.

    Returns:
        ``split``, ``seed``, ``pairs``, ``seconds``; ``tracks``: for each its ``accuracy``,
        ``accuracy_text_only``, ``accuracy_shuffled``, ``chance`` and mean ``gate`` and
        ``gate_shuffled``, and where objects are asked also ``accuracy_boxes_only`` and
        ``accuracy_boxes_shuffled``; ``agreeing``: the same of posts whose text and picture agree.

    Raises:
        InputError: The cut-outs are not there, or the model's schema has other relations.
    """
    start = time.perf_counter()
    for label in (*RELATIONS.values(), *AT_EVENTS.values(), *POSITIONS):
        extractor.schema.resolve(label, "probe")  # said before any scene is made
    probe = Probe(Cutouts(find_assets(), split), split, seed)
    measured: dict[str, dict[str, Any]] = {}
    with closing(_made(probe, pairs)) as made:
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


def _made(probe: Probe, pairs: int) -> Generator[tuple[str, list[Post]], None, None]:
    """Each track with its posts, which a thread makes while those before them are asked.

    Tracks that show the pictures of ``whole_image`` come next to it: an extractor keeps only the
    last maps in memory.
    """
    order = sorted((*TRACKS, AGREES), key=lambda track: track not in SAME_PICTURES)
    stopped = threading.Event()

    def make(track: str) -> list[Post]:
        most = pairs if track != AGREES else max(1, pairs // 2)
        # As many posts as there may have to be: none has fewer than one pair.
        posts = itertools.takewhile(lambda _: not stopped.is_set(), probe.posts(track, most))
        return _first_pairs(posts, most)

    with ThreadPoolExecutor(1) as pool:
        coming = [(track, pool.submit(make, track)) for track in order]
        try:
            for track, posts in coming:
                yield track, posts.result()
        finally:
            stopped.set()  # an interruption waits for one scene, not for all


def _track(extractor: Extractor, posts: Sequence[Post], seed: int) -> dict[str, Any]:
    labels = [str(pair.relation) for post in posts for pair in post.pairs or ()]
    own = ask(extractor, posts)
    other = ask(extractor, shuffled(posts, seed))
    figures: dict[str, Any] = {
        "pairs": len(labels),
        "accuracy": own.accuracy,
        "accuracy_text_only": ask(extractor, [without_picture(post) for post in posts]).accuracy,
        "accuracy_shuffled": other.accuracy,
        "chance": round(max(Counter(labels).values()) / len(labels), 4),
        "gate": own.gate,
        "gate_shuffled": other.gate,
    }
    if posts[0].objects:
        alone = [boxes_alone(post) for post in posts]
        wrong = boxes_shuffled(posts, seed)
        figures["accuracy_boxes_only"] = ask(extractor, alone).accuracy
        figures["accuracy_boxes_shuffled"] = ask(extractor, wrong).accuracy
    return figures


def table(figures: Mapping[str, Any]) -> str:
    """The figures in percent, as a Markdown table."""
    keys = (
        "accuracy", "accuracy_text_only", "accuracy_shuffled", "accuracy_boxes_shuffled",
        "accuracy_boxes_only", "chance",
    )  # fmt: skip
    heads = (
        "with picture",
        "text only",
        "pictures shuffled",
        "boxes shuffled",
        "boxes only",
        "chance",
    )
    lines = [
        "| track | " + " | ".join(heads) + " | gate | gate, shuffled |",
        "|---" * (len(heads) + 3) + "|",
    ]
    for name, one in (*figures["tracks"].items(), (AGREES, figures["agreeing"])):
        cells = [f"{100 * one[key]:.1f}" if key in one else "" for key in keys]
        gates = ["" if one[k] is None else f"{one[k]:.2f}" for k in ("gate", "gate_shuffled")]
        lines.append("| " + " | ".join([name, *cells, *gates]) + " |")
    return "\n".join(lines) + "\n"
