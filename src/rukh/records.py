"""Posts, their arguments, and the pairs to be asked: the records that everything else works on.

A :class:`Post` is a text with an optional picture. Its arguments are text entities (character
offsets, end-exclusive) and visual objects (boxes as fractions of the picture). All records are
frozen; a violated constraint raises pydantic's ``ValidationError``, whose message names the field
and the offending value, and which :func:`as_input_error` turns into one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from rukh.errors import InputError

MAX_TEXT = 100_000
"""The longest text of a post, in characters."""
MAX_ARGUMENTS = 512
"""The most arguments of one post; their pairs grow with the square."""
MAX_PAIRS = 65_536
"""The most pairs asked of one post."""


def _encodable(value: Any) -> Any:
    """Before pydantic's own check, whose message does not say what is wrong."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"half of a UTF-16 surrogate pair at character {error.start} of "
                f"{_shorten(repr(value))}, which no file can hold"
            ) from None
    return value


def _writable(meta: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """JsonValue lets through what JSON files cannot hold: NaN from JSON input, half surrogates."""
    if meta:
        _encodable(json.dumps(meta, ensure_ascii=False, allow_nan=False))
    return meta


Text: TypeAlias = Annotated[str, BeforeValidator(_encodable)]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=1000), BeforeValidator(_encodable)]
Direction: TypeAlias = Literal["either", "given"]
"""What is known of a named pair: nothing of which argument is the head, or that the first is, as
where a data set names head and tail by their roles."""
Box: TypeAlias = tuple[float, float, float, float]
Meta: TypeAlias = Annotated[dict[str, JsonValue], AfterValidator(_writable)]


class Record(BaseModel):
    """Base of all records: frozen, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TextEntity(Record):
    """An argument that stands in the text.

    Attributes:
        id: Unique among the post's arguments.
        start, end: Character offsets into ``Post.text``, end-exclusive, ``start < end``.
        type: Entity type as a free string (``"PER"``), or None where it is not known.
        type_confidence: How sure a tagger was of the type; None for a type that is given.
        meta: Whatever else the source said of it, kept for lossless conversion.
    """

    id: Name
    start: int = Field(ge=0, strict=True)
    end: int = Field(ge=1, strict=True)
    type: Name | None = None
    type_confidence: float | None = Field(default=None, ge=0, le=1)
    meta: Meta = {}

    @model_validator(mode="after")
    def _ordered(self) -> TextEntity:
        if self.end <= self.start:
            raise ValueError(
                f"entity {self.id!r} is empty: start {self.start}, end {self.end} (exclusive)"
            )
        return self


class VisualObject(Record):
    """An argument that stands in the picture.

    Attributes:
        id: Unique among the post's arguments.
        box: ``(x1, y1, x2, y2)`` as fractions of the picture's width and height, in [0, 1].
        type: Object type as a free string, or None.
        label: What a detector or annotator called it, or None.
        meta: Whatever else the source said of it.
    """

    id: Name
    box: Box
    type: Name | None = None
    label: Text | None = None
    meta: Meta = {}

    @model_validator(mode="after")
    def _inside(self) -> VisualObject:
        x1, y1, x2, y2 = self.box
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
            raise ValueError(
                f"box {list(self.box)} of object {self.id!r} must satisfy 0 <= x1 < x2 <= 1 and "
                "0 <= y1 < y2 <= 1 (fractions of the picture, not pixels)"
            )
        return self


Argument: TypeAlias = TextEntity | VisualObject


class Pair(Record):
    """Two arguments of one post, in order, with the gold relation where it is known."""

    head: Name
    tail: Name
    relation: Name | None = None
    meta: Meta = {}

    @model_validator(mode="after")
    def _two(self) -> Pair:
        if self.head == self.tail:
            raise ValueError(f"head and tail are both {self.head!r}")
        return self


def both_orders(pairs: Iterable[Pair]) -> list[tuple[str, str]]:
    """List the argument ids of each pair in its own order, then in the reverse: ``2 Q`` for ``Q``.

    Example:
        >>> both_orders([Pair(head="a", tail="b")])
        [('a', 'b'), ('b', 'a')]
    """
    return [ids for pair in pairs for ids in ((pair.head, pair.tail), (pair.tail, pair.head))]


class Post(Record):
    """A text with an optional picture, its arguments, and the pairs to be asked.

    Attributes:
        id: Names the post in every output.
        text: The text; may be empty where all arguments are visual.
        image: The picture, as a path or as encoded bytes, or None. In a file, a path is relative
            to that file; a reader resolves it, a writer makes it relative again.
        caption: A machine's or a person's caption of the picture; a second text segment.
        entities, objects: The arguments; spans may nest or overlap.
        pairs: What to ask, in order, duplicates kept. None: every ordered pair that the schema's
            types allow (see :func:`rukh.extractor.candidate_pairs`), of the entities that a
            tagger finds where none are given.
        tokens: Character offsets of the source's tokens, where its format has tokens.
        meta: Whatever else the source said of it.

    Example:
        >>> post = Post(id="1", text="Ann in Rome", entities=[
        ...     {"id": "a", "start": 0, "end": 3, "type": "PER"},
        ...     {"id": "r", "start": 7, "end": 11, "type": "LOC"}])
        >>> post.surface("r")
        'Rome'
    """

    id: Name
    text: Text = Field(max_length=MAX_TEXT)
    image: Annotated[Path | bytes | None, BeforeValidator(_encodable)] = Field(
        default=None, union_mode="left_to_right"
    )
    caption: Text | None = Field(default=None, max_length=MAX_TEXT)
    entities: tuple[TextEntity, ...] = Field(default=(), max_length=MAX_ARGUMENTS)
    objects: tuple[VisualObject, ...] = Field(default=(), max_length=MAX_ARGUMENTS)
    pairs: tuple[Pair, ...] | None = Field(default=None, max_length=MAX_PAIRS)
    tokens: tuple[tuple[int, int], ...] | None = None
    meta: Meta = {}

    @model_validator(mode="after")
    def _consistent(self) -> Post:
        size = len(self.text)
        seen: set[str] = set()
        for argument in self.arguments:
            if argument.id in seen:
                raise ValueError(f"argument id {argument.id!r} stands twice")
            seen.add(argument.id)
        for index, entity in enumerate(self.entities):
            if entity.end > size:
                raise ValueError(
                    f"entities[{index}] ({entity.id!r}) ends at {entity.end}, past the text of "
                    f"{size} characters {_shorten(self.text)!r}"
                )
            if not self.text[entity.start : entity.end].strip():
                raise ValueError(
                    f"entities[{index}] ({entity.id!r}) covers only white space, "
                    f"[{entity.start}, {entity.end})"
                )
        for index, pair in enumerate(self.pairs or ()):
            for role, name in (("head", pair.head), ("tail", pair.tail)):
                if name not in seen:
                    raise ValueError(
                        f"pairs[{index}].{role} names {name!r}, which is no argument of this post; "
                        f"arguments: {sorted(seen)}"
                    )
        for index, (start, end) in enumerate(self.tokens or ()):
            if not 0 <= start <= end <= size:
                raise ValueError(
                    f"tokens[{index}] is [{start}, {end}), outside the text of {size} characters"
                )
        return self

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """All arguments: entities, then objects."""
        return (*self.entities, *self.objects)

    def argument(self, name: str) -> Argument:
        """The argument with this id. Raises KeyError where there is none."""
        for argument in self.arguments:
            if argument.id == name:
                return argument
        raise KeyError(name)

    def surface(self, name: str) -> str:
        """What a reader would call an argument: its words, or its label, or its id."""
        argument = self.argument(name)
        if isinstance(argument, TextEntity):
            return self.text[argument.start : argument.end]
        return argument.label or argument.type or argument.id


class EntityMention(Record):
    """A text entity as a triple reports it, readable without the post.

    Attributes:
        id: The argument's id.
        text: The words it covers.
        start, end: Character offsets into the post's text, end-exclusive.
        type: Entity type, or None where unknown.
    """

    id: str
    text: str
    start: int
    end: int
    type: str | None = None


class ObjectMention(Record):
    """A visual object as a triple reports it, readable without the post.

    Attributes:
        id: The argument's id.
        box: ``(x1, y1, x2, y2)`` as fractions of the image's width and height.
        type: Object type, or None where unknown.
        label: The detector's or annotator's label, or None.
    """

    id: str
    box: Box
    type: str | None = None
    label: str | None = None


Mention: TypeAlias = EntityMention | ObjectMention


def to_mention(argument: Argument, text: str) -> Mention:
    """An argument of a post with this text, as a triple reports it."""
    if isinstance(argument, TextEntity):
        start, end = argument.start, argument.end
        return EntityMention(
            id=argument.id, text=text[start:end], start=start, end=end, type=argument.type
        )
    return ObjectMention(id=argument.id, box=argument.box, type=argument.type, label=argument.label)


class RankedRelation(Record):
    """One relation of a ranking, with its probability."""

    relation: str | None
    score: float


class Triple(Record):
    """The predicted relation of one ordered pair of arguments.

    Attributes:
        post_id: The post's id.
        head, tail: The arguments, whether the post gave them or they were detected.
        relation: The relation's name; where none holds, the schema's NOTA label, or None if the
            schema has no NOTA label.
        score: Probability of ``relation``, in [0, 1].
        description: The description of the relation that matched best, or None.
        gate: Weight of the image in the encoding, in [0, 1]; None for a post without an image.
        ranking: The best relations, best first; None, and not written, unless asked for.
    """

    post_id: str
    head: Mention
    tail: Mention
    relation: str | None
    score: float
    description: str | None = None
    gate: float | None = None
    ranking: tuple[RankedRelation, ...] | None = None

    @model_serializer(mode="wrap")
    def _omit_missing_ranking(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = write(self)
        if data.get("ranking", ()) is None:
            del data["ranking"]
        return data


def free_ids(prefix: str, taken: Iterable[str] = ()) -> Iterator[str]:
    """Yield ``prefix0``, ``prefix1``, ..., without those that are taken.

    Example:
        >>> ids = free_ids("e", {"e0", "o1"})
        >>> next(ids), next(ids)
        ('e1', 'e2')
    """
    used = set(taken)
    return (name for name in (f"{prefix}{number}" for number in count()) if name not in used)


def as_input_error(error: ValidationError, where: str | None = None) -> InputError:
    """One line for the first problem that pydantic found, with its field's path."""
    first = error.errors(include_url=False)[0]
    field = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
    ).lstrip(".")
    problem = str(first["msg"]).removeprefix("Value error, ")
    value: Any = first.get("input")
    if first["type"] != "value_error" and isinstance(value, str | int | float | bool | type(None)):
        problem += f", not {_shorten(repr(value))}"
    more = error.error_count() - 1
    return InputError(
        problem + (f" (and {more} more)" if more else ""), where=where, field=field or None
    )


def _shorten(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
