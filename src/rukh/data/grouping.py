"""Posts that a format of one pair a line has torn apart, put together again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from rukh.records import MAX_ARGUMENTS, MAX_PAIRS, Argument, Pair, Post, TextEntity

Key: TypeAlias = tuple[str, Path | bytes | None, str | None]


def group_posts(posts: Iterable[Post]) -> list[Post]:
    """Merge posts with the same text, picture and caption, so that each is encoded once.

    Arguments with the same span (or box) and type become one, with a new id (``e0``, ``o0``), but
    two arguments of one post stay two. Pairs keep their order and duplicates; each of them tells
    in its ``meta`` under ``source`` the id of the post it came from. Posts without given pairs,
    which ask for all of them, are left as they are, as is all but the pairs of a lone post.

    Returns:
        The posts, in the order of their first members. A merged post has the id, tokens and
        ``meta`` of its first member; a group that would pass the limits of a post begins another.
    """
    result: list[Post | list[Post]] = []
    groups: dict[Key, list[Post]] = {}
    sizes: dict[Key, tuple[int, int]] = {}
    for post in posts:
        if post.pairs is None:
            result.append(post)
            continue
        key = (post.text, post.image, post.caption)
        arguments, pairs = len(post.arguments), len(post.pairs)
        size = sizes.get(key, (0, 0))
        if key in groups and size[0] + arguments <= MAX_ARGUMENTS and size[1] + pairs <= MAX_PAIRS:
            arguments, pairs = arguments + size[0], pairs + size[1]
        else:
            groups[key] = []
            result.append(groups[key])
        groups[key].append(post)
        sizes[key] = arguments, pairs
    return [_merge(member) if isinstance(member, list) else member for member in result]


def _merge(group: list[Post]) -> Post:
    first = group[0]
    if len(group) == 1:
        return first.model_copy(update={"pairs": _renamed(first, {})})
    merged: dict[object, Argument] = {}
    pairs: list[Pair] = []
    for post in group:
        names: dict[str, str] = {}
        seen: Counter[object] = Counter()
        for argument in post.arguments:
            place = (
                (argument.start, argument.end) if isinstance(argument, TextEntity) else argument.box
            )
            key = (place, argument.type)
            seen[key] += 1
            nth = (*key, seen[key])
            if nth not in merged:
                letter = "e" if isinstance(argument, TextEntity) else "o"
                number = sum(type(a) is type(argument) for a in merged.values())
                merged[nth] = argument.model_copy(update={"id": f"{letter}{number}"})
            names[argument.id] = merged[nth].id
        pairs.extend(_renamed(post, names))
    arguments = merged.values()
    return Post(
        id=first.id,
        text=first.text,
        image=first.image,
        caption=first.caption,
        entities=tuple(a for a in arguments if isinstance(a, TextEntity)),
        objects=tuple(a for a in arguments if not isinstance(a, TextEntity)),
        pairs=tuple(pairs),
        tokens=first.tokens,
        meta=first.meta,
    )


def _renamed(post: Post, names: dict[str, str]) -> tuple[Pair, ...]:
    """The post's pairs with new argument ids, each with the post it came from."""
    return tuple(
        pair.model_copy(
            update={
                "head": names.get(pair.head, pair.head),
                "tail": names.get(pair.tail, pair.tail),
                "meta": pair.meta | {"source": post.id},
            }
        )
        for pair in post.pairs or ()
    )
