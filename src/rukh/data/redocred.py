"""Re-DocRED (and DocRED): documents with entities, their mentions, and relations between them.

``[{"title", "vertexSet": [[{"name", "pos": [start, end), "sent_id", "type"}, ...], ...], "labels":
[{"r", "h", "t", "evidence"}, ...], "sents": [[token, ...], ...]}, ...]`` (Yao et al., ACL 2019; Tan
et al., EMNLP 2022). An entity is a list of mentions; labels join entities, and name the sentences
that show it.
"""

from __future__ import annotations

import reprlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import IO, Any, NamedTuple, TypeAlias

from rukh.data import tokens
from rukh.data.documents import DocumentFormat, Walk
from rukh.data.format import Source
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity
from rukh.utils.files import read_json

NONE = "none"
"""The label of pairs that no relation joins."""
MASKED = "redocred_masked_pairs.json"
"""The file beside the data, where there is one, that lists pairs of which nothing may be said."""

Key: TypeAlias = tuple[int, int]
"""Head and tail, as places in ``vertexSet``."""


class Mention(NamedTuple):
    """Where an entity stands in a sentence: tokens ``[start, end)``."""

    start: int
    end: int
    type: str | None


class RedocredFormat(DocumentFormat):
    """One post for each sentence that names two entities or more; for reading only.

    An entity stands at its first mention in the sentence. A pair carries each relation that the
    sentence is evidence of, or that has no evidence listed; it is there once for each. Relations
    between sentences, or of an entity to itself, are out of reach of one post. A pair joined by
    relations of which this sentence is no evidence is left out, as is one listed in
    :data:`MASKED`, ``[{"title", "h", "t"}]``. Any other two entities are listed once, in the order
    of the text, as ``none``.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._masked: dict[str, set[Key]] = {}

    def records(self, walk: Walk) -> Iterator[str]:
        """See :meth:`rukh.data.documents.DocumentFormat.records`."""
        self._masked = self._read_masked()
        return (f"[{number}]" for number in walk.elements())

    def posts(self, record: Any, path: str) -> Iterator[Post]:
        """See :meth:`rukh.data.documents.DocumentFormat.posts`."""
        if not isinstance(record, dict):
            raise InputError("not a document with the keys title, vertexSet, labels, sents")
        title, given = record.get("title"), record.get("sents")
        if not isinstance(title, str):
            raise InputError("missing, or not a string", field="title")
        if not isinstance(given, list):
            raise InputError("missing, or not a list of sentences", field="sents")
        sentences = [tokens.join_given(s, f"sents[{i}]") for i, s in enumerate(given)]
        sizes = [len(offsets) for _, offsets in sentences]
        entities = record.get("vertexSet")
        if not isinstance(entities, list):
            raise InputError("missing, or not a list of entities", field="vertexSet")
        places = _mentions(entities, sizes)
        facts = _facts(record.get("labels", []), len(entities))
        silent = self._masked.get(title, set())
        for number, (text, offsets) in enumerate(sentences):
            here = places[number]
            if len(here) < 2:
                continue
            yield Post(
                id=f"{self.source.path.stem}:{path[1:-1]}:{number}",
                text=text,
                entities=tuple(_entity(name, here[name], offsets) for name in here),
                pairs=tuple(_pairs(list(here), number, facts, silent)),
                tokens=tuple(offsets),
                meta={"title": title, "sentence": number},
            )

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """Raises InputError: a document is more than the sentences that were read of it."""
        raise InputError("redocred is only read", fix="write jsonl")

    def _read_masked(self) -> dict[str, set[Key]]:
        path = self.source.path.parent / MASKED
        masked: dict[str, set[Key]] = defaultdict(set)
        try:
            rows = read_json(path) if path.is_file() else []
        except InputError as error:
            raise InputError(str(error)) from None  # its place is not that of the data
        for index, row in enumerate(rows):
            try:
                masked[row["title"]].add((int(row["h"]), int(row["t"])))
            except (TypeError, KeyError, ValueError):
                raise InputError(f"{path}: [{index}] is not a record with title, h and t") from None
        return masked


def _mentions(given: list[Any], sizes: Sequence[int]) -> list[dict[int, Mention]]:
    """For each sentence its entities at their first mentions, in the order of the text."""
    found: list[dict[int, Mention]] = [{} for _ in sizes]
    for entity, mentions in enumerate(given):
        if not isinstance(mentions, list):
            raise InputError("not a list of mentions", field=f"vertexSet[{entity}]")
        for index, mention in enumerate(mentions):
            field = f"vertexSet[{entity}][{index}]"
            number, place = _mention(mention, sizes, field)
            known = found[number].get(entity)
            if known is None or place < known:
                found[number][entity] = place
    return [dict(sorted(here.items(), key=lambda item: (item[1][:2], item[0]))) for here in found]


def _mention(given: Any, sizes: Sequence[int], field: str) -> tuple[int, Mention]:
    if not isinstance(given, dict):
        raise InputError("not a mention with pos, sent_id and type", field=field)
    number, position, kind = given.get("sent_id"), given.get("pos"), given.get("type")
    if type(number) is not int or not 0 <= number < len(sizes):
        raise InputError(
            f"{reprlib.repr(number)} is none of {len(sizes)} sentences", field=f"{field}.sent_id"
        )
    if (
        not isinstance(position, list)
        or [type(edge) for edge in position] != [int, int]
        or not 0 <= position[0] < position[1] <= sizes[number]
    ):
        raise InputError(
            f"{reprlib.repr(position)} is no span [start, end) of {sizes[number]} tokens",
            field=f"{field}.pos",
        )
    if not isinstance(kind, str | None):
        raise InputError(f"{reprlib.repr(kind)} is not a string", field=f"{field}.type")
    return number, Mention(position[0], position[1], kind or None)


def _facts(given: Any, size: int) -> dict[Key, list[tuple[str, list[int]]]]:
    """For each pair its relations, each with the sentences that are evidence of it."""
    if not isinstance(given, list):
        raise InputError("not a list of labels", field="labels")
    facts: dict[Key, list[tuple[str, list[int]]]] = defaultdict(list)
    for index, label in enumerate(given):
        field = f"labels[{index}]"
        if not isinstance(label, dict):
            raise InputError("not a label with r, h, t and evidence", field=field)
        for role in ("h", "t"):
            if type(label.get(role)) is not int or not 0 <= label[role] < size:
                raise InputError(
                    f"{reprlib.repr(label.get(role))} is none of {size} entities",
                    field=f"{field}.{role}",
                )
        relation, evidence = label.get("r"), label.get("evidence", [])
        if not isinstance(relation, str) or not relation:
            raise InputError(f"{reprlib.repr(relation)} is no relation", field=f"{field}.r")
        if not isinstance(evidence, list):
            raise InputError("not a list of sentences", field=f"{field}.evidence")
        facts[label["h"], label["t"]].append((relation, evidence))
    return facts


def _entity(name: int, mention: Mention, offsets: tokens.Offsets) -> TextEntity:
    start, end = tokens.to_characters(offsets, mention.start, mention.end)
    return TextEntity(id=f"e{name}", start=start, end=end, type=mention.type)


def _pairs(
    here: Sequence[int],
    sentence: int,
    facts: Mapping[Key, Sequence[tuple[str, list[int]]]],
    silent: set[Key],
) -> Iterator[Pair]:
    told = facts.keys() | silent
    for a, b in combinations(here, 2):
        for head, tail in ((a, b), (b, a)):
            for relation, evidence in facts.get((head, tail), ()):
                if not evidence or sentence in evidence:
                    yield Pair(head=f"e{head}", tail=f"e{tail}", relation=relation)
        if (a, b) not in told and (b, a) not in told:
            yield Pair(head=f"e{a}", tail=f"e{b}", relation=NONE)
