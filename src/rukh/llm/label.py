"""Labels by a language model: the triples that it finds in posts, as training data.

Each annotator, a model and a prompt, is asked about each post. Its answer names entities of the
post and relations of the schema; a statement about anything else is counted and dropped. If there
are several annotators, statements of more than half of them are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

from pydantic import Field, conlist, create_model

from rukh.data.corpus import list_all_pairs
from rukh.llm.endpoint import Endpoint, InvalidAnswer, Message, map_parallel
from rukh.records import Pair, Post, Record, TextEntity
from rukh.schema.schema import RelationSchema

Entities: TypeAlias = Mapping[str, TextEntity]
"""Entities by their words."""
MAX_TRIPLES = 20
"""Maximum number of triples in an answer. A small model may otherwise repeat itself for ever."""
MAX_ENTITIES = 60
"""Maximum number of entities of a post that is labelled; all their pairs are listed."""
LABELLED_BY = "labelled_by"
"""The key in ``Post.meta`` that names the models which labelled the post."""


class Statement(Record):
    """One triple, in words."""

    head: str
    relation: str
    tail: str


class Answer(Record):
    """All triples of a post."""

    triples: list[Statement]  # not the answer itself: structured output must be an object


class Annotator(NamedTuple):
    """A model, and which of the prompts it gets: each lists the relations in another order."""

    endpoint: Endpoint
    prompt: int = 0


@dataclass
class Totals:
    """Counts over posts.

    Attributes:
        posts: Number of labelled posts.
        silent: Number of labelled posts without a triple.
        triples: Number of triples that were kept.
        unanswered: Number of posts that no annotator gave a usable answer for.
        skipped: Number of posts with too many entities.
        agreed, compared: Statements that two annotators share, and that either of them makes, over
            all pairs of annotators.
        dropped: Number of statements that were not kept, by reason.
    """

    posts: int = 0
    silent: int = 0
    triples: int = 0
    unanswered: int = 0
    skipped: int = 0
    agreed: int = 0
    compared: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def agreement(self) -> float | None:
        """Share of the statements of two annotators that both make; None without any."""
        return self.agreed / self.compared if self.compared else None


def given_entities(post: Post) -> dict[str, TextEntity]:
    """Return the entities of a post by their words: of equal words, the first in the text."""
    entities: dict[str, TextEntity] = {}
    for entity in sorted(post.entities, key=lambda entity: entity.start):
        entities.setdefault(post.surface(entity.id), entity)
    return entities


def conversation(
    text: str, schema: RelationSchema, entities: Entities | None, prompt: int = 0
) -> list[Message]:
    """Build the request for the triples of a text, with a list of entities if they are given.

    The schema comes first: a server that caches prompts then reads it only once.

    Args:
        prompt: Number of relations by which their list is rotated.
    """

    def words(types: Sequence[str]) -> str:
        return " or ".join(schema.types.get(name, name) for name in types) or "anything"

    relations = []
    for relation in map(schema.relation, schema.names):
        types = f"head: {words(relation.head)}; tail: {words(relation.tail)}"
        meaning = f": {relation.descriptions[0]}" if relation.descriptions else ""
        relations.append(f"- {relation.name} ({types}){meaning}")
    first = prompt * (len(relations) // 2 + 1) % len(relations)
    arguments = (
        "Heads and tails are names, dates and amounts, copied from the text exactly, without "
        "articles, titles, @ and #. They are never pronouns or descriptions."
        if entities is None
        else "Heads and tails are entities of the list below the text, copied exactly."
    )
    lines = [
        "You extract relations from a text. A relation holds from one thing, the head, to another "
        "thing, the tail. These are all relations, with the types of their heads and tails:",
        *relations[first:],
        *relations[:first],
        "",
        "A relation holds only if the text states or clearly implies it. It does not hold if it is "
        "denied, rumoured, asked or only hoped for. Do not use other knowledge.",
        arguments,
        'Answer with one JSON object: {"triples": [{"head": "...", "relation": "...", "tail": '
        '"..."}]}, or {"triples": []} if none of the relations holds.',
    ]
    question = [f"Text: {text}"]
    if entities is not None:
        kinds = {name: f" ({words([e.type])})" if e.type else "" for name, e in entities.items()}
        question += ["Entities:", *(f"- {name}{kind}" for name, kind in kinds.items())]
    return [
        {"role": "system", "content": "\n".join(lines)},
        {"role": "user", "content": "\n".join(question)},
    ]


def answer_form(schema: RelationSchema, entities: Entities | None) -> type[Answer]:
    """Return the form of answers, which names the schema's relations and the given entities.

    Servers with structured output enforce these lists. Elsewhere, another name is a wrong
    statement rather than a reason to ask again.
    """

    def one_of(names: Collection[str] | None) -> Any:
        return str, Field(json_schema_extra=None if names is None else {"enum": list(names)})

    relation, argument = one_of(schema.names), one_of(entities)
    statement = create_model(
        "Statement", __base__=Statement, head=argument, relation=relation, tail=argument
    )
    triples = (conlist(statement, max_length=MAX_TRIPLES), ...)
    return create_model("Answer", __base__=Answer, triples=triples)


def label_posts(
    posts: Sequence[Post],
    schema: RelationSchema,
    annotators: Sequence[Annotator],
    totals: Totals,
    *,
    parallel: int = 4,
) -> list[Post]:
    """Ask annotators for the triples of posts, several posts at a time.

    Args:
        posts: Posts with entities.
        schema: The relations.
        annotators: Who is asked about each post.
        totals: Counts, to which those of these posts are added.
        parallel: Maximum number of posts about which annotators are asked at the same time.

    Returns:
        The labelled posts, in order. They list all pairs of their entities, with the relation that
        holds, or with the schema's NOTA label (None if it has none). Posts with too many entities,
        or without a usable answer, are left out.

    Raises: See :meth:`rukh.llm.endpoint.Endpoint.ask`, except for ``InvalidAnswer``.
    """
    answers = map_parallel(lambda post: _ask(post, schema, annotators), posts, parallel)
    labelled = (
        _label(post, schema, annotators, given, totals)
        for post, given in zip(posts, answers, strict=True)
    )
    return [post for post in labelled if post is not None]


def _ask(
    post: Post, schema: RelationSchema, annotators: Sequence[Annotator]
) -> list[Answer | None] | None:
    """Get the answer of each annotator; None if the post has too many entities to ask about."""
    entities = given_entities(post)
    if len(post.entities) > MAX_ENTITIES:
        return None
    if len(entities) < 2:
        return [Answer(triples=[])] * len(annotators)
    form = answer_form(schema, entities)
    answers: list[Answer | None] = []
    for endpoint, prompt in annotators:
        messages = conversation(post.text, schema, entities, prompt)
        try:
            answers.append(endpoint.ask(messages, form, lambda _: []))
        except InvalidAnswer:
            answers.append(None)
    return answers


def _label(
    post: Post,
    schema: RelationSchema,
    annotators: Sequence[Annotator],
    answers: Sequence[Answer | None] | None,
    totals: Totals,
) -> Post | None:
    if answers is None:
        totals.skipped += 1
        return None
    usable = [to_pairs(a, post, schema, totals.dropped) for a in answers if a is not None]
    if not usable:
        totals.unanswered += 1
        return None
    for one, other in combinations(usable, 2):
        totals.agreed += len(one & other)
        totals.compared += len(one | other)
    votes = Counter(pair for pairs in usable for pair in pairs)
    kept = [pair for pair, count in votes.items() if 2 * count > len(usable)]
    totals.dropped["outvoted"] += len(votes) - len(kept)
    totals.posts += 1
    totals.silent += not kept
    totals.triples += len(kept)
    names = dict.fromkeys(endpoint.config.model for endpoint, _ in annotators)
    pairs = [Pair(head=head, tail=tail, relation=relation) for head, relation, tail in kept]
    meta = {**post.meta, LABELLED_BY: ", ".join(names)}
    return list_all_pairs(
        post.model_copy(update={"pairs": tuple(pairs), "meta": meta}), schema.nota
    )


def to_pairs(
    answer: Answer, post: Post, schema: RelationSchema, dropped: Counter[str]
) -> set[tuple[str, str, str]]:
    """Check an answer against a post, and return head id, relation and tail id of each triple.

    A symmetric relation is stated from the entity that comes first in the text.

    Args:
        dropped: Counts, to which the statements that are dropped are added, by reason.

    Example:
        >>> post = Post(id="1", text="Ann of Rome", entities=[
        ...     {"id": "a", "start": 0, "end": 3}, {"id": "r", "start": 7, "end": 11}])
        >>> schema = RelationSchema.parse(
        ...     {"name": "s", "relations": [{"name": "lives in", "descriptions": ["home"]}]})
        >>> said = [{"head": "Ann", "relation": "lives in", "tail": t} for t in ("Rome", "Oslo")]
        >>> dropped = Counter()
        >>> to_pairs(Answer(triples=said), post, schema, dropped), dropped
        ({('a', 'lives in', 'r')}, Counter({'not an entity': 1}))
    """
    entities = given_entities(post)
    pairs: set[tuple[str, str, str]] = set()
    for statement in answer.triples:
        head, tail = entities.get(statement.head), entities.get(statement.tail)
        if head is None or tail is None:
            dropped["not an entity"] += 1
        elif statement.relation not in schema.names:
            dropped["not a relation"] += 1
        elif head.id == tail.id:
            dropped["head is tail"] += 1
        else:
            relation = schema.relation(statement.relation)
            if not relation.allows(head.type, tail.type):
                dropped["types"] += 1
                continue
            if relation.symmetric and tail.start < head.start:
                head, tail = tail, head
            pairs.add((head.id, relation.name, tail.id))
    return pairs
