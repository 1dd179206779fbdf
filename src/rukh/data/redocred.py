"""Re-DocRED and DocRED (Yao et al., ACL 2019; Tan et al., EMNLP 2022): documents with relations.

``[{"title", "vertexSet": [[{"name", "pos": [start, end), "sent_id", "type"}, ...], ...], "labels":
[{"r", "h", "t", "evidence"}, ...], "sents": [[token, ...], ...]}, ...]``. An entity is a list of
mentions; a label relates two entities and lists the sentences that are evidence for it.
"""

from __future__ import annotations

import reprlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import IO, Any, TypeAlias

from rukh.data.documents import DocumentFormat
from rukh.data.tokens import Tokens
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity
from rukh.utils.files import read_json

NONE = "none"
"""The label of pairs without a relation."""
MASKED = "redocred_masked_pairs.json"
"""The optional file beside the data that lists pairs to be left out."""

Key: TypeAlias = tuple[int, int]
"""Head and tail, as indices into ``vertexSet``."""
Facts: TypeAlias = Mapping[Key, Sequence[tuple[str, Sequence[int]]]]
"""The relations of each pair, each with the sentences that are evidence for it."""


class RedocredFormat(DocumentFormat):
    """Reader of DocRED's files: one post for each sentence with two entities or more.

    An entity is at its first mention in the sentence. A pair has every relation for which the
    sentence is evidence or which lists no evidence, once for each; relations between sentences and
    of an entity to itself are left out. So are pairs with a relation for which this sentence is no
    evidence, and pairs in the file :data:`MASKED`, ``[{"title", "h", "t"}]``. Every other two
    entities are listed once, in the order of the text, as ``none``.
    """

    def records(self, document: Any) -> Iterator[tuple[str, Any]]:
        """See :meth:`rukh.data.documents.DocumentFormat.records`."""
        if not isinstance(document, list):
            raise InputError("not a JSON list of documents")
        self._masked = self._read_masked()
        for number, record in enumerate(document):
            yield f"[{number}]", record

    def posts(self, record: Any, path: str) -> Iterator[Post]:
        """See :meth:`rukh.data.documents.DocumentFormat.posts`."""
        if not isinstance(record, dict):
            raise InputError("not a document with the keys title, vertexSet, labels, sents")
        title = record.get("title")
        if not isinstance(title, str):
            raise InputError("missing, or not a string", field="title")
        sentences = [
            Tokens.parse(words, f"sents[{i}]") for i, words in enumerate(_list(record, "sents"))
        ]
        vertices = _list(record, "vertexSet")
        mentions = _first_mentions(vertices, sentences)
        facts = _facts(_list({"labels": []} | record, "labels"), len(vertices))
        masked = self._masked.get(title, set())
        for number, tokens in enumerate(sentences):
            if len(mentions[number]) > 1:
                yield Post(
                    id=f"{self.source.path.stem}:{path[1:-1]}:{number}",
                    text=tokens.text,
                    entities=tuple(mentions[number].values()),
                    pairs=tuple(_pairs(list(mentions[number]), number, facts, masked)),
                    tokens=tokens.offsets,
                    meta={"title": title, "sentence": number},
                )

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """Raise InputError: the posts do not hold everything of a document."""
        raise InputError("redocred can only be read", fix="write jsonl")

    def _read_masked(self) -> dict[str, set[Key]]:
        path = self.source.path.parent / MASKED
        masked: dict[str, set[Key]] = defaultdict(set)
        try:
            for row in read_json(path) if path.is_file() else []:
                masked[row["title"]].add((int(row["h"]), int(row["t"])))
        except InputError as error:
            raise InputError(str(error)) from None  # the data file is not at fault
        except (TypeError, KeyError, ValueError):
            raise InputError(f"{path}: not a list of records with title, h and t") from None
        return masked


def _list(record: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(record.get(key), list):
        raise InputError("missing, or not a list", field=key)
    return list(record[key])


def _first_mentions(vertices: list[Any], sentences: list[Tokens]) -> list[dict[int, TextEntity]]:
    """The entities of each sentence at their first mentions, by index, in the order of the text."""
    first: list[dict[int, TextEntity]] = [{} for _ in sentences]
    for index, mentions in enumerate(vertices):
        if not isinstance(mentions, list):
            raise InputError("not a list of mentions", field=f"vertexSet[{index}]")
        for i, mention in enumerate(mentions):
            number, entity = _mention(mention, index, sentences, f"vertexSet[{index}][{i}]")
            other = first[number].get(index)
            if other is None or (entity.start, entity.end) < (other.start, other.end):
                first[number][index] = entity
    return [
        dict(sorted(here.items(), key=lambda item: (item[1].start, item[1].end, item[0])))
        for here in first
    ]


def _mention(
    mention: Any, index: int, sentences: list[Tokens], field: str
) -> tuple[int, TextEntity]:
    if not isinstance(mention, dict):
        raise InputError("not a mention with pos, sent_id and type", field=field)
    number, type_ = mention.get("sent_id"), mention.get("type")
    if type(number) is not int or not 0 <= number < len(sentences):
        raise InputError(
            f"{reprlib.repr(number)} is not the index of a sentence", field=f"{field}.sent_id"
        )
    start, end = sentences[number].to_characters(mention.get("pos"), f"{field}.pos")
    if not isinstance(type_, str | None):
        raise InputError(f"{reprlib.repr(type_)} is not a string", field=f"{field}.type")
    return number, TextEntity(id=f"e{index}", start=start, end=end, type=type_ or None)


def _facts(labels: list[Any], size: int) -> Facts:
    facts: dict[Key, list[tuple[str, list[int]]]] = defaultdict(list)
    for index, label in enumerate(labels):
        field = f"labels[{index}]"
        if not isinstance(label, dict):
            raise InputError("not a label with r, h, t and evidence", field=field)
        for role in ("h", "t"):
            if type(label.get(role)) is not int or not 0 <= label[role] < size:
                raise InputError(
                    f"{reprlib.repr(label.get(role))} is not the index of an entity",
                    field=f"{field}.{role}",
                )
        relation, evidence = label.get("r"), label.get("evidence", [])
        if not isinstance(relation, str) or not relation:
            raise InputError(f"{reprlib.repr(relation)} is not a relation", field=f"{field}.r")
        if not isinstance(evidence, list):
            raise InputError("not a list of sentences", field=f"{field}.evidence")
        facts[label["h"], label["t"]].append((relation, evidence))
    return facts


def _pairs(
    entities: Sequence[int], sentence: int, facts: Facts, masked: set[Key]
) -> Iterator[Pair]:
    known = facts.keys() | masked
    for a, b in combinations(entities, 2):
        for head, tail in ((a, b), (b, a)):
            for relation, evidence in facts.get((head, tail), ()):
                if not evidence or sentence in evidence:
                    yield Pair(head=f"e{head}", tail=f"e{tail}", relation=relation)
        if (a, b) not in known and (b, a) not in known:
            yield Pair(head=f"e{a}", tail=f"e{b}", relation=NONE)
