"""Formats of one pair a line, as MNRE, MORE and OpenNRE have it: ``token, h, t, relation``."""

from __future__ import annotations

import reprlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from rukh.data import tokens
from rukh.data.lines import LineFormat
from rukh.errors import InputError
from rukh.records import Argument, Pair, Post, TextEntity, VisualObject, as_input_error

A = TypeVar("A", TextEntity, VisualObject)

UNKNOWN_TYPE = "UNK"
"""How OpenNRE files write that a tagger gave an entity no type."""


class Line(NamedTuple):
    """What an argument is read from: the whole record, its text, and its tokens' offsets."""

    record: dict[str, Any]
    text: str
    offsets: tokens.Offsets | None


class PairFormat(LineFormat):
    """Base of the formats of one pair a line; they differ in how a line is written.

    A post gets the id ``{file stem}:{line}``, its arguments are ``h`` and ``t``. Keys that mean
    nothing here, and values that cannot be derived from the post (an entity's name where it
    is not its words), are kept in ``meta`` and come back when the post is written. What these
    formats have no place for is not written: captions, post ids, and the ``meta`` of pairs.
    """

    @abstractmethod
    def loads(self, line: str) -> Any:
        """The record that a line holds. Raises InputError."""

    @abstractmethod
    def dumps(self, record: dict[str, Any]) -> str:
        """The line of a record."""

    def parse(self, line: str, number: int) -> Post:
        """See :meth:`rukh.data.lines.LineFormat.parse`."""
        record = self.loads(line)
        if not isinstance(record, dict):
            raise InputError("not a record with the keys token, h, t, relation")
        text, offsets = _text(record)
        arguments = [self.argument(Line(record, text, offsets), role) for role in ("h", "t")]
        relation, name = record.get("relation"), record.get("img_id")
        known = {"token" if offsets is not None else "text", "h", "t"}
        image = None
        if name is not None:
            image = self.source.image(name, "img_id")
            known |= {"img_id"} if image.name == name else set()
        known |= {"relation"} if relation is not None else set()
        return Post(
            id=f"{self.source.path.stem}:{number}",
            text=text,
            image=image,
            caption=self.source.caption(name) if name else None,
            entities=tuple(a for a in arguments if isinstance(a, TextEntity)),
            objects=tuple(a for a in arguments if isinstance(a, VisualObject)),
            pairs=(Pair(head="h", tail="t", relation=relation),),
            tokens=None if offsets is None else tuple(offsets),
            meta={key: value for key, value in record.items() if key not in known},
        )

    def argument(self, line: Line, role: str) -> Argument:
        """The argument in one role, ``h`` or ``t``. Raises InputError that names its field."""
        given = side(line.record, role)
        first, last = _position(given.get("pos"), f"{role}.pos")
        size = len(line.text if line.offsets is None else line.offsets)
        if not 0 <= first < last <= size:
            unit = "characters" if line.offsets is None else "tokens"
            raise InputError(
                f"[{first}, {last}) is no span of {size} {unit}",
                field=f"{role}.pos",
                fix="the end is exclusive, the start comes before it",
            )
        start, end = first, last
        if line.offsets is not None:
            start, end = tokens.to_characters(line.offsets, first, last)
        surface = line.text[start:end]
        if not surface.strip():
            raise InputError(f"[{first}, {last}) covers only white space", field=f"{role}.pos")
        meta = {} if given.get("name") == surface else {"name": given.get("name")}
        return build(TextEntity, role, given, {"start": start, "end": end}, meta)

    def dump(self, post: Post) -> Iterator[str]:
        """One line a pair. A post without tokens is cut at white space and at its entities' edges.

        Raises:
            InputError: The post asks for no pair, or its picture is not a file.
        """
        if not post.pairs:
            raise InputError(
                "it asks for no pair, and the format is one pair a line", field="pairs"
            )
        if isinstance(post.image, bytes):
            raise InputError("the format names pictures by file, and this is bytes", field="image")
        offsets = self.tokenise(post)
        meta = dict(post.meta)
        for pair in post.pairs:
            record: dict[str, Any] = (
                {"text": post.text}
                if offsets is None
                else {"token": tokens.split(post.text, offsets)}
            )
            record["h"] = self.dump_argument(post.argument(pair.head), post, offsets)
            record["t"] = self.dump_argument(post.argument(pair.tail), post, offsets)
            if post.image is not None:
                record["img_id"] = meta.get("img_id", post.image.name)
            if pair.relation is not None:
                record["relation"] = pair.relation
            yield self.dumps(record | {k: v for k, v in meta.items() if k not in record})

    def tokenise(self, post: Post) -> tokens.Offsets | None:
        """The tokens to write; None where the format can hold the bare text."""
        edges = [edge for entity in post.entities for edge in (entity.start, entity.end)]
        return tokens.words(post.text, edges, post.tokens)

    def dump_argument(
        self, argument: Argument, post: Post, offsets: tokens.Offsets | None
    ) -> dict[str, Any]:
        """The ``h`` or ``t`` of a record. Raises InputError for what the format cannot hold."""
        if not isinstance(argument, TextEntity):
            raise InputError(
                f"{argument.id!r} is a visual object, which the format cannot hold",
                field="objects",
                fix="write more or jsonl",
            )
        position = [argument.start, argument.end]
        words = post.text[argument.start : argument.end]
        if offsets is not None:
            first, last = tokens.to_tokens(offsets, argument.start, argument.end)
            if first == last:
                raise InputError(f"no token stands for {argument.id!r}", field="tokens")
            position = [first, last]
        name = argument.meta.get("name", words)
        typed = {"type": argument.type} if argument.type is not None else {}
        return (
            ({} if name is None else {"name": name})
            | {k: v for k, v in argument.meta.items() if k not in {"name", "pos", "type"}}
            | {"pos": position}
            | ({"type": argument.meta["type"]} if "type" in argument.meta else {})
            | typed
        )


def side(record: dict[str, Any], role: str) -> dict[str, Any]:
    """The ``h`` or ``t`` of a record, as it is written there. Raises InputError."""
    given = record.get(role)
    if not isinstance(given, dict):
        raise InputError("missing, or not a dict with name and pos", field=role)
    if not isinstance(given.get("name", ""), str):
        raise InputError(f"{reprlib.repr(given['name'])} is not a name", field=f"{role}.name")
    return given


def build(
    kind: type[A], role: str, given: dict[str, Any], fields: dict[str, Any], meta: dict[str, Any]
) -> A:
    """An argument with its type, and with whatever else was given kept in ``meta``.

    Raises:
        InputError: Names the field as the record spells it, such as ``h.type``.
    """
    known = given.get("type")
    if known in (None, "", UNKNOWN_TYPE):
        meta |= {"type": known} if "type" in given else {}
        known = None
    meta |= {k: v for k, v in given.items() if k not in {"name", "pos", "type"}}
    try:
        return kind(id=role, type=known, meta=meta, **fields)
    except ValidationError as error:
        found = as_input_error(error)
        raise InputError(found.problem, field=".".join(filter(None, (role, found.field)))) from None


def _text(record: dict[str, Any]) -> tuple[str, list[tuple[int, int]] | None]:
    token, text = record.get("token"), record.get("text")
    if token is None and isinstance(text, str):
        return text, None
    return tokens.join_given(token, "token")


def _position(value: Any, field: str) -> tuple[int, int]:
    if (
        not isinstance(value, list | tuple)
        or len(value) != 2
        or any(type(edge) is not int for edge in value)
    ):
        raise InputError(f"{reprlib.repr(value)} is not [start, end) in whole numbers", field=field)
    return value[0], value[1]
