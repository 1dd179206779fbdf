"""Drafts of relation descriptions by a language model.

In the ROC paper (Hei et al., EMNLP 2025, section 3, "relation encoder"), a language model states
what each relation means and what it looks like in text and image, and people verify it. Here, the
model writes all descriptions of a relation in one answer. The prompt lists the most similar
relations, from which the descriptions must distinguish it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import date as Date
from functools import partial

from pydantic import Field

from rukh.errors import InputError, RukhError, suggestion
from rukh.llm.endpoint import Endpoint, InvalidAnswer, Message, is_refusal
from rukh.records import Record
from rukh.schema.descriptions import Description, normalize_text
from rukh.schema.schema import Relation, RelationSchema
from rukh.schema.similarity import Embed, embed_schema
from rukh.utils.progress import progress_bar

logger = logging.getLogger(__name__)

NEIGHBOURS = 3
"""Number of most similar relations in the prompt."""
MIN_LENGTH, MAX_LENGTH = 20, 300
"""Bounds of a description's length in characters. The encoder reads about 60 words."""


class Answer(Record):
    """The five descriptions of one relation, in the order in which the schema lists them."""

    definition: str = Field(description="What the relation means.")
    paraphrase: str = Field(description="The same fact as somebody would post it.")
    in_text: str = Field(description="Words in a post's text that speak for it.")
    in_image: str = Field(description="What a post's image shows if it holds.")
    contrast: str = Field(description="How it differs from the most similar other relations.")

    @property
    def texts(self) -> tuple[str, ...]:
        """The five descriptions, with single spaces."""
        return tuple(" ".join(str(text).split()) for text in self.model_dump().values())


SYSTEM = """\
You write descriptions of relations. A program compares them with social media posts, which have a \
text and often an image, to find out which relation holds from one thing, called the head, to \
another thing, called the tail.

Answer with one JSON object with five strings, each one plain English sentence of 8 to 30 words:
- "definition": what the relation means. It must say "the head" and "the tail", each with its type.
- "paraphrase": how somebody would state such a fact in a post, without the words head and tail.
- "in_text": begins with "The text says" and lists words in any post that speak for the relation.
- "in_image": begins with "The image shows" and says what a photograph would show.
- "contrast": how the relation differs from the most similar other relations that you are given.
Describe the relation in general: no names of people, places or companies. Do not repeat yourself. \
Do not write labels with slashes or underscores."""

# No schema is likely to contain this relation, so an answer that copies it can be recognized.
EXAMPLE_SCHEMA = RelationSchema.parse(
    {
        "name": "example",
        "types": {"PER": "person", "ANIMAL": "animal"},
        "relations": [
            {"name": f"/per/animal/{name}", "head": ["PER"], "tail": ["ANIMAL"]}
            for name in ("keeps_as_pet", "trains", "treats")
        ],
    },
    require_descriptions=False,
)
EXAMPLE = Answer(
    definition="The head, a person, keeps the tail, an animal, as a pet.",
    paraphrase="Look who is waiting at the door for me again, my sweet old dog.",
    in_text="The text says my dog, our cat, puppy, rescue, walkies or vet about the tail.",
    in_image="The image shows a person at home or outdoors with an animal on a leash or in "
    "their arms.",
    contrast="The head owns the tail and lives with it, which a trainer or a vet does not.",
)

_LEADS = {"in_text": "The text", "in_image": "The image"}
_MARKUP = re.compile(r"[{}<>\[\]|\\`_*]|https?:|www\.|\w/\w+/|[\x00-\x1f\x7f\ufffd]")


def select_relations(
    schema: RelationSchema, only: Sequence[str] = (), *, all_relations: bool = False
) -> list[str]:
    """Select the names of the relations to describe, by default those without descriptions.

    Args:
        schema: The schema.
        only: Names of the relations to select instead.
        all_relations: Whether to select all relations.

    Raises:
        InputError: A name is not in the schema, or no relation is selected.
    """
    for name in only:
        if name not in schema.names:
            raise InputError(f"no relation named {name!r}", fix=suggestion(name, schema.names))
    names = [
        relation.name
        for relation in schema.relations
        if relation.name != schema.nota
        and (relation.name in only if only else all_relations or not relation.descriptions)
    ]
    if not names:
        raise InputError("every relation has descriptions", fix="use --all to add more")
    return names


def prompts(schema: RelationSchema, names: Sequence[str], embed: Embed) -> dict[str, list[Message]]:
    """Build the conversation that requests the descriptions of each relation.

    Args:
        schema: The schema, with the descriptions so far.
        names: Names of the relations to describe.
        embed: Function that embeds texts, used to find the most similar relations.
    """
    embedding = embed_schema(schema, embed)
    indices = {relation.name: i for i, relation in enumerate(embedding.relations)}
    pet, *others = EXAMPLE_SCHEMA.relations
    example = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": _question(EXAMPLE_SCHEMA, pet, others)},
        {"role": "assistant", "content": EXAMPLE.model_dump_json()},
    ]
    conversations = {}
    for name in names:
        similar = [embedding.relations[i] for i in embedding.nearest(indices[name], NEIGHBOURS)]
        question = _question(schema, schema.relation(name), similar)
        conversations[name] = [*example, {"role": "user", "content": question}]
    return conversations


def _question(schema: RelationSchema, relation: Relation, similar: Sequence[Relation]) -> str:
    def types(names: tuple[str, ...]) -> str:
        return " or ".join(schema.types.get(name, name) for name in names) or "anything"

    lines = [
        f'The relation: "{relation.label_words}" (label {relation.name}).',
        f"Head: {types(relation.head)}. Tail: {types(relation.tail)}.",
    ]
    inverse = schema.inverse_of(relation.name)
    if relation.symmetric:
        lines.append("It is symmetric: it holds both ways, so do not tell head and tail apart.")
    elif inverse is not None:
        words = schema.relation(inverse).label_words
        lines.append(f'From tail to head holds its inverse, "{words}".')
    else:
        lines.append("It is not symmetric: say which one is the head and which one is the tail.")
    if relation.descriptions:
        lines.append("It is described so far as follows; say it in other words:")
        lines += [f"- {text}" for text in relation.descriptions]
    if similar:
        lines.append("The most similar other relations:")
    for other in similar:
        meaning = f": {other.descriptions[0]}" if other.descriptions else ""
        arguments = f"head: {types(other.head)}, tail: {types(other.tail)}"
        lines.append(f'- "{other.label_words}", {arguments}{meaning}')
    return "\n".join(lines)


def find_problems(answer: Answer, taken: frozenset[str] = frozenset()) -> list[str]:
    """List the reasons why an answer is unusable, which are sent back to the model.

    Args:
        answer: The five descriptions.
        taken: Normalized texts of the schema's other descriptions, which must not be repeated.

    Example:
        >>> find_problems(EXAMPLE.model_copy(update={"in_text": "The text says [dog]."}))
        ['in_text contains markup or a label']
    """
    problems, seen = [], set(taken)
    for name, text in zip(Answer.model_fields, answer.texts, strict=True):
        words = re.findall(r"[^\W\d_]+", text.lower())
        if not MIN_LENGTH <= len(text) <= MAX_LENGTH:
            problems.append(f"{name} has {len(text)} characters, not {MIN_LENGTH} to {MAX_LENGTH}")
        elif len(words) < 4 or len(set(words)) < len(words) / 2:
            problems.append(f"{name} is no sentence of different words: {text!r}")
        if _MARKUP.search(text):
            problems.append(f"{name} contains markup or a label")
        if is_refusal(text):
            problems.append(f"{name} is about the writer")
        if normalize_text(text) in seen:
            problems.append(f"{name} repeats another description")
        seen.add(normalize_text(text))
        if (lead := _LEADS.get(name)) and not text.startswith(lead):
            problems.append(f'{name} must begin with "{lead}"')
    if not {"head", "tail"} <= set(re.findall(r"\w+", answer.definition.lower())):
        problems.append('definition must say "the head" and "the tail"')
    if re.search(r"\b(the head|the tail|the text|the image)\b", answer.paraphrase, re.I):
        problems.append("paraphrase must be what somebody posts, without head, tail, text or image")
    return problems


def describe(
    schema: RelationSchema,
    conversations: Mapping[str, list[Message]],
    endpoint: Endpoint,
    today: Date,
) -> RelationSchema:
    """Add drafts by a language model to the descriptions of relations.

    Args:
        schema: The schema.
        conversations: The request for each relation's descriptions, by name; see :func:`prompts`.
        endpoint: The endpoint of the model.
        today: Date of the drafts.

    Raises:
        RukhError: A relation could not be described. The answers for the others are cached, so a
            repeated call requests only the missing ones.
        EndpointError, InputError: See :meth:`rukh.llm.endpoint.Endpoint.ask`.
    """
    texts = [*EXAMPLE.texts, *(text for r in schema.relations for text in r.descriptions)]
    taken = {normalize_text(text) for text in texts}
    relations = {relation.name: relation for relation in schema.relations}
    author, failures = endpoint.config.model, []
    for name, messages in progress_bar(conversations.items(), unit="relation"):
        try:
            check = partial(find_problems, taken=frozenset(taken))
            answer = endpoint.ask(messages, Answer, check)
        except InvalidAnswer as error:
            failures.append(repr(name))
            logger.warning("%s: no usable answer: %s", name, error)
            continue
        taken |= {normalize_text(text) for text in answer.texts}
        drafts = tuple(
            Description(t, status="draft", author=author, date=today) for t in answer.texts
        )
        descriptions = relations[name].descriptions + drafts
        relations[name] = relations[name].model_copy(update={"descriptions": descriptions})
        logger.info("%s: described", name)
    if failures:
        raise RukhError(
            f"no usable descriptions of {', '.join(failures)}; no file was written, but the other "
            "answers are cached; run the same command again, write these descriptions by hand, or "
            "use another model"
        )
    return schema.model_copy(update={"relations": tuple(relations.values())})
