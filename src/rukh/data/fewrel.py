"""FewRel (Han et al., EMNLP 2018): one JSON object with a list of sentences for each relation.

``{"P17": [{"tokens": [...], "h": [name, id, [[token, ...], ...]], "t": [...]}, ...], ...}``. The
key is the label, a Wikidata property. An argument has a name, a Wikidata item, and the token
numbers of each of its mentions. Entities have no type.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Iterator
from typing import IO, Any, ClassVar

from rukh.data.documents import DocumentFormat
from rukh.data.format import locate_errors
from rukh.data.tokens import Tokens
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity


class FewRelFormat(DocumentFormat):
    """Reader and writer of FewRel's files: one post a sentence, with entities at first mentions.

    A post's id is ``{file stem}:P17[3]``. All mentions and any other keys of a sentence are kept
    and written again. Sentences are written by relation, in the order of each relation's first.
    """

    directed: ClassVar[bool] = True

    def records(self, document: Any) -> Iterator[tuple[str, Any]]:
        """See :meth:`rukh.data.documents.DocumentFormat.records`."""
        if not isinstance(document, dict):
            raise InputError("not a JSON object of relations")
        for relation, sentences in document.items():
            if not isinstance(sentences, list):
                raise InputError("not a list of sentences", field=relation)
            for number, sentence in enumerate(sentences):
                yield f"{relation}[{number}]", sentence

    def posts(self, record: Any, path: str) -> Iterator[Post]:
        """See :meth:`rukh.data.documents.DocumentFormat.posts`."""
        if not isinstance(record, dict):
            raise InputError("not a record with the keys tokens, h, t")
        tokens = Tokens.parse(record.get("tokens"), "tokens")
        yield Post(
            id=f"{self.source.path.stem}:{path}",
            text=tokens.text,
            entities=tuple(_entity(record.get(role), role, tokens) for role in ("h", "t")),
            pairs=(Pair(head="h", tail="t", relation=path[: path.rindex("[")]),),
            tokens=tokens.offsets,
            meta={key: value for key, value in record.items() if key not in {"tokens", "h", "t"}},
        )

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """See :meth:`rukh.data.format.Format.write`.

        Raises:
            InputError: A post has no pair, a pair without relation, or a pair with an object.
        """
        document: dict[str, list[dict[str, Any]]] = {}
        for post in posts:
            with locate_errors(post):
                for relation, record in _records(post):
                    document.setdefault(relation, []).append(record)
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        stream.write(text.encode("utf-8") + b"\n")


def _entity(value: Any, role: str, tokens: Tokens) -> TextEntity:
    if not isinstance(value, list) or len(value) != 3:
        raise InputError("missing, or not [name, id, mentions]", field=role)
    name, item, mentions = value
    for index, part in enumerate((name, item)):
        if not isinstance(part, str | None):
            raise InputError(f"{reprlib.repr(part)} is not a string", field=f"{role}[{index}]")
    if not isinstance(mentions, list) or not mentions:
        raise InputError("not a list of mentions", field=f"{role}[2]")
    field, first = f"{role}[2][0]", mentions[0]
    if not isinstance(first, list) or not first or any(type(i) is not int for i in first):
        raise InputError(f"{reprlib.repr(first)} is not a list of token numbers", field=field)
    start, end = tokens.to_characters([min(first), max(first) + 1], field)
    meta: dict[str, Any] = {"id": item}
    if name != tokens.text[start:end]:
        meta["name"] = name
    if mentions != [list(range(min(first), max(first) + 1))]:
        meta["mentions"] = mentions
    return TextEntity(id=role, start=start, end=end, meta=meta)


def _records(post: Post) -> Iterator[tuple[str, dict[str, Any]]]:
    if not post.pairs:
        raise InputError("no pair, and this format has one pair a record", field="pairs")
    tokens = Tokens.of_post(post)
    for index, pair in enumerate(post.pairs):
        if pair.relation is None:
            raise InputError(
                "missing, but this format lists sentences by relation",
                field=f"pairs[{index}].relation",
            )
        record: dict[str, Any] = {"tokens": tokens.words}
        for role, name in (("h", pair.head), ("t", pair.tail)):
            argument = post.argument(name)
            mention = list(range(*tokens.to_tokens(argument)))
            meta = argument.meta
            surface = meta.get("name", post.surface(name))
            record[role] = [surface, meta.get("id"), meta.get("mentions", [mention])]
        yield pair.relation, record | {k: v for k, v in post.meta.items() if k not in record}
