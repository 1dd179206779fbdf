"""CoNLL04 in the columns of Bekoulis et al. (2018): entities and relations, a token a line.

``#doc 12`` opens a sentence; a line is ``number<TAB>token<TAB>BIO type<TAB>relations<TAB>heads``,
the last two as Python lists. A relation stands at the last token of its head; the number in the
same place of the last column is the last token of its tail. A token without has ``['N']`` and its
own number.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import IO, Any, NamedTuple

from pydantic import ValidationError

from rukh.data import tokens
from rukh.data.conll import TaggedSentence, gold_spans
from rukh.data.format import Source
from rukh.data.lines import LINE_LIMIT, from_literal, lines
from rukh.errors import InputError
from rukh.records import Pair, Post, as_input_error

TYPES = {"Peop": "PER", "Loc": "LOC", "Org": "ORG", "Other": "MISC"}
"""CoNLL04's types in rukh's words."""
_SPELT = {word: name for name, word in TYPES.items()}
NONE = "none"
"""The label of two entities that no relation joins."""
OPENING = "#doc"


class Token(NamedTuple):
    """One line: the token, its BIO label, and relations with the last token of their tails."""

    text: str
    label: str
    relations: list[tuple[str, int]]


class Conll04Format:
    """One post a sentence: its relations in their direction, then any other two entities, once,
    in the order of the text, as ``none``.

    The id is ``{file stem}:{line}``; what follows ``#doc`` is kept in ``meta``. A bad line spoils
    its sentence, and is reported under its own number.
    """

    limit = LINE_LIMIT

    def __init__(self, source: Source) -> None:
        self.source = source

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`."""
        first, name = 0, ""
        sentence: list[Token] = []
        wrong: tuple[int, InputError] | None = None
        for number, line in lines(stream, self.limit):
            opening = isinstance(line, str) and line.startswith(OPENING)
            if opening or not first:
                if first:
                    yield wrong or (first, self._post(first, name, sentence))
                first, name, sentence, wrong = number, "", [], None
            if opening:
                name = str(line).removeprefix(OPENING).strip()
            elif wrong is None:
                try:
                    sentence.append(_token(line, len(sentence)))
                except InputError as error:
                    wrong = number, error
        if first:
            yield wrong or (first, self._post(first, name, sentence))

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """See :meth:`rukh.data.format.Format.write`. A relation ``none`` is not written.

        Raises:
            InputError: Entities overlap, have no type, or a pair holds a visual object.
        """
        for number, post in enumerate(posts):
            try:
                rows = _rows(post)
            except InputError as error:
                raise error.at(f"post {post.id}") from None
            opening = f"{OPENING} {post.meta.get('doc', number)}"
            stream.write(("\n".join([opening, *rows]) + "\n").encode("utf-8"))

    def _post(self, line: int, name: str, sentence: list[Token]) -> Post | InputError:
        text, spans = gold_spans(
            TaggedSentence([t.text for t in sentence], [t.label for t in sentence])
        )
        offsets = tokens.join(t.text for t in sentence)[1]
        ends = {tokens.to_tokens(offsets, e.start, e.end)[1] - 1: e.id for e in spans}
        pairs: list[Pair] = []
        try:
            for place, token in enumerate(sentence):
                for relation, tail in token.relations:
                    for end in (place, tail):
                        if end not in ends:
                            raise InputError(
                                f"{relation} is told of token {end}, where no entity ends"
                            )
                    pairs.append(Pair(head=ends[place], tail=ends[tail], relation=relation))
            joined = {frozenset((pair.head, pair.tail)) for pair in pairs}
            pairs += (
                Pair(head=a.id, tail=b.id, relation=NONE)
                for a, b in combinations(spans, 2)
                if frozenset((a.id, b.id)) not in joined
            )
            return Post(
                id=f"{self.source.path.stem}:{line}",
                text=text,
                entities=tuple(spans),
                pairs=tuple(pairs),
                tokens=tuple(offsets),
                meta={"doc": name} if name else {},
            )
        except ValidationError as error:
            return as_input_error(error)
        except InputError as error:
            return error


def _token(line: str | InputError, place: int) -> Token:
    if isinstance(line, InputError):
        raise line
    columns = line.split("\t")
    if len(columns) != 5:
        raise InputError(
            f"{len(columns)} columns for number, token, type, relations and heads",
            fix="tabs stand between the columns",
        )
    number, text, label, *_ = columns
    if number != str(place):
        raise InputError(f"{reprlib.repr(number)} for {place}", field="number")
    bio, dash, kind = label.partition("-")
    if label != "O" and not (bio in {"B", "I"} and dash and kind):
        raise InputError(f"{reprlib.repr(label)} is not O, B-type or I-type", field="type")
    names = _list(columns[3], str, "relations")
    heads = _list(columns[4], int, "heads")
    if len(names) != len(heads):
        raise InputError(f"{len(heads)} for {len(names)} relations", field="heads")
    told = [(name, head) for name, head in zip(names, heads, strict=True) if name != "N"]
    return Token(text, label if label == "O" else f"{bio}-{TYPES.get(kind, kind)}", told)


def _list(given: str, kind: type, field: str) -> list[Any]:
    value = from_literal(given)
    if not isinstance(value, list) or any(type(item) is not kind for item in value):
        raise InputError(f"{reprlib.repr(given)} is not a list of {kind.__name__}", field=field)
    return value


def _rows(post: Post) -> list[str]:
    edges = [edge for entity in post.entities for edge in (entity.start, entity.end)]
    offsets = tokens.words(post.text, edges, post.tokens)
    words = tokens.split(post.text, offsets)
    labels = ["O"] * len(words)
    ends: dict[str, int] = {}
    for entity in post.entities:
        first, last = tokens.to_tokens(offsets, entity.start, entity.end)
        if first == last or entity.type is None or set(labels[first:last]) != {"O"}:
            raise InputError(
                f"{entity.id!r} has no type, no token, or shares tokens with another entity",
                field="entities",
                fix="write jsonl",
            )
        kind = _SPELT.get(entity.type, entity.type)
        labels[first:last] = [f"B-{kind}", *[f"I-{kind}"] * (last - first - 1)]
        ends[entity.id] = last - 1
    told: list[list[tuple[str, int]]] = [[] for _ in words]
    for pair in post.pairs or ():
        if pair.relation in (None, NONE):
            continue
        if pair.head not in ends or pair.tail not in ends:
            raise InputError("a visual object, which the format cannot hold", field="objects")
        told[ends[pair.head]].append((str(pair.relation), ends[pair.tail]))
    for word in words:
        if "\t" in word or "\n" in word:
            raise InputError(f"{word!r} holds a tab or a line's end", field="tokens")
    return [
        f"{i}\t{word}\t{labels[i]}\t{[r for r, _ in told[i]] or ['N']}"
        f"\t{[t for _, t in told[i]] or [i]}"
        for i, word in enumerate(words)
    ]
