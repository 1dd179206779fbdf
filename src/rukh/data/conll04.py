"""CoNLL04 in the columns of Bekoulis et al. (2018): entities and relations, one token per line.

``#doc 12`` starts a sentence. A line is ``number<TAB>token<TAB>BIO type<TAB>relations<TAB>heads``,
where the last two columns are Python lists. A relation is on the line of the last token of its
head. The item at the same index of the last column is the number of the last token of its tail. A
token without relations has ``['N']`` and its own number.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from itertools import combinations
from typing import IO, Any, NamedTuple

from pydantic import ValidationError

from rukh.data.conll import tagged_text
from rukh.data.format import ReadOnlyFormat
from rukh.data.lines import LINE_LIMIT, lines
from rukh.data.tokens import Tokens, bio_spans
from rukh.errors import InputError
from rukh.records import Pair, Post, as_input_error
from rukh.utils.parsing import expect, parse_literal

TYPES = {"Peop": "PER", "Loc": "LOC", "Org": "ORG", "Other": "MISC"}
"""rukh's names of CoNLL04's entity types."""
NONE = "none"
"""The label of a pair of entities without a relation."""
DOC = "#doc"


class Token(NamedTuple):
    """One line: the token, its BIO label, and its relations, each with the tail's last token."""

    text: str
    label: str
    relations: list[tuple[str, int]]


class Conll04Format(ReadOnlyFormat):
    """Reader of CoNLL04's files: one post per sentence.

    The pairs are the relations, followed by every other two entities once, in text order, with the
    label ``none``. The id is ``{file stem}:{line}``; the text after ``#doc`` is kept in ``meta``.
    If a line is invalid, its sentence is replaced by an error with the number of that line.
    """

    name = "conll04"
    limit = LINE_LIMIT

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`."""
        first, doc = 0, ""
        sentence: list[Token] = []
        problem: tuple[int, InputError] | None = None
        for number, line in lines(stream, self.limit):
            starts = isinstance(line, str) and line.startswith(DOC)
            if starts or not first:
                if first:
                    yield problem or (first, self._post(first, doc, sentence))
                first, doc, sentence, problem = number, "", [], None
            if starts:
                doc = str(line).removeprefix(DOC).strip()
            elif problem is None:
                try:
                    sentence.append(_parse_token(line, len(sentence)))
                except InputError as error:
                    problem = number, error
        if first:
            yield problem or (first, self._post(first, doc, sentence))

    def _post(self, line: int, doc: str, sentence: list[Token]) -> Post | InputError:
        words, labels = [token.text for token in sentence], [token.label for token in sentence]
        text, entities = tagged_text(words, labels)
        spans = bio_spans(labels)
        ids = {last - 1: e.id for (_, last, _), e in zip(spans, entities, strict=True)}
        pairs: list[Pair] = []
        try:
            for index, token in enumerate(sentence):
                for relation, tail in token.relations:
                    for end in (index, tail):
                        if end not in ids:
                            raise InputError(f"{relation} at token {end}, where no entity ends")
                    pairs.append(Pair(head=ids[index], tail=ids[tail], relation=relation))
            related = {frozenset((pair.head, pair.tail)) for pair in pairs}
            pairs += (
                Pair(head=a.id, tail=b.id, relation=NONE)
                for a, b in combinations(entities, 2)
                if frozenset((a.id, b.id)) not in related
            )
            return Post(
                id=f"{self.source.stem}:{line}",
                text=text,
                entities=tuple(entities),
                pairs=tuple(pairs),
                tokens=Tokens.join(words).offsets,
                meta={"doc": doc} if doc else {},
            )
        except (InputError, ValidationError) as error:
            return as_input_error(error)


def _parse_token(line: str | InputError, index: int) -> Token:
    if isinstance(line, InputError):
        raise line
    columns = line.split("\t")
    if len(columns) != 5:
        raise InputError(
            f"{len(columns)} columns, not the 5 of number, token, type, relations and heads",
            fix="separate the columns with tabs",
        )
    number, text, label, relations, heads = columns
    if number != str(index):
        raise InputError(f"{reprlib.repr(number)} is not {index}", field="number")
    prefix, dash, type = label.partition("-")
    if label != "O" and not (prefix in {"B", "I"} and dash and type):
        raise InputError(f"{reprlib.repr(label)} is not O, B-type or I-type", field="type")
    names = _parse_list(relations, str, "relations")
    tails = _parse_list(heads, int, "heads")
    if len(names) != len(tails):
        raise InputError(f"{len(tails)} numbers for {len(names)} relations", field="heads")
    pairs = [(name, tail) for name, tail in zip(names, tails, strict=True) if name != "N"]
    return Token(text, label if label == "O" else f"{prefix}-{TYPES.get(type, type)}", pairs)


def _parse_list(text: str, kind: type, field: str) -> list[Any]:
    values: list[Any] = expect(parse_literal(text), list, "a list", field)
    if any(type(value) is not kind for value in values):
        raise InputError(f"{reprlib.repr(text)} is not a list of {kind.__name__}", field=field)
    return values
