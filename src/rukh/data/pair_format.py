"""Formats with one pair per line, such as MNRE, MORE and OpenNRE: ``token, h, t, relation``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from rukh.data.lines import LineFormat
from rukh.data.tokens import Tokens
from rukh.errors import InputError
from rukh.records import Argument, Pair, Post, TextEntity, VisualObject
from rukh.utils.parsing import expect

UNKNOWN_TYPE = "UNK"
"""The entity type in OpenNRE files for entities whose type is unknown."""


class PairFormat(LineFormat):
    """Base of the formats with one pair per line.

    A post gets the id ``{file stem}:{line}``, and its arguments the ids ``h`` and ``t``. So that a
    record can be written as it was read, the post's ``meta`` keeps unknown keys, and values that
    cannot be derived from the post, such as an entity's name that differs from its text. Captions,
    post ids and the ``meta`` of pairs are not written.
    """

    writes_text: ClassVar[bool] = False
    """Whether to write ``text`` and character positions for a post without tokens."""

    @abstractmethod
    def loads(self, line: str) -> Any:
        """Parse the record of a line. Raises InputError if it is invalid."""

    @abstractmethod
    def dumps(self, record: dict[str, Any]) -> str:
        """Format a record as a line."""

    def parse(self, line: str, number: int) -> Post:
        """See :meth:`rukh.data.lines.LineFormat.parse`."""
        record = self.loads(line)
        expect(record, dict, "a record with token, h, t and relation")
        relation, name = record.get("relation"), record.get("img_id")
        by_character = record.get("token") is None and isinstance(record.get("text"), str)
        if by_character:
            tokens = Tokens.characters(record["text"])
        else:
            tokens = Tokens.parse(record.get("token"), "token")
        arguments = [self.argument(record, role, tokens) for role in ("h", "t")]
        image = None if name is None else self.source.image(name, "img_id")
        used = {"text" if by_character else "token", "h", "t"}
        if relation is not None:
            used.add("relation")
        if image is not None and image.name == name:
            used.add("img_id")
        return Post(
            id=f"{self.source.stem}:{number}",
            text=tokens.text,
            image=image,
            caption=self.source.caption(name) if name else None,
            entities=tuple(a for a in arguments if isinstance(a, TextEntity)),
            objects=tuple(a for a in arguments if isinstance(a, VisualObject)),
            pairs=(Pair(head="h", tail="t", relation=relation),),
            tokens=None if by_character else tokens.offsets,
            meta={key: value for key, value in record.items() if key not in used},
        )

    def argument(self, record: dict[str, Any], role: str, tokens: Tokens) -> Argument:
        """Parse the argument with the role ``h`` or ``t``. Raises InputError if it is invalid."""
        fields, type, meta = argument_fields(record, role)
        start, end = tokens.to_characters(fields.get("pos"), f"{role}.pos")
        if (name := fields.get("name")) != tokens.text[start:end]:
            meta = {"name": name} | meta
        return TextEntity(id=role, start=start, end=end, type=type, meta=meta)

    def dump(self, post: Post) -> Iterator[str]:
        """Yield one line per pair. Raises InputError if the format cannot represent the post."""
        if not post.pairs:
            raise InputError("no pairs, but this format has one pair per line", field="pairs")
        if isinstance(post.image, bytes):
            raise InputError("bytes, but this format names images by file", field="image")
        by_character = self.writes_text and post.tokens is None
        tokens = Tokens.characters(post.text) if by_character else Tokens.of_post(post)
        for pair in post.pairs:
            record: dict[str, Any] = (
                {"text": post.text} if by_character else {"token": tokens.words}
            )
            record["h"] = self.dump_argument(post.argument(pair.head), post, tokens)
            record["t"] = self.dump_argument(post.argument(pair.tail), post, tokens)
            if post.image is not None:
                record["img_id"] = post.meta.get("img_id", post.image.name)
            if pair.relation is not None:
                record["relation"] = pair.relation
            yield self.dumps(record | {k: v for k, v in post.meta.items() if k not in record})

    def dump_argument(self, argument: Argument, post: Post, tokens: Tokens) -> dict[str, Any]:
        """Convert an argument to ``h`` or ``t``. Raises InputError if the format cannot hold it."""
        span = list(tokens.to_tokens(argument))
        fields = {"name": post.surface(argument.id)} | argument.meta | {"pos": span}
        if argument.type is not None:
            fields["type"] = argument.type
        return {key: value for key, value in fields.items() if (key, value) != ("name", None)}


def argument_fields(
    record: dict[str, Any], role: str
) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
    """Return the ``h`` or ``t`` of a record, its type, and its ``meta``. Raises InputError."""
    fields = expect(record.get(role), dict, "a dict with name and pos", role)
    expect(fields.get("name", ""), str, "a string", f"{role}.name")
    type = expect(fields.get("type"), str | None, "a string", f"{role}.type")
    used = {"name", "pos", "type"}
    if type in (None, "", UNKNOWN_TYPE):
        type, used = None, {"name", "pos"}
    return fields, type, {key: value for key, value in fields.items() if key not in used}
