"""The records that all modules share: posts, their arguments and pairs, and triples.

Invalid values raise pydantic's ``ValidationError``; see :func:`as_input_error`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Annotated, Any, TypeAlias

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
from pydantic_core import ErrorDetails

from rukh.errors import EXPECTED, InputError, format_value, shorten

MAX_TEXT = 100_000
"""Maximum length of a post's text, in characters."""
MAX_ARGUMENTS = 512
"""Maximum number of objects per post, and of the arguments of merged posts."""
MAX_ENTITIES = MAX_TEXT // 2
"""Maximum number of entities per post, so that all detected ones fit."""
MAX_PAIRS = 65_536
"""Maximum number of pairs per post."""
MAX_META = 1_000_000
"""Maximum length of ``meta`` as JSON, in characters."""


def _check_encodable(value: Any) -> Any:
    """Reject lone surrogates, with a clearer message than that of pydantic's own check."""
    if isinstance(value, str | Path):
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"half of a UTF-16 surrogate pair at character {error.start} of "
                f"{shorten(repr(str(value)))}, which no file can hold"
            ) from None
    return value


def _as_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _check_meta(meta: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Reject NaN, infinity and lone surrogates, which no JSON file can hold, and too much."""
    if meta:
        text = _check_encodable(json.dumps(meta, ensure_ascii=False, allow_nan=False))
        if len(text) > MAX_META:
            raise ValueError(f"is {len(text):,} characters long as JSON, more than {MAX_META:,}")
    return meta


def _check_time(value: str) -> str:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a date or time such as 2026-11-29T08:30:00Z") from None
    return value


Text: TypeAlias = Annotated[str, BeforeValidator(_check_encodable)]
Name: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=1000), BeforeValidator(_check_encodable)
]
Box: TypeAlias = tuple[float, float, float, float]
Time: TypeAlias = Annotated[str, AfterValidator(_check_time)]
Meta: TypeAlias = Annotated[dict[str, JsonValue], AfterValidator(_check_meta)]


class Record(BaseModel):
    """Base of all records: immutable, without unknown fields or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TextEntity(Record):
    """An argument in the text.

    Attributes:
        id: Id that is unique among the post's arguments.
        start, end: Character offsets into ``Post.text``, end-exclusive.
        type: Entity type, such as ``"PER"``, or None if unknown.
        type_confidence: The tagger's confidence in the type, in [0, 1]. None if the type was given.
        meta: Other fields of the source file, kept for lossless conversion.
    """

    id: Name
    start: int = Field(ge=0, strict=True)
    end: int = Field(ge=1, strict=True)
    type: Name | None = None
    type_confidence: float | None = Field(default=None, ge=0, le=1)
    meta: Meta = {}

    @model_validator(mode="after")
    def _check_span(self) -> TextEntity:
        if self.end <= self.start:
            raise ValueError(
                f"entity {self.id!r} is empty: start {self.start}, end {self.end} (exclusive)"
            )
        return self


class VisualObject(Record):
    """An argument in the image.

    Attributes:
        id: Id that is unique among the post's arguments.
        box: ``(x1, y1, x2, y2)`` as fractions of the image's width and height, in [0, 1].
        type: Object type, such as ``"person"``, or None if unknown.
        label: Label by the detector or annotator, or None.
    """

    id: Name
    box: Box
    type: Name | None = None
    label: Text | None = None
    meta: Meta = {}

    @model_validator(mode="after")
    def _check_box(self) -> VisualObject:
        x1, y1, x2, y2 = self.box
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
            raise ValueError(
                f"box {list(self.box)} of object {self.id!r} must satisfy 0 <= x1 < x2 <= 1 and "
                "0 <= y1 < y2 <= 1 (fractions of the image, not pixels)"
            )
        return self


Argument: TypeAlias = TextEntity | VisualObject


class Pair(Record):
    """Two arguments of a post, given by their ids, and the gold relation or None."""

    head: Name
    tail: Name
    relation: Name | None = None
    meta: Meta = {}

    @model_validator(mode="after")
    def _check_distinct(self) -> Pair:
        if self.head == self.tail:
            raise ValueError(f"head and tail are both {self.head!r}")
        return self


def both_orders(pairs: Iterable[Pair]) -> list[tuple[str, str]]:
    """Return the argument ids of each pair, then the same swapped: ``2 Q`` for ``Q`` pairs."""
    return [ids for pair in pairs for ids in ((pair.head, pair.tail), (pair.tail, pair.head))]


class Post(Record):
    """A text with an optional image, its arguments, and its pairs.

    Attributes:
        id: Id of the post, which all outputs repeat. An integer is read as its digits.
        text: Text of the post; may be empty if all arguments are visual.
        image: Path, encoded bytes, or None. In files, paths are relative to the file.
        caption: Caption of the image, or None. It is encoded as a second text segment.
        entities, objects: Arguments in the text and in the image; spans may nest or overlap.
        pairs: Pairs to classify, in order; duplicates are kept. None: all ordered pairs that the
            schema's types allow, of the given arguments or, if there are none, the detected ones.
        tokens: Character offsets of the tokens in the source file, or None.
        time: When the post was written, as a date or time in ISO 8601, or None.

    Example:
        >>> Post(id="1", text="Ann left", entities=[{"id": "a", "start": 0, "end": 3}]).surface("a")
        'Ann'
    """

    id: Annotated[Name, BeforeValidator(_as_text)]
    text: Text = Field(max_length=MAX_TEXT)
    image: Annotated[Path | bytes | None, BeforeValidator(_check_encodable)] = Field(
        default=None, union_mode="left_to_right"
    )
    caption: Text | None = Field(default=None, max_length=MAX_TEXT)
    entities: tuple[TextEntity, ...] = Field(default=(), max_length=MAX_ENTITIES)
    objects: tuple[VisualObject, ...] = Field(default=(), max_length=MAX_ARGUMENTS)
    pairs: tuple[Pair, ...] | None = Field(default=None, max_length=MAX_PAIRS)
    tokens: tuple[tuple[int, int], ...] | None = None
    time: Time | None = None
    meta: Meta = {}

    @model_validator(mode="after")
    def _check_references(self) -> Post:
        size = len(self.text)
        seen: set[str] = set()
        for argument in self.arguments:
            if argument.id in seen:
                raise ValueError(f"two arguments have the id {argument.id!r}")
            seen.add(argument.id)
        for index, entity in enumerate(self.entities):
            if entity.end > size:
                raise ValueError(
                    f"entities[{index}] ({entity.id!r}) ends at {entity.end}, after the end of the "
                    f"text at {size}: {shorten(self.text)!r}"
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
                        f"pairs[{index}].{role} is {name!r}, not an argument of this post; its "
                        f"arguments are {sorted(seen)}"
                    )
        for index, (start, end) in enumerate(self.tokens or ()):
            if not 0 <= start <= end <= size:
                raise ValueError(
                    f"tokens[{index}] is [{start}, {end}), outside the text of {size} characters"
                )
        return self

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """All arguments: first the entities, then the objects."""
        return (*self.entities, *self.objects)

    def argument(self, name: str) -> Argument:
        """Return the argument with this id. Raises KeyError if there is none."""
        for argument in self.arguments:
            if argument.id == name:
                return argument
        raise KeyError(name)

    def surface(self, name: str) -> str:
        """Return the text of an entity; or the label, type or id of an object, the first it has."""
        return to_mention(self.argument(name), self.text).surface


def labelled_pairs(post: Post) -> list[Pair]:
    """Return the pairs of a post that have a label."""
    return [pair for pair in post.pairs or () if pair.relation is not None]


def check_pair_count(post: Post) -> None:
    """Raise InputError if the arguments of a post form more than 65,536 ordered pairs."""
    count = len(post.arguments) * (len(post.arguments) - 1)
    if count > MAX_PAIRS:
        raise InputError(
            f"{len(post.arguments)} arguments form {count} pairs, more than the limit {MAX_PAIRS}",
            where=f"post {post.id!r}",
            field="pairs",
            fix="list the pairs to predict",
        )


class EntityMention(Record):
    """A :class:`TextEntity` in a triple, with its text, so that it is readable without the post."""

    id: str
    text: str
    start: int
    end: int
    type: str | None = None

    @property
    def surface(self) -> str:
        """The text."""
        return self.text


class ObjectMention(Record):
    """A :class:`VisualObject` in a triple."""

    id: str
    box: Box
    type: str | None = None
    label: str | None = None

    @property
    def surface(self) -> str:
        """The label, type or id, the first that it has."""
        return self.label or self.type or self.id


Mention: TypeAlias = EntityMention | ObjectMention


def to_mention(argument: Argument, text: str) -> Mention:
    """Convert an argument of a post with this text to a mention for a triple."""
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


class WordWeight(Record):
    """Words of a post's text, with their share in the log-odds of a relation."""

    text: str
    start: int
    end: int
    weight: float


class Triple(Record):
    """The predicted relation of one ordered pair of arguments.

    Attributes:
        head, tail: Arguments, given or detected.
        relation: Name of the relation. If no relation holds: the schema's NOTA label, or None.
        score: Probability of ``relation``, in [0, 1].
        description: Best-matching description of the relation, or None.
        gate: Weight of the image in the encoding, in [0, 1]. None for a post without an image.
        ranking: Most probable relations, best first.
        reason: The words of the post that carried the decision, in the order of the text; see
            :mod:`rukh.explain`.
        time: Time of the post.
        model_id, schema_id: Name and content of the model and of the schema, as ``name@hash``.

    Of the last five, those that are None are not written.
    """

    post_id: str
    head: Mention
    tail: Mention
    relation: str | None
    score: float
    description: str | None = None
    gate: float | None = None
    ranking: tuple[RankedRelation, ...] | None = None
    reason: tuple[WordWeight, ...] | None = None
    time: Time | None = None
    model_id: str | None = None
    schema_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the row that ``rukh extract`` writes for this triple, with JSON's types only."""
        return self.model_dump(mode="json")

    @model_serializer(mode="wrap")
    def _omit_missing(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = write(self)
        for name in ("ranking", "reason", "time", "model_id", "schema_id"):
            if data.get(name, ()) is None:
                del data[name]
        return data


def free_ids(prefix: str, taken: Iterable[str] = ()) -> Iterator[str]:
    """Yield the ids ``prefix0``, ``prefix1``, ... that are not in ``taken``."""
    used = set(taken)
    return (name for name in (f"{prefix}{number}" for number in count()) if name not in used)


def as_input_error(error: ValidationError | InputError, where: str | None = None) -> InputError:
    """Convert pydantic's error to a one-line error with the first invalid field and its value."""
    if isinstance(error, InputError):
        return error
    first, problem = first_problem(error)
    return InputError(problem, where=where, field=field_path(first["loc"]))


def first_problem(error: ValidationError) -> tuple[ErrorDetails, str]:
    """Return the first of pydantic's errors, and a description of it for users.

    An unknown field comes first: it is often a misspelt one, which is then also missing.
    """
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda one: one["type"] != "extra_forbidden")
    value: Any = first["input"]
    if first["type"] == "extra_forbidden":
        problem = "no such field"
    elif first["type"] == "missing":
        problem = "a value is needed"
    else:
        kind, _, rest = first["type"].partition("_")
        problem = str(first["msg"]).removeprefix("Value error, ")
        if rest in ("type", "parsing", "from_float") and kind in EXPECTED:
            problem = f"must be {EXPECTED[kind]}"
        if first["type"] != "value_error" and isinstance(value, str | int | float | None):
            problem += f", not {format_value(value)}"
    if more := len({one["loc"] for one in errors}) - 1:
        problem += f" (and {more} more)"
    return first, problem


def path_in_data(error: ErrorDetails, data: object) -> tuple[int | str, ...]:
    """Return the path of one of pydantic's errors, without parts that the data does not have.

    These are names of union members, for example. A missing field is the last part.
    """
    path: list[int | str] = []
    value: Any = data
    for part in error["loc"]:
        is_key = isinstance(value, dict) and part in value
        is_item = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_key or is_item:
            value = value[part]
            path.append(part)
    return (*path, error["loc"][-1]) if error["type"] == "missing" else tuple(path)


def field_path(parts: Iterable[int | str]) -> str | None:
    """Format the path of a field in a record. Return None for an empty path.

    Example:
        >>> field_path(["entities", 0, "end"])
        'entities[0].end'
    """
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return path.removeprefix(".") or None
