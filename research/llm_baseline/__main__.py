"""`python -m research.llm_baseline`: measure a language model end to end, as rukh is measured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import typer
from pydantic import Field, conlist, create_model

from corpora.inline import field_schema, read_lines
from research.command import command_line, main, show
from rukh.cli import options
from rukh.data.readers import read_posts
from rukh.errors import InputError
from rukh.evaluation.end_to_end import (
    Fact,
    Span,
    evaluate_end_to_end,
    gold_facts,
    labelled_posts,
    make_fact,
    triple_figures,
)
from rukh.extractor import Extractor
from rukh.llm.endpoint import Endpoint, InvalidAnswer, Message, from_environment
from rukh.records import Post, Record
from rukh.schema.schema import RelationSchema
from rukh.utils.files import check_outputs
from rukh.utils.markdown import escape, markdown_table, percent
from rukh.utils.progress import progress_bar

Setting: TypeAlias = Literal["raw", "given"]
DEVELOPMENT = Path("corpora/development/development.txt")
MAX_TRIPLES = 20
"""Maximum number of triples in an answer. A small model may otherwise repeat itself for ever."""
NOWHERE: Span = (-1, -1)
"""The span of words that the text does not contain. It neither equals nor overlaps another span."""


class Statement(Record):
    """One triple, in words."""

    head: str
    relation: str
    tail: str


class Answer(Record):
    """All triples of a post."""

    triples: list[Statement]


class Answers(NamedTuple):
    """The answers to all posts, as facts.

    Attributes:
        facts: The facts of each post, including those whose words or relation do not exist.
        seconds: Duration of each answer that was not cached.
        unanswered: Ids of the posts without a usable answer. They have no facts.
    """

    facts: list[list[Fact]]
    seconds: list[float]
    unanswered: list[str]


def conversation(post: Post, schema: RelationSchema, setting: Setting) -> list[Message]:
    """Build the request for the triples of a post.

    The schema comes first, so that a server that caches prompts reads it only once.
    """

    def words(types: Sequence[str]) -> str:
        return " or ".join(schema.types.get(name, name) for name in types) or "anything"

    lines = [
        "You extract relations from a text. A relation holds from one thing, the head, to another "
        "thing, the tail. These are all relations, with the types of their heads and tails:",
    ]
    for relation in map(schema.relation, schema.names):
        types = f"head: {words(relation.head)}; tail: {words(relation.tail)}"
        lines.append(f"- {relation.name} ({types}): {relation.descriptions[0]}")
    source = {
        "raw": "Heads and tails are names, dates and amounts, copied from the text exactly, "
        "without articles, titles, @ and #. They are never pronouns or descriptions.",
        "given": "Heads and tails are entities of the list below the text, copied exactly.",
    }
    lines += [
        "",
        "A relation holds only if the text states or clearly implies it. It does not hold if it is "
        "denied, rumoured, asked or only hoped for. Do not use other knowledge.",
        source[setting],
        'Answer with one JSON object: {"triples": [{"head": "...", "relation": "...", "tail": '
        '"..."}]}, or {"triples": []} if none of the relations holds.',
    ]
    question = [f"Text: {post.text}"]
    if setting == "given":
        question.append("Entities:")
        for entity in post.entities:
            kind = f" ({words([entity.type])})" if entity.type else ""
            question.append(f"- {post.surface(entity.id)}{kind}")
    return [
        {"role": "system", "content": "\n".join(lines)},
        {"role": "user", "content": "\n".join(question)},
    ]


def answer_form(schema: RelationSchema, entities: Sequence[str]) -> type[Answer]:
    """Return the form of an answer with the schema's relations and, if any, the given entities.

    Servers with structured output enforce these lists. Elsewhere, a name that is not in them is a
    wrong prediction, and no reason to ask again.
    """

    def one_of(names: Sequence[str]) -> Any:
        return str, Field(json_schema_extra={"enum": list(names)} if names else None)

    statement = create_model(
        "Statement",
        __base__=Statement,
        head=one_of(entities),
        relation=one_of(schema.names),
        tail=one_of(entities),
    )
    triples = (conlist(statement, max_length=MAX_TRIPLES), ...)
    return create_model("Answer", __base__=Answer, triples=triples)


def find_words(text: str, words: str) -> Span:
    """Return the first occurrence of words in a text, or :data:`NOWHERE`.

    Example:
        >>> find_words("Ann saw Ann", "Ann"), find_words("Ann saw Ann", "ann")
        ((0, 3), (-1, -1))
    """
    start = text.find(words) if words.strip() else -1
    return NOWHERE if start < 0 else (start, start + len(words))


def to_facts(answer: Answer, locate: Callable[[str], Span], schema: RelationSchema) -> list[Fact]:
    """Convert an answer to facts without repetitions.

    Facts that state the same in other words, such as inverse relations, count once, as in
    :func:`rukh.evaluation.end_to_end.gold_facts`. Unknown words and relations remain: they are
    wrong predictions.
    """
    facts: list[Fact] = []
    for head, relation, tail in dict.fromkeys((s.head, s.relation, s.tail) for s in answer.triples):
        spans = locate(head), locate(tail)
        known = relation in schema.names
        fact = (make_fact if known else _unknown)(spans[0], relation, spans[1], schema)
        if NOWHERE in spans or fact not in facts:
            facts.append(fact)
    return facts


def _unknown(head: Span, relation: str, tail: Span, schema: RelationSchema) -> Fact:
    return Fact(head, relation, tail)


def ask_all(
    endpoint: Endpoint, posts: Sequence[Post], schema: RelationSchema, setting: Setting
) -> Answers:
    """Ask for the triples of each post. Posts with fewer than two given entities have none.

    Raises: See :meth:`rukh.llm.endpoint.Endpoint.ask`, except for ``InvalidAnswer``.
    """
    answers = Answers([], [], [])
    for post in progress_bar(posts, unit="post"):
        spans: dict[str, Span] = {}
        if setting == "given":
            for entity in sorted(post.entities, key=lambda entity: entity.start):
                spans.setdefault(post.surface(entity.id), (entity.start, entity.end))
            if len(spans) < 2:
                answers.facts.append([])
                continue
        start, cached = time.perf_counter(), endpoint.totals["cached"]
        form = answer_form(schema, list(spans))
        try:
            answer = endpoint.ask(conversation(post, schema, setting), form, lambda _: [])
        except InvalidAnswer:
            answer = Answer(triples=[])
            answers.unanswered.append(post.id)
        if endpoint.totals["cached"] == cached:
            answers.seconds.append(time.perf_counter() - start)

        def locate(words: str, post: Post = post, spans: dict[str, Span] = spans) -> Span:
            return spans.get(words, NOWHERE) if spans else find_words(post.text, words)

        answers.facts.append(to_facts(answer, locate, schema))
    return answers
