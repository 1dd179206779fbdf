"""Deletion and sufficiency of the words that an explanation ranks highest, against random words."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rukh.arguments.candidates import PostPart
from rukh.explain import Method, explain, without_words
from rukh.extractor import Extractor, PostQuery
from rukh.records import Post, Triple
from rukh.utils.bootstrap import percentile_interval, resampled_sums

WORDS = 3
"""Number of words that are taken away, or left."""
DRAWS = 5
"""Number of random choices of as many words."""

Span = tuple[int, int]


class Falls(NamedTuple):
    """Falls of one triple's probability.

    Attributes:
        post: Index of the post.
        deleted, deleted_random: Without the top words, and without random ones.
        left, left_random: With only the top words or random ones, beside the entities.
        error: See :class:`rukh.explain.Explanation`.
    """

    post: int
    deleted: float
    deleted_random: float
    left: float
    left_random: float
    error: float | None


def measure(
    extractor: Extractor, posts: Iterable[Post], method: Method, *, seed: int = 13
) -> Iterator[Falls]:
    """Yield the falls of each triple that is predicted for posts with given entities."""
    rng = random.Random(seed)
    for index, (post, triples) in enumerate(extractor.stream_posts(posts)):
        for triple in triples:
            explanation = explain(extractor, post, triple, method=method, with_changes=False)
            words = [w for w in explanation.words if any(c.isalnum() for c in w.text)]
            free = [
                word
                for word in words
                if all(word.end <= e.start or word.start >= e.end for e in post.entities)
            ]
            if len(free) < 2 * WORDS:
                continue
            top = sorted(free, key=lambda word: -word.weight)[:WORDS]
            chosen = [
                [(word.start, word.end) for word in some]
                for some in (top, *(rng.sample(free, WORDS) for _ in range(DRAWS)))
            ]
            every = [(word.start, word.end) for word in free]
            variants = [without_words(post, spans) for spans in chosen]
            variants += [
                without_words(post, [span for span in every if span not in spans])
                for spans in chosen
            ]
            falls = [triple.score - p for p in probabilities(extractor, variants, triple)]
            deleted, left = falls[: 1 + DRAWS], falls[1 + DRAWS :]
            yield Falls(
                index,
                deleted[0],
                sum(deleted[1:]) / DRAWS,
                left[0],
                sum(left[1:]) / DRAWS,
                explanation.error,
            )


def probabilities(extractor: Extractor, posts: Sequence[Post], triple: Triple) -> list[float]:
    """Return the probability of a triple's relation in other versions of its post."""
    pair = (triple.head.id, triple.tail.id)
    queries = [PostQuery(post, [PostPart(post, [pair])], pairs_given=False) for post in posts]
    answers = extractor.predict(queries, top_k=1 + len(extractor.bank.names))
    return [
        next((one.score for one in answer.ranking or () if one.relation == triple.relation), 0.0)
        for (answer,) in answers
    ]


def summarize(falls: Sequence[Falls]) -> dict[str, tuple[float, float, float]]:
    """Return each mean fall, and the ratio to that of random words, with 95 % intervals.

    Posts are resampled, because the triples of one post are not independent.
    """
    posts = sorted({fall.post for fall in falls})
    sums = np.zeros((len(posts), 5))
    for fall in falls:
        row = [fall.deleted, fall.deleted_random, fall.left, fall.left_random, 1]
        sums[posts.index(fall.post)] += row
    totals = np.vstack([sums.sum(0), resampled_sums(sums)])
    deleted, deleted_random, left, left_random, count = totals.T
    values = {
        "without the top words": deleted / count,
        "without random words": deleted_random / count,
        "deletion, ratio": deleted / deleted_random,
        "with the top words only": left / count,
        "with random words only": left_random / count,
    }
    return {name: (float(v[0]), *percentile_interval(v[1:])) for name, v in values.items()}
