"""Where names become implementations: one registry for each kind of part.

Built-in parts are listed as ``module:attribute`` and imported only when asked for. Third parties
add their own by entry points of the group ``rukh.<kind>`` (``rukh.data.readers``, ``rukh.taggers`` ...).
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from rukh.errors import InputError, RukhError, suggestion
from rukh.utils.files import sha256

BUILTIN: dict[str, dict[str, str]] = {
    "readers": {
        "conll04": "rukh.data.conll04:Conll04Format",
        "fewrel": "rukh.data.fewrel:FewRelFormat",
        "jsonl": "rukh.data.jsonl:JsonlFormat",
        "mnre": "rukh.data.mnre:MnreFormat",
        "more": "rukh.data.more:MoreFormat",
        "opennre": "rukh.data.opennre:OpenNreFormat",
        "redocred": "rukh.data.redocred:RedocredFormat",
    },
    "detectors": {
        "hf": "rukh.arguments.hf_detector:HfDetector",
    },
    "scorers": {
        "classification": "rukh.modeling.scorers:ClassificationScorer",
        "retrieval": "rukh.modeling.scorers:RetrievalScorer",
    },
    "taggers": {
        "hf": "rukh.arguments.hf_tagger:HfTagger",
        "spacy": "rukh.arguments.spacy_tagger:SpacyTagger",
        "token": "rukh.arguments.token_tagger:TokenTagger",
    },
}


def names(kind: str) -> list[str]:
    """All names known for a kind, third parties' included, sorted."""
    return sorted({*BUILTIN.get(kind, {}), *(e.name for e in entry_points(group=f"rukh.{kind}"))})


def resolve(kind: str, name: str) -> Any:
    """The object registered under a name.

    Raises:
        InputError: Unknown name; suggests the nearest one.

    Example:
        >>> resolve("readers", "mnre").__name__
        'MnreFormat'
    """
    target = BUILTIN.get(kind, {}).get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)
    for entry in entry_points(group=f"rukh.{kind}"):
        if entry.name == name:
            return entry.load()
    raise InputError(f"no {kind.rstrip('s')} named {name!r}", fix=suggestion(name, names(kind)))


def fingerprint(part: Any, where: str) -> dict[str, str]:
    """SHA-256 of the files that a class loads from a place, by their names: another one of the same
    name has others.

    Empty where they cannot be told: of a class without ``locate``, and of what is not there, which
    whoever loads it will say.
    """
    if not hasattr(part, "locate"):
        return {}
    try:
        folder: Path = part.locate(where)
    except RukhError:
        return {}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
