"""Detected entities, candidate pairs, and the windows in which long texts are read."""

from __future__ import annotations

import logging
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import accumulate, permutations
from math import isqrt
from typing import NamedTuple

from rukh.arguments.label_map import fit_types
from rukh.arguments.tagger import Tagger
from rukh.modeling.text_encoder import TokenizedText
from rukh.records import MAX_PAIRS, Post, TextEntity, check_pair_count, free_ids
from rukh.schema.schema import RelationSchema

logger = logging.getLogger(__name__)

MAX_ARGUMENTS_FOR_ALL_PAIRS = (1 + isqrt(1 + 4 * MAX_PAIRS)) // 2
"""Maximum number of arguments for which all ordered pairs can be predicted."""
_SENTENCE_END = re.compile(r"[.!?…][^\w\s]*\s+|\n\s*")


class PostPart(NamedTuple):
    """A post, or a window of one, and the pairs to predict in it, as argument ids.

    The arguments have the ids of the whole post, and offsets into the text of the window.
    """

    post: Post
    pairs: list[tuple[str, str]]


def add_entities(
    posts: Sequence[Post], tagger: Tagger, wanted: Collection[str], *, in_windows: bool
) -> list[Post]:
    """Add detected entities to the posts that have a text but no entities.

    Args:
        posts: The posts.
        tagger: The tagger.
        wanted: The types of the schema, see :func:`rukh.arguments.label_map.fit_type`.
        in_windows: Whether texts are read in windows, so that the number of entities is not
            limited. It always is in a post with objects, which are in every window.
    """
    completed = list(posts)
    bare = [i for i, post in enumerate(posts) if not post.entities and post.text.strip()]
    detected = tagger.detect_entities([posts[i].text for i in bare]) if bare else []
    for i, entities in zip(bare, detected, strict=True):
        post, kept = posts[i], fit_types(entities, wanted)
        room = max(0, MAX_ARGUMENTS_FOR_ALL_PAIRS - len(post.objects))
        if (post.objects or not in_windows) and (dropped := len(kept[room:])):
            message = "post %r: %d of %d detected entities were dropped to limit the pairs"
            logger.warning(message, post.id, dropped, len(kept))
            kept = kept[:room]
        ids = free_ids("e", [thing.id for thing in post.objects])
        update = {"entities": tuple(e.model_copy(update={"id": next(ids)}) for e in kept)}
        completed[i] = post.model_copy(update=update)
    return completed


def candidate_pairs(post: Post, schema: RelationSchema | None) -> list[tuple[str, str]]:
    """List the ordered argument pairs that any relation allows, or all pairs without a schema.

    Two entities with the same text, ignoring case, are no pair, because they are mentions of one
    person or thing.

    Raises:
        InputError: The post has more than 65,536 ordered pairs, including disallowed ones.

    Example:
        >>> entities = [{"id": "a", "start": 0, "end": 3}, {"id": "r", "start": 7, "end": 11}]
        >>> candidate_pairs(Post(id="1", text="Ann in Rome", entities=entities), None)
        [('a', 'r'), ('r', 'a')]
    """
    check_pair_count(post)
    names = {e.id: post.text[e.start : e.end].casefold() for e in post.entities}
    return [
        (head.id, tail.id)
        for head, tail in permutations(post.arguments, 2)
        if (schema is None or schema.allows(head, tail))
        and (head.id not in names or names[head.id] != names.get(tail.id))
    ]


def candidate_parts(
    post: Post, windows: Sequence[tuple[int, int]], schema: RelationSchema | None
) -> list[PostPart]:
    """List the candidate pairs of each window. A pair is listed in the first window that has both.

    Args:
        windows: Spans of the text, see :func:`text_windows`. Objects are in all of them. A single
            window is the whole post.
        schema: The schema, or None, as in :func:`candidate_pairs`.

    Raises:
        InputError: A window has more than 65,536 ordered pairs.
    """
    if len(windows) == 1:
        return [PostPart(post, candidate_pairs(post, schema))]
    parts = []
    listed: set[tuple[str, str]] = set()
    for start, end in windows:
        inside = tuple(
            e.model_copy(update={"start": e.start - start, "end": e.end - start})
            for e in post.entities
            if start <= e.start and e.end <= end
        )
        update = {"text": post.text[start:end], "entities": inside, "tokens": None}
        part = post.model_copy(update=update)
        pairs = [pair for pair in candidate_pairs(part, schema) if pair not in listed]
        listed.update(pairs)
        parts.append(PostPart(part, pairs))
    return parts


def text_windows(
    text: str, entities: Sequence[TextEntity], tokens: TokenizedText, room: int
) -> list[tuple[int, int]]:
    r"""Divide a text into overlapping windows that an encoder can read at once.

    Windows begin and end between sentences where possible, else between tokens. Each shares at
    least a quarter of its tokens with the next.

    Args:
        text: The text.
        entities: Its entities. Each needs room for two markers.
        tokens: The tokens of the text.
        room: Maximum number of tokens and markers in a window, at least 1.

    Returns:
        Character spans. A text that fits is one window.

    Example:
        >>> text = "Ann left. Bob came. Cleo sang. Dan slept."
        >>> tokens = TokenizedText([0] * 8, [m.span() for m in re.finditer(r"\w+", text)])
        >>> [text[a:b] for a, b in text_windows(text, [], tokens, 5)]
        ['Ann left. Bob came. ', 'Bob came. Cleo sang. ', 'Cleo sang. Dan slept.']
    """
    starts = [start for start, _ in tokens.offsets]
    size = len(starts)
    if size + 2 * len(entities) <= room:
        return [(0, len(text))]
    first_tokens = Counter(max(0, bisect_right(starts, e.start) - 1) for e in entities)
    costs = [0, *accumulate(1 + 2 * first_tokens[i] for i in range(size))]
    sentence_starts = {match.end() for match in _SENTENCE_END.finditer(text)}
    breaks = [i for i, start in enumerate(starts) if start in sentence_starts]

    def last_break(low: int, high: int) -> int:
        """Return the last start of a sentence among the tokens after ``low``, or else ``high``."""
        index = bisect_right(breaks, high) - 1
        return breaks[index] if index >= 0 and breaks[index] > low else high

    windows: list[tuple[int, int]] = []
    first = 0
    while True:
        begin = starts[first] if windows else 0
        limit = max(first + 1, bisect_right(costs, costs[first] + room) - 1)
        if limit >= size:
            return [*windows, (begin, len(text))]
        end = last_break((first + limit) // 2, limit)
        windows.append((begin, starts[end]))
        length = end - first
        first = max(first + 1, last_break(end - length // 2 - 1, end - length // 4))
