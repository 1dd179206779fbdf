"""FewRel (Han et al., EMNLP 2018): one JSON object with a list of sentences for each relation.

``{"P17": [{"tokens": [...], "h": [name, id, [[token, ...], ...]], "t": [...]}, ...], ...}``. The
key is the label, a Wikidata property. An argument is a list of its name, its Wikidata item, and the
token indices of each of its mentions. Entities have no type.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any, ClassVar

from rukh.data.documents import DocumentFormat
from rukh.data.tokens import Tokens
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity
from rukh.utils.parsing import expect


class FewRelFormat(DocumentFormat):
    """Reader of FewRel's files: one post per sentence; an entity is at its first mention.

    Ids have the form ``{file stem}:P17[3]``. ``meta`` keeps all mentions and any other keys.
    """

    name = "fewrel"
    directed: ClassVar[bool] = True

    def records(self, document: Any) -> Iterator[tuple[str, Any]]:
        """See :meth:`rukh.data.documents.DocumentFormat.records`."""
        for relation, sentences in expect(document, dict, "an object of relations").items():
            for number, sentence in enumerate(expect(sentences, list, "sentences", relation)):
                yield f"{relation}[{number}]", sentence

    def posts(self, record: Any, path: str) -> Iterator[Post]:
        """See :meth:`rukh.data.documents.DocumentFormat.posts`."""
        expect(record, dict, "a record with tokens, h and t")
        tokens = Tokens.parse(record.get("tokens"), "tokens")
        yield Post(
            id=f"{self.source.stem}:{path}",
            text=tokens.text,
            entities=tuple(_entity(record.get(role), role, tokens) for role in ("h", "t")),
            pairs=(Pair(head="h", tail="t", relation=path[: path.rindex("[")]),),
            tokens=tokens.offsets,
            meta={key: value for key, value in record.items() if key not in {"tokens", "h", "t"}},
        )


def _entity(value: Any, role: str, tokens: Tokens) -> TextEntity:
    if not isinstance(value, list) or len(value) != 3:
        raise InputError(f"{reprlib.repr(value)} is not [name, id, mentions]", field=role)
    name, item, mentions = value
    for index, part in enumerate((name, item)):
        expect(part, str | None, "a string", f"{role}[{index}]")
    if not expect(mentions, list, "a list of mentions", f"{role}[2]"):
        raise InputError("has no mention", field=f"{role}[2]")
    field, first = f"{role}[2][0]", mentions[0]
    if not isinstance(first, list) or not first or any(type(i) is not int for i in first):
        raise InputError(f"{reprlib.repr(first)} is not a list of token numbers", field=field)
    start, end = tokens.to_characters([min(first), max(first) + 1], field)
    meta = {"name": name, "id": item, "mentions": mentions}
    return TextEntity(id=role, start=start, end=end, meta=meta)
