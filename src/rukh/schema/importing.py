"""Schemas from a catalogue of relations, such as FewRel's ``pid2name.json``.

``{"P17": ["country", "sovereign state of this item"], ...}``: an id, a name, and one description.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rukh.data.documents import Walk
from rukh.data.lines import from_json
from rukh.errors import InputError
from rukh.schema.schema import RelationSchema

CATALOGUE_LIMIT = 16_000_000
"""The largest catalogue, in bytes; one of all 10,000 properties of Wikidata has about a million."""
UNTOLD = "No description defined"
"""What catalogues of Wikidata write where there is no description."""

_SQUARE = re.compile(r"\s*\[[^\[\]]*\b[PQ]\d+\b[^\[\]]*\]")
_ROUND = re.compile(r"\s*\([^()]*\b[PQ]\d+\b[^()]*\)")
_ID = re.compile(r"\b[PQ]\d+\b")
_TO_EDITORS = re.compile(r"\b(use|using|see|qualify|qualifier|avoid|preferably)\b", re.I)
_LINKS = ("as", "at", "by", "for", "from", "in", "of", "on", "to", "with")


class Entry(NamedTuple):
    """One relation of a catalogue; ``description`` is None where nothing is said of it."""

    id: str
    name: str
    description: str | None


def import_schema(path: Path, name: str) -> RelationSchema:
    """A closed schema of every relation of a catalogue, in its order.

    A relation has two descriptions: a sentence made of its name, and what the catalogue says of it,
    less notes to editors (see :func:`described`), or its bare name where that is nothing. Where
    several relations have one name, each is told apart by its id, ``part of (P361)``.

    Args:
        path: A JSON object of ``id: [name, description]`` or ``id: name``.
        name: The schema's name.

    Raises:
        InputError: The file is unreadable, or an entry is of another form; with its line and id.
    """
    entries = list(_entries(path))
    if not entries:
        raise InputError("no relation", where=str(path), fix='{"P17": ["country", "..."], ...}')
    ids = {entry.id for entry in entries}
    counts = Counter(entry.name for entry in entries)
    relations: list[dict[str, Any]] = []
    for entry in entries:
        twice = counts[entry.name] > 1 or entry.name in ids - {entry.id}
        relations.append(
            {
                "name": f"{entry.name} ({entry.id})" if twice else entry.name,
                "id": entry.id,
                "descriptions": [sentence(entry.name), entry.description or entry.name],
            }
        )
    return RelationSchema.parse({"name": name, "relations": relations}, str(path))


def sentence(name: str) -> str:
    """A relation's name as a sentence about head and tail, in the manner of shipped descriptions.

    Example:
        >>> sentence("country of origin")
        'The tail is the country of origin of the head.'
        >>> sentence("followed by"), sentence("has part")
        ('The head is followed by the tail.', 'The head has part the tail.')
    """
    if name.startswith("has "):
        return f"The head {name} the tail."
    if name.rpartition(" ")[2] in _LINKS:
        return f"The head is {name} the tail."
    return f"The tail is the {name} of the head."


def described(text: str) -> str | None:
    """What a catalogue's description says of the relation itself; None where that is nothing.

    Brackets that name other entries by their ids, and sentences that do so to say what is to be
    used or seen, are notes to editors, and left out unless nothing else is said.

    Example:
        >>> described("water that a river ends in (Q4). Use P974 for streams; not a sea [see P9]")
        'water that a river ends in. not a sea'
        >>> described("No description defined")
    """
    text = _SQUARE.sub("", text)
    parts = re.split(r"(?<=;)\s+|(?<=\.)\s+(?=[A-Z])", text)
    said = [p for p in parts if not (_ID.search(p) and _TO_EDITORS.search(p))]
    kept = _ID.sub("", _ROUND.sub("", " ".join(said or parts)))
    kept = " ".join(kept.split()).rstrip(" ;,:")
    return kept if re.search(r"\w", kept) and kept != UNTOLD else None


def _entries(path: Path) -> Iterator[Entry]:
    walk = Walk(_text(path))
    try:
        for key in walk.members():
            walk.peek()
            yield _entry(key, from_json(walk.value()))
    except InputError as error:
        raise error.at(f"{path}:{walk.line}") from None
    if walk.peek():
        raise InputError("not JSON: more after the end", where=f"{path}:{walk.line}")


def _entry(key: str, given: Any) -> Entry:
    parts = [given] if isinstance(given, str) else given
    if (
        not isinstance(parts, list)
        or len(parts) not in (1, 2)
        or not all(isinstance(part, str | None) for part in parts)
    ):
        raise InputError("not [name, description]", field=key or '""')
    name = " ".join((parts[0] or "").split())
    if not key.strip() or not name:
        raise InputError(
            "a relation without id or name", field=key or '""', fix="give it one, or leave it out"
        )
    return Entry(key, name, described(parts[1] or "") if len(parts) == 2 else None)


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            data = stream.read(CATALOGUE_LIMIT + 1)
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=str(path)) from None
    if len(data) > CATALOGUE_LIMIT:
        raise InputError(f"larger than {CATALOGUE_LIMIT:,} bytes", where=str(path))
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", where=str(path), fix="save it as UTF-8") from None
