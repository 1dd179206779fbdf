"""Descriptions of relations: strings with a review status, an author and a date.

In ROC, a language model writes the descriptions and people verify them. The status ``draft`` marks
a description that nobody has verified yet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date as Date
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import PlainSerializer, PlainValidator, TypeAdapter

from rukh.records import Name, Record, Text

Status: TypeAlias = Literal["draft", "verified"]


def is_split(descriptions: Sequence[str]) -> bool:
    """Whether descriptions look like one sentence, split at its commas by YAML's ``[a, b]``.

    Example:
        >>> is_split(["The tail", "a person", "belongs to the head."])
        True
        >>> is_split(["The tail, a person, belongs to the head.", "a member of the head"])
        False
    """
    if len(descriptions) < 2:
        return False
    *others, last = (text.endswith((".", "!", "?")) for text in descriptions)
    return last and not any(others) and all(text[:1].islower() for text in descriptions[1:])


class Description(str):
    """A description with its status, author (a model or a person) and date of the last change.

    Unknown attributes are None. A description is equal to its text.

    Example:
        >>> text = Description("The head leads the tail.", status="draft", author="some-model")
        >>> text.status, text == "The head leads the tail."
        ('draft', True)
    """

    status: Status | None
    author: str | None
    date: Date | None

    def __new__(
        cls,
        text: str,
        *,
        status: Status | None = None,
        author: str | None = None,
        date: Date | None = None,
    ) -> Description:
        """Create the string with its attributes."""
        description = super().__new__(cls, text)
        description.status, description.author, description.date = status, author, date
        return description


class _Fields(Record):
    """A relation's description that a schema file gives as a mapping, not as a string."""

    text: Text
    status: Status | None = None
    author: Name | None = None
    date: Date | None = None


_TEXT: TypeAdapter[str] = TypeAdapter(Text)


def _validate(value: Any) -> Description:
    if isinstance(value, Description):
        return value
    if isinstance(value, dict):
        parts = _Fields.model_validate(value)
        return Description(parts.text, status=parts.status, author=parts.author, date=parts.date)
    return Description(_TEXT.validate_python(value))


def to_plain(text: str) -> str | dict[str, Any]:
    """Convert a description to its text, or to a mapping if it has a status, author or date.

    Example:
        >>> to_plain(Description("Near.", status="verified", date=Date(2026, 1, 2)))
        {'text': 'Near.', 'status': 'verified', 'date': '2026-01-02'}
    """
    fields = {key: getattr(text, key, None) for key in ("status", "author", "date")}
    present = {key: str(value) for key, value in fields.items() if value is not None}
    return {"text": str(text), **present} if present else str(text)


def normalize_text(text: str) -> str:
    """Reduce a text to its lower-case words without punctuation, to find duplicates.

    Example:
        >>> normalize_text("The head,  a person...")
        'the head a person'
    """
    return " ".join(re.findall(r"\w+", text.casefold()))


DescriptionField: TypeAlias = Annotated[
    Description, PlainValidator(_validate), PlainSerializer(to_plain)
]
"""Type of a record's field that contains a description."""
