"""What a tagger is, and which one a name stands for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rukh import registry
from rukh.errors import RukhError
from rukh.records import Post, TextEntity
from rukh.registry import names, resolve


class Tagger(Protocol):
    """Finds entities in text, and types entities whose spans are given.

    A class that is registered as ``rukh.taggers`` makes one by ``from_pretrained(where)``, and may
    say by ``locate(where)`` in which folder its files lie; see :func:`load_tagger`.
    """

    def find(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Entities of each text, in order, none over another, with ids ``e0``, ``e1`` ..."""

    def type_posts(self, posts: Sequence[Post]) -> list[Post]:
        """The same posts; every text entity without a type has one."""


def load_tagger(source: str | Path) -> Tagger:
    """The tagger that a name stands for.

    Args:
        source: A tagger that is shipped with rukh, or a folder that ``rukh train`` wrote; or
            ``KIND:WHERE``, where the kind is ``spacy``, ``hf``, or registered by a third party.

    Raises:
        InputError: There is no such kind.
        WeightsError: There is no such tagger.
        MissingDependency: It needs a package that is not installed.

    Example:
        >>> type(load_tagger("tagger")).__name__
        'TokenTagger'
    """
    kind, where = _kind(source)
    tagger: Tagger = kind.from_pretrained(where)
    return tagger


def fingerprint(source: str | Path) -> dict[str, str]:
    """Hashes of a tagger's files, see :func:`rukh.registry.fingerprint`; empty for one of no known
    kind.
    """
    try:
        kind, where = _kind(source)
    except RukhError:
        return {}
    return registry.fingerprint(kind, where)


def _kind(source: str | Path) -> tuple[Any, str]:
    """The class that a tagger's name calls for, and what to load it from."""
    name, colon, where = str(source).partition(":")
    if not os.path.isdir(source) and (colon or name in names("taggers")):
        return resolve("taggers", name), where
    return resolve("taggers", "token"), str(source)
