"""Import of schemas from a catalogue of relations, such as FewRel's ``pid2name.json``.

The file is ``{"P17": ["country", "sovereign state of this item"], ...}``. It has an id, a name and
one description for each relation.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from rukh.errors import InputError
from rukh.schema.schema import RelationSchema
from rukh.utils.files import read_json

_NO_DESCRIPTION = "No description defined"  # Wikidata's text for a missing description
_ID = re.compile(r"\b[PQ]\d+\b")
_SQUARE_BRACKETS = re.compile(r"\s*\[[^\[\]]*\b[PQ]\d+\b[^\[\]]*\]")
_ROUND_BRACKETS = re.compile(r"\s*\([^()]*\b[PQ]\d+\b[^()]*\)")
_ADVICE = re.compile(r"\b(use|using|see|qualify|qualifier|avoid|preferably)\b", re.I)
_PREPOSITIONS = ("as", "at", "by", "for", "from", "in", "of", "on", "to", "with")


def import_schema(path: Path, name: str) -> RelationSchema:
    """Build a closed schema from the relations in a JSON file of ``id: [name, description]``.

    Each relation gets two descriptions: a sentence made from its name, and the cleaned description
    or, if that is empty, the name. If a name is ambiguous, its id is added: ``part of (P361)``.

    Raises:
        InputError: The file cannot be read, or an entry is malformed. The message names its id.
    """
    catalogue = read_json(path)
    if not isinstance(catalogue, dict) or not catalogue:
        raise InputError(
            "not a JSON object with relations",
            where=str(path),
            fix='write {"P17": ["country", "sovereign state of this item"], ...}',
        )
    entries = {key: _parse_entry(key, value, path) for key, value in catalogue.items()}
    counts = Counter(label for label, _ in entries.values())
    relations = []
    for key, (label, description) in entries.items():
        ambiguous = counts[label] > 1 or (label in entries and label != key)
        label_and_id = f"{label} ({key})" if ambiguous else label
        texts = [name_sentence(label), description or label]
        relations.append({"name": label_and_id, "id": key, "descriptions": texts})
    return RelationSchema.parse({"name": name, "relations": relations}, str(path))


def name_sentence(name: str) -> str:
    """Turn a relation's name into a sentence about its head and tail.

    Example:
        >>> name_sentence("country of origin")
        'The tail is the country of origin of the head.'
        >>> name_sentence("followed by"), name_sentence("has part")
        ('The head is followed by the tail.', 'The head has part the tail.')
    """
    if name.startswith("has "):
        return f"The head {name} the tail."
    if name.rpartition(" ")[2] in _PREPOSITIONS:
        return f"The head is {name} the tail."
    return f"The tail is the {name} of the head."


def clean_description(text: str) -> str | None:
    """Remove notes to editors from a description. Returns None if it is missing or empty.

    Notes are brackets that contain the id of an entry, and clauses that contain an id and advice
    such as "use" or "see". If a text is nothing but advice, it is kept without the ids.

    Example:
        >>> clean_description("water a river ends in (Q4). Use P974 for streams; no sea [see P9]")
        'water a river ends in. no sea'
        >>> clean_description("No description defined")
    """
    clauses = re.split(r"(?<=;)\s+|(?<=\.)\s+(?=[A-Z])", _SQUARE_BRACKETS.sub("", text))
    content = [one for one in clauses if not (_ID.search(one) and _ADVICE.search(one))]
    cleaned = _ID.sub("", _ROUND_BRACKETS.sub("", " ".join(content or clauses)))
    cleaned = " ".join(cleaned.split()).rstrip(" ;,:")
    return cleaned if re.search(r"\w", cleaned) and cleaned != _NO_DESCRIPTION else None


def _parse_entry(key: str, value: Any, path: Path) -> tuple[str, str | None]:
    """Return the name and the description of a relation."""
    where, field = str(path), key or '""'
    parts = [value] if isinstance(value, str) else value
    is_list = isinstance(parts, list) and len(parts) in (1, 2)
    if not is_list or not all(isinstance(part, str | None) for part in parts):
        raise InputError("the entry is not [name, description]", where=where, field=field)
    name = " ".join((parts[0] or "").split())
    if not key.strip() or not name:
        fix = "add it, or remove the relation"
        raise InputError("the relation lacks an id or a name", where=where, field=field, fix=fix)
    return name, clean_description(parts[1] or "") if len(parts) == 2 else None
