"""A relation's descriptions: strings that know who wrote them and whether a person has read them.

ROC has a language model write the descriptions and people verify them; a draft is what nobody has
verified yet.
"""

from __future__ import annotations

import re
from datetime import date as Date
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import PlainSerializer, PlainValidator, TypeAdapter

from rukh.records import Name, Record, Text

Status: TypeAlias = Literal["draft", "verified"]


class Description(str):
    """A description's text, which knows where it comes from and whether a person has read it.

    It is a string to whatever reads descriptions, and equals every string of the same text.

    Attributes:
        status: ``draft`` or ``verified``; None where nothing is said, as for a plain string.
        author: The model or person whose words they are, or None.
        date: When the text or its status was last changed, or None.

    Example:
        >>> text = Description("The head leads the tail.", status="draft", author="some-model")
        >>> text.status, text == "The head leads the tail.", text
        ('draft', True, 'The head leads the tail.')
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
        """A string with three attributes."""
        made = super().__new__(cls, text)
        made.status, made.author, made.date = status, author, date
        return made


class _Written(Record):
    """How a description with a status is written."""

    text: Text
    status: Status | None = None
    author: Name | None = None
    date: Date | None = None


_TEXT: TypeAdapter[str] = TypeAdapter(Text)


def _read(value: Any) -> Description:
    if isinstance(value, Description):
        return value
    if isinstance(value, dict):
        parts = _Written.model_validate(value)
        return Description(parts.text, status=parts.status, author=parts.author, date=parts.date)
    return Description(_TEXT.validate_python(value))


def written(text: str) -> str | dict[str, Any]:
    """A description as it is written: its text, or a mapping where there is more to say.

    Example:
        >>> written(Description("Near.", status="verified", date=Date(2026, 1, 2)))
        {'text': 'Near.', 'status': 'verified', 'date': '2026-01-02'}
    """
    told = {"status": getattr(text, "status", None), "author": getattr(text, "author", None)}
    date = getattr(text, "date", None)
    told["date"] = None if date is None else date.isoformat()
    more = {key: value for key, value in told.items() if value is not None}
    return {"text": str(text), **more} if more else str(text)


def bare(text: str) -> str:
    """A text by its words alone, to tell which texts are the same.

    Example:
        >>> bare("The head,  a person...") == bare("the head a person")
        True
    """
    return " ".join(re.findall(r"\w+", text.casefold()))


Described: TypeAlias = Annotated[Description, PlainValidator(_read), PlainSerializer(written)]
"""A field of a record that holds a description; a plain string stays one when it is written."""
