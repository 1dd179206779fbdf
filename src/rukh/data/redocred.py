"""Re-DocRED and DocRED (Yao et al., ACL 2019; Tan et al., EMNLP 2022): documents with relations.

``[{"title", "vertexSet": [[{"name", "pos": [start, end), "sent_id", "type"}, ...], ...], "labels":
[{"r", "h", "t", "evidence"}, ...], "sents": [[token, ...], ...]}, ...]``. An entity is a list of
mentions. A label is a relation between two entities, with a list of its evidence sentences.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

from rukh.data.documents import DocumentFormat
from rukh.data.tokens import Tokens
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity
from rukh.utils.files import read_json
from rukh.utils.parsing import expect, expect_index

NONE = "none"
"""The label of pairs without a relation."""
MASKED = "redocred_masked_pairs.json"
"""Name of an optional file beside the data that lists pairs to leave out."""

Key: TypeAlias = tuple[int, int]
"""Indices of head and tail in ``vertexSet``."""
Facts: TypeAlias = Mapping[Key, Sequence[tuple[str, Sequence[int]]]]
"""The relations of each pair, each with its evidence sentences."""


class RedocredFormat(DocumentFormat):
    """Reader of DocRED's files: one post per sentence with at least two entities.

    An entity is at its first mention in the sentence. A pair is listed once for each of its
    relations that has this sentence as evidence, or has no evidence. Two entities without a
    relation in the document are listed once, in text order, as ``none``, unless they are in the
    file :data:`MASKED`, ``[{"title", "h", "t"}]``. Other pairs are left out.
    """

    name = "redocred"

    def records(self, document: Any) -> Iterator[tuple[str, Any]]:
        """See :meth:`rukh.data.documents.DocumentFormat.records`."""
        expect(document, list, "a list of documents")
        self._masked = self._read_masked()
        yield from ((f"[{number}]", record) for number, record in enumerate(document))

    def posts(self, record: Any, path: str) -> Iterator[Post]:
        """See :meth:`rukh.data.documents.DocumentFormat.posts`."""
        expect(record, dict, "a document with title, vertexSet, labels and sents")
        title = expect(record.get("title"), str, "a string", "title")
        lists = {
            key: expect(record.get(key, default), list, "a list", key)
            for key, default in (("sents", None), ("vertexSet", None), ("labels", []))
        }
        sentences = [Tokens.parse(words, f"sents[{i}]") for i, words in enumerate(lists["sents"])]
        mentions = _first_mentions(lists["vertexSet"], sentences)
        facts = _facts(lists["labels"], len(lists["vertexSet"]))
        masked = self._masked.get(title, set())
        for number, tokens in enumerate(sentences):
            if len(mentions[number]) > 1:
                yield Post(
                    id=f"{self.source.stem}:{path[1:-1]}:{number}",
                    text=tokens.text,
                    entities=tuple(mentions[number].values()),
                    pairs=tuple(_pairs(list(mentions[number]), number, facts, masked)),
                    tokens=tokens.offsets,
                    meta={"title": title, "sentence": number},
                )

    def _read_masked(self) -> dict[str, set[Key]]:
        path = self.source.path.parent / MASKED
        masked: dict[str, set[Key]] = defaultdict(set)
        try:
            for row in read_json(path) if path.is_file() else []:
                masked[row["title"]].add((int(row["h"]), int(row["t"])))
        except InputError as error:
            raise InputError(str(error)) from None  # the message names the masked file
        except (TypeError, KeyError, ValueError):
            raise InputError(f"{path}: not a list of records with title, h and t") from None
        return masked


def _first_mentions(vertices: list[Any], sentences: list[Tokens]) -> list[dict[int, TextEntity]]:
    """Return each sentence's entities at their first mentions, by entity index, in text order."""
    first: list[dict[int, TextEntity]] = [{} for _ in sentences]
    for index, mentions in enumerate(vertices):
        field = f"vertexSet[{index}]"
        for i, mention in enumerate(expect(mentions, list, "a list of mentions", field)):
            number, entity = _mention(mention, index, sentences, f"{field}[{i}]")
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
    expect(mention, dict, "a mention with pos, sent_id and type", field)
    sentence = mention.get("sent_id")
    number = expect_index(sentence, len(sentences), "a sentence", f"{field}.sent_id")
    start, end = sentences[number].to_characters(mention.get("pos"), f"{field}.pos")
    type = expect(mention.get("type"), str | None, "a string", f"{field}.type") or None
    return number, TextEntity(id=f"e{index}", start=start, end=end, type=type)


def _facts(labels: list[Any], size: int) -> Facts:
    facts: dict[Key, list[tuple[str, list[int]]]] = defaultdict(list)
    for index, label in enumerate(labels):
        field = f"labels[{index}]"
        expect(label, dict, "a label with r, h, t and evidence", field)
        for role in ("h", "t"):
            expect_index(label.get(role), size, "an entity", f"{field}.{role}")
        relation = expect(label.get("r"), str, "a relation", f"{field}.r")
        evidence = expect(label.get("evidence", []), list, "sentences", f"{field}.evidence")
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
