"""`python -m corpora.check FILE...`: check posts in the inline form, and count them."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from corpora.inline import field_schema, fields, read_lines
from rukh.cli.logs import errors_as_lines
from rukh.errors import InputError
from rukh.records import Post


def main(paths: list[Path]) -> int:
    """Print every broken line, then counts; return 1 if a line is broken, else 0."""
    posts: list[Post] = []
    broken = 0
    for path in paths or fields():
        for result in read_lines(path, field_schema(path)):
            if isinstance(result, InputError):
                broken += 1
                print(f"error: {result}")
            else:
                posts.append(result)
    relations = Counter(pair.relation for post in posts for pair in post.pairs or ())
    silent = sum(not post.pairs for post in posts)
    registers = Counter(str(post.meta["register"]) for post in posts)
    sizes = Counter(len(post.entities) for post in posts)
    print(f"{len(posts):,} posts {dict(registers)}, {silent:,} without a relation")
    print(f"entities in a post: {dict(sorted(sizes.items()))}")
    print(f"{relations.total():,} triples of {len(relations):,} relations:")
    print(", ".join(f"{name} {count}" for name, count in relations.most_common()))
    forward = sum(
        _start(post, pair.head) < _start(post, pair.tail)
        for post in posts
        for pair in post.pairs or ()
    )
    print(f"head before tail: {forward:,}")
    for one, other in near_duplicates(posts):
        print(f"nearly the same: {one} and {other}")
    return int(broken > 0)


def _start(post: Post, name: str) -> int:
    return next(entity.start for entity in post.entities if entity.id == name)


def near_duplicates(posts: list[Post], overlap: float = 0.5) -> list[tuple[str, str]]:
    """Return the ids of posts that share half of their five-word sequences or more.

    Example:
        >>> texts = ["one two three four five six", "one two three four five six!", "another one"]
        >>> near_duplicates([Post(id=str(i), text=text) for i, text in enumerate(texts)])
        [('0', '1')]
    """
    found: list[tuple[str, str]] = []
    owners: dict[tuple[str, ...], list[int]] = {}
    counts = []
    for index, post in enumerate(posts):
        words = re.findall(r"\w+", post.text.lower())
        shingles = {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}
        counts.append(len(shingles))
        shared = Counter(owner for one in shingles for owner in owners.get(one, ()))
        for owner, number in shared.items():
            if number >= overlap * min(counts[owner], counts[index]):
                found.append((posts[owner].id, post.id))
        for one in shingles:
            owners.setdefault(one, []).append(index)
    return found


if __name__ == "__main__":
    with errors_as_lines():
        sys.exit(main([Path(name) for name in sys.argv[1:]]))
