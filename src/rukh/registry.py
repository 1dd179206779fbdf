"""Where names become implementations: one registry for each kind of part.

Built-in parts are listed as ``module:attribute`` and imported only when asked for. Third parties
add their own by entry points of the group ``rukh.<kind>`` (``rukh.readers``, ``rukh.taggers`` ...).
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from rukh.errors import InputError, suggestion

BUILTIN: dict[str, dict[str, str]] = {
    "readers": {
        "conll04": "rukh.readers.conll04:Conll04Format",
        "fewrel": "rukh.readers.fewrel:FewRelFormat",
        "jsonl": "rukh.readers.jsonl:JsonlFormat",
        "mnre": "rukh.readers.mnre:MnreFormat",
        "more": "rukh.readers.more:MoreFormat",
        "opennre": "rukh.readers.opennre:OpenNreFormat",
        "redocred": "rukh.readers.redocred:RedocredFormat",
    },
    "heads": {
        "classifier": "rukh.relation:ClassifierHead",
        "retrieval": "rukh.relation:RetrievalHead",
    },
    "taggers": {
        "hf": "rukh.hf_tagger:HfTagger",
        "spacy": "rukh.spacy_tagger:SpacyTagger",
        "token": "rukh.tagging:TokenTagger",
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
