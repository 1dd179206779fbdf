"""Instances that the tests of the audit share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rukh.audit.dataset import Instance
from rukh.audit.inputs import ABSENT, AuditInput
from rukh.records import Post

ENTITIES: tuple[dict[str, Any], ...] = (
    {"id": "x", "start": 0, "end": 3},
    {"id": "y", "start": 4, "end": 7},
)


def instance(
    number: int,
    image: str | None = None,
    text: str | None = None,
    label: str = "None",
    *,
    reverse: bool = False,
    **post: Any,
) -> Instance:
    """A pair of the first two arguments, by default two words of three letters each."""
    fields = {"text": text or f"Ann Bob {number}", "entities": ENTITIES} | post
    made = Post(id=str(number), image=Path(image) if image else None, **fields)
    head, tail = made.arguments[1::-1] if reverse else made.arguments[:2]
    return Instance(number, made, head, tail, label)


def values_of(audit_input: AuditInput) -> list[Any]:
    """Each pair's value, None where there is none."""
    values = [audit_input.values[unit] for unit in audit_input.unit]
    return [None if value is ABSENT else value for value in values]
