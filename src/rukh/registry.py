"""Registries that map names to implementations, one for each kind of component.

Built-in implementations are listed as ``module:attribute`` and imported on demand. Other packages
can add implementations with entry points of the group ``rukh.<kind>``, such as ``rukh.readers``.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from rukh.errors import InputError, RukhError, suggestion
from rukh.utils.files import sha256

BUILTIN: dict[str, dict[str, str]] = {
    "readers": {
        "conll04": "rukh.data.conll04:Conll04Format",
        "csv": "rukh.data.tables:CsvFormat",
        "fewrel": "rukh.data.fewrel:FewRelFormat",
        "jsonl": "rukh.data.jsonl:JsonlFormat",
        "mnre": "rukh.data.mnre:MnreFormat",
        "more": "rukh.data.more:MoreFormat",
        "opennre": "rukh.data.opennre:OpenNreFormat",
        "parquet": "rukh.data.tables:ParquetFormat",
        "redocred": "rukh.data.redocred:RedocredFormat",
    },
    "detectors": {"hf": "rukh.arguments.huggingface:HfDetector"},
    "scorers": {
        "classification": "rukh.modeling.scorers:ClassificationScorer",
        "retrieval": "rukh.modeling.scorers:RetrievalScorer",
    },
    "taggers": {
        "gliner": "rukh.arguments.gliner_tagger:GlinerTagger",
        "hf": "rukh.arguments.huggingface:HfTagger",
        "spacy": "rukh.arguments.spacy_tagger:SpacyTagger",
        "token": "rukh.arguments.token_tagger:TokenTagger",
    },
}

DEFAULT = {"taggers": "token"}
"""The implementation of each kind for sources without a name."""


def names(kind: str) -> list[str]:
    """Return all registered names of a kind, sorted, including those of other packages."""
    return sorted({*BUILTIN.get(kind, {}), *(e.name for e in entry_points(group=f"rukh.{kind}"))})


def resolve(kind: str, name: str) -> Any:
    """Return the implementation with this name. Raises InputError if the name is unknown.

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


def resolve_source(kind: str, source: str | Path) -> tuple[Any, str]:
    """Split ``NAME:SOURCE`` into the implementation with that name and the source to load.

    A tagger may also be a shipped name or a folder. Raises InputError if the name is unknown.

    Example:
        >>> implementation, source = resolve_source("taggers", "hf:some-model")
        >>> implementation.__name__, source
        ('HfTagger', 'some-model')
    """
    name, colon, rest = str(source).partition(":")
    if kind in DEFAULT and (os.path.isdir(source) or not (colon or name in names(kind))):
        return resolve(kind, DEFAULT[kind]), str(source)
    return resolve(kind, name), rest


def fingerprint(kind: str, source: str | Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a model, by name; empty if the model cannot be located."""
    try:
        implementation, name = resolve_source(kind, source)
        folder: Path = implementation.locate(name)
    except (RukhError, AttributeError):
        return {}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
