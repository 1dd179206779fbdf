"""CoNLL04 in the columns of Bekoulis et al. (2018): entities and relations, one token a line.

``#doc 12`` starts a sentence. A line is ``number<TAB>token<TAB>BIO type<TAB>relations<TAB>heads``,
the last two as Python lists. A relation is on the line of the last token of its head; the number
at the same index of the last column is the last token of its tail. A token without relations has
``['N']`` and its own number.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import IO, Any, NamedTuple

from pydantic import ValidationError

from rukh.data.conll import tagged_text
from rukh.data.format import Source, locate_errors
from rukh.data.lines import LINE_LIMIT, lines
from rukh.data.tokens import Tokens, bio_spans
from rukh.errors import InputError
from rukh.records import Pair, Post, as_input_error
from rukh.utils.parsing import parse_literal

TYPES = {"Peop": "PER", "Loc": "LOC", "Org": "ORG", "Other": "MISC"}
"""Our names of CoNLL04's entity types."""
_CONLL_TYPES = {ours: theirs for theirs, ours in TYPES.items()}
NONE = "none"
"""The label of two entities without a relation."""
DOC = "#doc"


class Token(NamedTuple):
    """One line: the token, its BIO label, and relations with the last token of each tail."""

    text: str
    label: str
    relations: list[tuple[str, int]]


class Conll04Format:
    """Reader and writer of CoNLL04's files: one post a sentence.

    The pairs are the relations, and then, as ``none``, every other two entities once, in the order
    of the text. The id is ``{file stem}:{line}``; the text after ``#doc`` is kept in ``meta``. A
    bad line makes its sentence bad, and is reported with its own number.
    """

    limit = LINE_LIMIT

    def __init__(self, source: Source) -> None:
        self.source = source

    def read(self, stream: IO[bytes]) -> Iterator[tuple[int, Post | InputError]]:
        """See :meth:`rukh.data.format.Format.read`."""
        first, name = 0, ""
        sentence: list[Token] = []
        problem: tuple[int, InputError] | None = None
        for number, line in lines(stream, self.limit):
            starts = isinstance(line, str) and line.startswith(DOC)
            if starts or not first:
                if first:
                    yield problem or (first, self._post(first, name, sentence))
                first, name, sentence, problem = number, "", [], None
            if starts:
                name = str(line).removeprefix(DOC).strip()
            elif problem is None:
                try:
                    sentence.append(_parse_token(line, len(sentence)))
                except InputError as error:
                    problem = number, error
        if first:
            yield problem or (first, self._post(first, name, sentence))

    def write(self, posts: Iterable[Post], stream: IO[bytes]) -> None:
        """See :meth:`rukh.data.format.Format.write`. Pairs labelled ``none`` are not written.

        Raises:
            InputError: Entities overlap or have no type, or a pair has a visual object.
        """
        for number, post in enumerate(posts):
            with locate_errors(post):
                rows = [f"{DOC} {post.meta.get('doc', number)}", *_rows(post)]
                stream.write(("\n".join(rows) + "\n").encode("utf-8"))

    def _post(self, line: int, name: str, sentence: list[Token]) -> Post | InputError:
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
                id=f"{self.source.path.stem}:{line}",
                text=text,
                entities=tuple(entities),
                pairs=tuple(pairs),
                tokens=Tokens.join(words).offsets,
                meta={"doc": name} if name else {},
            )
        except ValidationError as error:
            return as_input_error(error)
        except InputError as error:
            return error


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
    value = parse_literal(text)
    if not isinstance(value, list) or any(type(item) is not kind for item in value):
        raise InputError(f"{reprlib.repr(text)} is not a list of {kind.__name__}", field=field)
    return value


def _rows(post: Post) -> list[str]:
    """The lines of a post, without the first one."""
    tokens = Tokens.of_post(post)
    labels = ["O"] * len(tokens.offsets)
    for entity in post.entities:
        first, last = tokens.to_tokens(entity)
        if entity.type is None or set(labels[first:last]) != {"O"}:
            raise InputError(
                f"{entity.id!r} has no type or shares tokens with another entity",
                field="entities",
                fix="write jsonl",
            )
        type = _CONLL_TYPES.get(entity.type, entity.type)
        labels[first:last] = [f"B-{type}", *[f"I-{type}"] * (last - first - 1)]
    relations: list[list[str]] = [[] for _ in labels]
    tails: list[list[int]] = [[] for _ in labels]
    for pair in post.pairs or ():
        if pair.relation in (None, NONE):
            continue
        head, tail = (tokens.to_tokens(post.argument(id))[1] - 1 for id in (pair.head, pair.tail))
        relations[head].append(str(pair.relation))
        tails[head].append(tail)
    for word in tokens.words:
        if "\t" in word or "\n" in word:
            raise InputError(f"{word!r} contains a tab or a line break", field="tokens")
    return [
        f"{i}\t{word}\t{labels[i]}\t{relations[i] or ['N']}\t{tails[i] or [i]}"
        for i, word in enumerate(tokens.words)
    ]
