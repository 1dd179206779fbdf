"""Drafts of relation descriptions by a language model (ROC, section 3: "relation encoder").

ROC has a language model say of each relation what it means and what it looks like in text and
picture, and has people verify it. Here the model is asked once a relation, for all its descriptions
together, and is shown the relations that lie nearest, from which it must tell this one apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date as Date
from functools import partial

from pydantic import Field

from rukh.errors import InputError, RukhError, suggestion
from rukh.llm.endpoint import BadAnswer, Endpoint, Message
from rukh.records import Record
from rukh.schema.descriptions import Description, bare
from rukh.schema.schema import Relation, RelationSchema
from rukh.schema.similarity import Embed, embed_schema

NEIGHBOURS = 3
"""How many of the nearest relations the model is shown."""
LENGTH = (20, 300)
"""The fewest and the most characters of a description; the encoder reads some 60 words."""


class Answer(Record):
    """The five descriptions of one relation, in the order in which the schema lists them."""

    definition: str = Field(description="What the relation means.")
    paraphrase: str = Field(description="The same fact as somebody would post it.")
    in_text: str = Field(description="Words in a post's text that speak for it.")
    in_picture: str = Field(description="What a post's picture shows where it holds.")
    contrast: str = Field(description="How it differs from the nearest other relations.")

    @property
    def texts(self) -> tuple[str, ...]:
        """The five, white space made even."""
        return tuple(" ".join(str(text).split()) for text in self.model_dump().values())


SYSTEM = """\
You write descriptions of relations. A program compares them with social media posts, which have a \
text and often a picture, to find out which relation holds from one thing, called the head, to \
another thing, called the tail.

Answer with one JSON object with five strings, each one plain English sentence of 8 to 30 words:
- "definition": what the relation means. It must say "the head" and "the tail", each with its type.
- "paraphrase": how somebody would state such a fact in a post, without the words head and tail.
- "in_text": begins with "The text says" and lists words in any post that speak for the relation.
- "in_picture": begins with "The picture shows" and says what a photograph would show.
- "contrast": how the relation differs from the most similar other relations that you are given.
Describe the relation in general: no names of people, places or companies. Do not repeat yourself. \
Do not write labels with slashes or underscores."""

# Its relation is one that no schema is likely to have, so that copying it is seen.
EXAMPLE_SCHEMA = RelationSchema.parse(
    {
        "name": "example",
        "types": {"PER": "person", "ANIMAL": "animal"},
        "relations": [
            {"name": "/per/animal/keeps_as_pet", "head": ["PER"], "tail": ["ANIMAL"]},
            {"name": "/per/animal/trains", "head": ["PER"], "tail": ["ANIMAL"]},
            {"name": "/per/animal/treats", "head": ["PER"], "tail": ["ANIMAL"]},
        ],
    },
    undescribed=True,
)
EXAMPLE = Answer(
    definition="The head, a person, keeps the tail, an animal, as a pet.",
    paraphrase="Look who is waiting at the door for me again, my sweet old dog.",
    in_text="The text says my dog, our cat, puppy, rescue, walkies or vet about the tail.",
    in_picture="The picture shows a person at home or outdoors with an animal on a leash or in "
    "their arms.",
    contrast="The head owns the tail and lives with it, which a trainer or a vet does not.",
)

_REFUSAL = re.compile(
    r"\b(as an ai\b|language model|i'?m sorry|i am sorry|i can(no|')t|i am unable)", re.I
)
_MARKUP = re.compile(r"[{}<>\[\]|\\`_*]|https?:|www\.|\w/\w+/|[\x00-\x1f\x7f\ufffd]")


def prompts(schema: RelationSchema, names: Sequence[str], embed: Embed) -> dict[str, list[Message]]:
    """The conversation that asks for each relation's descriptions.

    Args:
        schema: All relations; those that have descriptions are known by them.
        names: Which are to be described.
        embed: Finds the relations nearest to each, see :mod:`rukh.schema.similarity`.
    """
    table = embed_schema(schema, embed)
    places = {relation.name: i for i, relation in enumerate(table.relations)}
    pet, *others = EXAMPLE_SCHEMA.relations
    example = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": _question(EXAMPLE_SCHEMA, pet, others)},
        {"role": "assistant", "content": EXAMPLE.model_dump_json()},
    ]
    asked = {}
    for name in names:
        near = [schema.relation(one.name) for one in table.nearest(places[name], NEIGHBOURS)]
        asked[name] = [
            *example,
            {"role": "user", "content": _question(schema, schema.relation(name), near)},
        ]
    return asked


def _question(schema: RelationSchema, relation: Relation, near: Sequence[Relation]) -> str:
    def types(names: tuple[str, ...]) -> str:
        return " or ".join(schema.types.get(name, name) for name in names) or "anything"

    def line(one: Relation) -> str:
        said = f": {one.descriptions[0]}" if one.descriptions else ""
        return f'- "{one.words}", head: {types(one.head)}, tail: {types(one.tail)}{said}'

    inverse = schema.reverse(relation.name)
    lines = [
        f'The relation: "{relation.words}" (label {relation.name}).',
        f"Head: {types(relation.head)}. Tail: {types(relation.tail)}.",
    ]
    if relation.symmetric:
        lines.append("It is symmetric: it holds both ways, so do not tell head and tail apart.")
    elif inverse is not None:
        lines.append(f'From tail to head holds its inverse, "{schema.relation(inverse).words}".')
    else:
        lines.append("It is not symmetric: say which one is the head and which one is the tail.")
    if relation.descriptions:
        lines += ["It is described so far as follows; say it in other words:"]
        lines += [f"- {text}" for text in relation.descriptions]
    if near:
        lines += ["The most similar other relations:", *map(line, near)]
    return "\n".join(lines)


def faults(answer: Answer, taken: frozenset[str] = frozenset()) -> list[str]:
    """What makes an answer of the right form useless, each fault in words for the model.

    Args:
        answer: The five descriptions.
        taken: Texts that stand elsewhere in the schema, as :func:`bare` gives them.

    Example:
        >>> faults(EXAMPLE.model_copy(update={"in_text": "The text says [dog]."}))
        ['in_text has markup or a label in it']
    """
    found = []
    least, most = LENGTH
    seen: set[str] = set()
    for name, text in zip(Answer.model_fields, answer.texts, strict=True):
        words = re.findall(r"[^\W\d_]+", text.lower())
        if not least <= len(text) <= most:
            found.append(f"{name} has {len(text)} characters, not {least} to {most}")
        elif len(words) < 4 or len(set(words)) < len(words) / 2:
            found.append(f"{name} is no sentence of different words: {text!r}")
        if _MARKUP.search(text):
            found.append(f"{name} has markup or a label in it")
        if _REFUSAL.search(text):
            found.append(f"{name} speaks of the writer")
        if bare(text) in seen | taken:
            found.append(f"{name} repeats another description")
        seen.add(bare(text))
    if not {"head", "tail"} <= set(re.findall(r"\w+", answer.definition.lower())):
        found.append('definition must say "the head" and "the tail"')
    if re.search(r"\b(the head|the tail|the text|the picture)\b", answer.paraphrase, re.I):
        found.append("paraphrase must be what somebody posts, without head, tail, text or picture")
    for name, lead in (("in_text", "The text"), ("in_picture", "The picture")):
        if not getattr(answer, name).strip().startswith(lead):
            found.append(f'{name} must begin with "{lead}"')
    return found


def chosen(schema: RelationSchema, only: Sequence[str] = (), *, again: bool = False) -> list[str]:
    """Names of the relations to be described: those without descriptions.

    Args:
        schema: The relations.
        only: These, whether they have descriptions or not.
        again: All of them.

    Raises:
        InputError: A name that the schema does not hold, or nothing to do.
    """
    for name in only:
        if name not in schema.names:
            raise InputError(f"no relation {name!r}", fix=suggestion(name, schema.names))
    names = [
        relation.name
        for relation in schema.relations
        if relation.name != schema.nota
        and (relation.name in only if only else again or not relation.descriptions)
    ]
    if not names:
        raise InputError("every relation has descriptions", fix="give --all to add to them")
    return names


def describe(
    schema: RelationSchema,
    asked: dict[str, list[Message]],
    endpoint: Endpoint,
    today: Date,
    told: Callable[[str, str], None] = lambda name, what: None,
) -> RelationSchema:
    """The schema with drafts behind whatever descriptions its relations have.

    Args:
        schema: The relations.
        asked: What to ask for which of them, see :func:`prompts`.
        endpoint: Whom to ask.
        today: The drafts' date.
        told: Called with each relation's name and what became of it.

    Raises:
        RukhError: Some relation could not be described. The others' answers are kept, so that the
            same call asks for these alone.
        EndpointError, InputError: See :meth:`rukh.llm.endpoint.Endpoint.ask`.
    """
    # What the example says is nobody's description.
    taken = {bare(text) for text in EXAMPLE.texts}
    taken |= {bare(text) for relation in schema.relations for text in relation.descriptions}
    drafts: dict[str, tuple[str, ...]] = {}
    failed: dict[str, str] = {}
    for name, messages in asked.items():
        used, before = frozenset(taken), endpoint.totals.cached
        try:
            answer = endpoint.ask(messages, Answer, partial(faults, taken=used))
        except BadAnswer as error:
            failed[name] = str(error)
            told(name, f"failed: {error}")
            continue
        drafts[name] = answer.texts
        taken |= {bare(text) for text in answer.texts}
        told(name, "kept from before" if endpoint.totals.cached > before else "described")
    if failed:
        name, why = next(iter(failed.items()))
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise RukhError(
            f"no usable descriptions of {name!r}{more}: {why}; nothing is written, what the others "
            "got is kept: run the same command again, write one description by hand, or take "
            "another model"
        )
    author = endpoint.config.model
    relations = tuple(
        relation.model_copy(
            update={
                "descriptions": relation.descriptions
                + tuple(
                    Description(text, status="draft", author=author, date=today)
                    for text in drafts.get(relation.name, ())
                )
            }
        )
        for relation in schema.relations
    )
    return schema.model_copy(update={"relations": relations})
