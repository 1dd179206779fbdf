"""Merge the posts of formats with one pair per line, so that each text is encoded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from rukh.records import MAX_ARGUMENTS, MAX_PAIRS, Argument, Pair, Post, TextEntity, free_ids

Key: TypeAlias = tuple[str, Path | bytes | None, str | None]


def merge_posts(posts: Iterable[Post]) -> list[Post]:
    """Merge posts with the same text, image and caption into one post with all their pairs.

    A merged post has position, id, tokens and ``meta`` of its first post. Arguments of different
    posts with the same span (or box) and type become one argument with a new id (``e0``, ``o0``).
    Pairs keep their order and duplicates, and ``meta["source"]`` is the id of their original post.
    Posts without a list of pairs are not merged. Groups are split at the limits of a post.
    """
    merged: list[Post | list[Post]] = []
    groups: dict[Key, list[Post]] = {}
    sizes: dict[Key, tuple[int, int]] = {}
    for post in posts:
        if post.pairs is None:
            merged.append(post)
            continue
        key = (post.text, post.image, post.caption)
        arguments, pairs = sizes.get(key, (0, 0))
        arguments, pairs = arguments + len(post.arguments), pairs + len(post.pairs)
        if key not in groups or arguments > MAX_ARGUMENTS or pairs > MAX_PAIRS:
            groups[key] = []
            merged.append(groups[key])
            arguments, pairs = len(post.arguments), len(post.pairs)
        groups[key].append(post)
        sizes[key] = arguments, pairs
    return [item if isinstance(item, Post) else _merge(item) for item in merged]


def _merge(group: list[Post]) -> Post:
    first = group[0]
    if len(group) == 1:
        return first.model_copy(update={"pairs": _renamed(first, {})})
    entity_ids, object_ids = free_ids("e"), free_ids("o")
    arguments: dict[object, Argument] = {}
    pairs: list[Pair] = []
    for post in group:
        ids: dict[str, str] = {}
        occurrences: Counter[object] = Counter()
        for argument in post.arguments:
            place: tuple[float, ...]
            if isinstance(argument, TextEntity):
                place, new_ids = (argument.start, argument.end), entity_ids
            else:
                place, new_ids = argument.box, object_ids
            occurrences[place, argument.type] += 1
            key = (place, argument.type, occurrences[place, argument.type])
            if key not in arguments:
                new = next(new_ids)
                arguments[key] = argument.model_copy(update={"id": new})
            ids[argument.id] = arguments[key].id
        pairs.extend(_renamed(post, ids))
    return Post(
        id=first.id,
        text=first.text,
        image=first.image,
        caption=first.caption,
        entities=tuple(a for a in arguments.values() if isinstance(a, TextEntity)),
        objects=tuple(a for a in arguments.values() if not isinstance(a, TextEntity)),
        pairs=tuple(pairs),
        tokens=first.tokens,
        meta=first.meta,
    )


def _renamed(post: Post, ids: dict[str, str]) -> tuple[Pair, ...]:
    """Return the pairs of a post with new argument ids, and with the id of the post in ``meta``."""
    return tuple(
        pair.model_copy(
            update={
                "head": ids.get(pair.head, pair.head),
                "tail": ids.get(pair.tail, pair.tail),
                "meta": pair.meta | {"source": post.id},
            }
        )
        for pair in post.pairs or ()
    )
