"""FewRel: one JSON object, a list of sentences for each relation (Han et al., EMNLP 2018).

``{"P17": [{"tokens": [...], "h": [name, id, [[token, ...], ...]], "t": [...]}, ...], ...}``: the
label is the key, a Wikidata property; an argument has a name, a Wikidata item, and for each of its
mentions the tokens that it covers. Entities have no type.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Iterator
from typing import IO, Any, ClassVar

from rukh.data import tokens
from rukh.data.documents import DocumentFormat, Walk
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity


class FewRelFormat(DocumentFormat):
    """One post a sentence, of two entities at their first mentions.

    A post's id is the path of its record, ``{file stem}:P17[3]``. Written are the tokens, the two
    arguments, with all mentions where they were read, and whatever else a sentence held; sentences
    are gathered by relation, in the order in which relations first come.
    """

    directed: ClassVar[bool] = True

    def records(self, walk: Walk) -> Iterator[str]:
        """See :meth:`rukh.data.documents.DocumentFormat.records`."""
        for relation in walk.members():
            for number in walk.elements():
                yield f"{relation}[{number}]"

    def posts(self, record: Any, path: str) -> Iterator[Post]:
        """See :meth:`rukh.data.documents.DocumentFormat.posts`."""
        if not isinstance(record, dict):
            raise InputError("not a record with the keys tokens, h, t")
        text, offsets = tokens.join_given(record.get("tokens"), "tokens")
        yield Post(
            id=f"{self.source.path.stem}:{path}",
            text=text,
            entities=tuple(_entity(record.get(role), role, text, offsets) for role in ("h", "t")),
            pairs=(Pair(head="h", tail="t", relation=path[: path.rindex("[")]),),
            tokens=tuple(offsets),
            meta={key: value for key, value in record.items() if key not in {"tokens", "h", "t"}},
        )

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """See :meth:`rukh.data.format.Format.write`.

        Raises:
            InputError: A post has no pair, a pair without relation, or a visual object in a pair.
        """
        told: dict[str, list[dict[str, Any]]] = {}
        for post in posts:
            try:
                for relation, record in _records(post):
                    told.setdefault(relation, []).append(record)
            except InputError as error:
                raise error.at(f"post {post.id}") from None
        stream.write((json.dumps(told, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8"))


def _entity(given: Any, role: str, text: str, offsets: tokens.Offsets) -> TextEntity:
    if not isinstance(given, list) or len(given) != 3:
        raise InputError("missing, or not [name, id, mentions]", field=role)
    name, item, mentions = given
    for index, value in enumerate((name, item)):
        if not isinstance(value, str | None):
            raise InputError(f"{reprlib.repr(value)} is not a string", field=f"{role}[{index}]")
    field = f"{role}[2][0]"
    if not isinstance(mentions, list) or not mentions:
        raise InputError("not a list of mentions", field=f"{role}[2]")
    first = mentions[0]
    if not isinstance(first, list) or not first or any(type(i) is not int for i in first):
        raise InputError(f"{reprlib.repr(first)} is not a list of token numbers", field=field)
    if not 0 <= min(first) <= max(first) < len(offsets):
        raise InputError(
            f"{reprlib.repr(first)} reaches outside of {len(offsets)} tokens", field=field
        )
    start, end = tokens.to_characters(offsets, min(first), max(first) + 1)
    surface = text[start:end]
    if not surface.strip():
        raise InputError(f"{reprlib.repr(first)} covers only white space", field=field)
    meta: dict[str, Any] = {"id": item}
    if name != surface:
        meta["name"] = name
    if mentions != [list(range(min(first), max(first) + 1))]:
        meta["mentions"] = mentions
    return TextEntity(id=role, start=start, end=end, meta=meta)


def _records(post: Post) -> Iterator[tuple[str, dict[str, Any]]]:
    if not post.pairs:
        raise InputError("it asks for no pair, and the format is one pair a record", field="pairs")
    edges = [edge for entity in post.entities for edge in (entity.start, entity.end)]
    offsets = tokens.words(post.text, edges, post.tokens)
    for index, pair in enumerate(post.pairs):
        if pair.relation is None:
            raise InputError(
                "it has no relation, under which the format lists it",
                field=f"pairs[{index}].relation",
            )
        record: dict[str, Any] = {"tokens": tokens.split(post.text, offsets)}
        for role, name in (("h", pair.head), ("t", pair.tail)):
            argument = post.argument(name)
            if not isinstance(argument, TextEntity):
                raise InputError(
                    f"{name!r} is a visual object, which the format cannot hold", field="objects"
                )
            first, last = tokens.to_tokens(offsets, argument.start, argument.end)
            if first == last:
                raise InputError(f"no token stands for {name!r}", field="tokens")
            meta = argument.meta
            surface = meta.get("name", post.text[argument.start : argument.end])
            mentions = meta.get("mentions", [list(range(first, last))])
            record[role] = [surface, meta.get("id"), mentions]
        yield pair.relation, record | {k: v for k, v in post.meta.items() if k not in record}
