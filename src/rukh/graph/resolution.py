"""Entity resolution: which names are one entity. Conservative, and every merge has its reason.

The result depends on the names, the posts that they stand in, and a person's rules, but not on the
order in which they came.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from rukh.errors import InputError
from rukh.graph.names import (
    MIN_SPELLING,
    Name,
    Rule,
    compatible,
    is_acronym,
    is_short_name,
    misspelt,
    same_person_by_initials,
    spelling_keys,
)
from rukh.records import Record, as_input_error
from rukh.utils.files import file_errors, parse_yaml

logger = logging.getLogger(__name__)

MAX_BLOCK = 200
"""Maximum number of names that are compared with each other because of one spelling key."""


class NamePattern(Record):
    """Names in :class:`MergeRules`: those with the same words and, if it is given, this type."""

    name: str
    type: str | None = None

    def matches(self, name: Name) -> bool:
        """Whether the pattern stands for a name."""
        own = Name(self.name, name.type if self.type is None else self.type)
        return own.kind == name.kind and own.words == name.words


class MergeRules(Record):
    """What a person decides about names, before any rule of rukh.

    Attributes:
        same: Pairs of names that are one entity, as far as their types are compatible.
        different: Pairs of names that are two entities.
    """

    same: tuple[tuple[NamePattern, NamePattern], ...] = ()
    different: tuple[tuple[NamePattern, NamePattern], ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> MergeRules:
        """Read the rules of a YAML file: ``same`` and ``different``, each a list of pairs.

        A name is a text, or a mapping of ``name`` and ``type``.

        Raises:
            InputError: The file cannot be read or is not of this form.
        """
        with file_errors(path):
            text = Path(path).read_text(encoding="utf-8")
        data = parse_yaml(text, str(path)) or {}
        if isinstance(data, dict):
            data = {key: _named(pairs) for key, pairs in data.items()}
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            fix = "write `same` and `different` as lists of pairs, such as [Ann Lee, A. Lee]"
            wrong = as_input_error(error, str(path))
            raise InputError(wrong.problem, where=str(path), field=wrong.field, fix=fix) from None

    def forbids(self, one: Name, two: Name) -> bool:
        """Whether a person says that these names are two entities."""
        return any(
            (a.matches(one) and b.matches(two)) or (a.matches(two) and b.matches(one))
            for a, b in self.different
        )


NO_RULES = MergeRules()


def _named(pairs: object) -> object:
    if not isinstance(pairs, list):
        return pairs
    return [
        [{"name": one} if isinstance(one, str) else one for one in pair]
        if isinstance(pair, list)
        else pair
        for pair in pairs
    ]


class Link(NamedTuple):
    """Two names, by their places in a list, and why they are one entity."""

    one: int
    two: int
    rule: Rule | str


@dataclass
class Resolution:
    """The entities that names mean.

    Attributes:
        entity: For each name, the place of the first name of its entity.
        links: The merges, from which every entity with several names can be explained.
        ambiguous: Names that could mean several entities, with the places of these, and the rule.
    """

    entity: list[int]
    links: list[Link] = field(default_factory=list)
    ambiguous: list[tuple[int, tuple[int, ...], Rule]] = field(default_factory=list)


def full_names(names: Sequence[Name], rules: MergeRules = NO_RULES) -> dict[int, tuple[int, Rule]]:
    """Find the names of one post that are short for another name of it, if there is just one.

    Returns:
        For the places of such names, the place of the full name, and the rule: ``short name`` for
        the first or last name of a person, or ``acronym``.

    Example:
        >>> full_names([Name("Lee", "PER"), Name("Ann Lee", "PER"), Name("Rome", "LOC")])
        {0: (1, 'short name')}
    """
    found: dict[int, tuple[int, Rule]] = {}
    people: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        if name.kind == "PER" and len(name.words) > 1:
            for word in {name.words[0], name.words[-1]}:
                people[word].append(place)
    for place, name in enumerate(names):
        rule: Rule = "short name"
        fits: list[int] = []
        if name.kind == "PER":
            fits = [k for k in people.get(name.words[-1], ()) if is_short_name(name, names[k])]
        elif name.acronym is not None:
            rule = "acronym"
            fits = [k for k, other in enumerate(names) if k != place and is_acronym(name, other)]
        # One person with two spellings of the name, such as Ann Lee and Dr. Ann Lee, is one.
        if len({names[k].words for k in fits}) == 1 and not rules.forbids(name, names[fits[0]]):
            found[place] = (min(fits, key=lambda k: names[k].text), rule)
    return found


def resolve(
    names: Sequence[Name],
    *,
    acronyms: Iterable[tuple[int, int]] = (),
    aliases: Iterable[tuple[int, int]] = (),
    rules: MergeRules = NO_RULES,
    min_spelling: float = MIN_SPELLING,
) -> Resolution:
    """Find the names that mean the same entity. Names of incompatible types never do.

    Args:
        names: Distinct names.
        acronyms: Acronyms and full names, by their places, that stand in one post.
        aliases: Names that a relation of the schema calls the same, by their places.
        rules: A person's decisions.
        min_spelling: See :func:`rukh.graph.names.misspelt`.

    Example:
        >>> names = [Name(text, "PER") for text in ("Ann Lee", "Dr. Ann Lee", "A. Lee", "Bo Lee")]
        >>> resolve(names).entity
        [0, 0, 0, 3]
    """
    return _Resolver(names, rules, min_spelling).run(acronyms, aliases)


class _Resolver:
    """Merges names step by step, from the safest rule on."""

    def __init__(self, names: Sequence[Name], rules: MergeRules, min_spelling: float) -> None:
        self.names, self.rules, self.min_spelling = names, rules, min_spelling
        # Places in an order that does not depend on how the names came.
        self.order = sorted(range(len(names)), key=lambda k: (names[k].text, names[k].type or ""))
        self.parent = list(range(len(names)))
        self.members: dict[int, list[int]] = {k: [k] for k in range(len(names))}
        apart = [pattern for pair in rules.different for pattern in pair]
        self.restricted = {
            k for k, name in enumerate(names) if any(one.matches(name) for one in apart)
        }
        self.result = Resolution(entity=[])

    def run(
        self, acronyms: Iterable[tuple[int, int]], aliases: Iterable[tuple[int, int]]
    ) -> Resolution:
        """Apply all rules."""
        self._forced()
        self._same_words()
        self._handles()
        self._initials()
        self._expansions(acronyms)
        for one, two in sorted(aliases, key=lambda pair: [self.names[k].text for k in pair]):
            self.merge(one, two, "alias")
        self._spellings()
        self.result.entity = [0] * len(self.names)
        for group in self.members.values():
            for k in group:
                self.result.entity[k] = min(group)
        return self.result

    def find(self, place: int) -> int:
        """Return the place that stands for the entity of a name."""
        while self.parent[place] != place:
            self.parent[place] = self.parent[self.parent[place]]
            place = self.parent[place]
        return place

    def allowed(self, one: int, two: int) -> bool:
        """Whether two entities may be one: neither types nor titles nor a person's rules say no."""
        for a in {self.names[k].kind for k in self.members[one]}:
            for b in {self.names[k].kind for k in self.members[two]}:
                if not compatible(a, b):
                    return False
        if {self.names[k].gender for k in (*self.members[one], *self.members[two])} >= {"m", "f"}:
            return False
        mine, others = (self.restricted.intersection(self.members[k]) for k in (one, two))
        return not any(
            self.rules.forbids(self.names[a], self.names[b]) for a in mine for b in others
        )

    def merge(self, one: int, two: int, rule: Rule | str) -> None:
        """Merge the entities of two names, if that is allowed."""
        a, b = self.find(one), self.find(two)
        if a == b or not self.allowed(a, b):
            return
        if len(self.members[a]) < len(self.members[b]):
            a, b = b, a
        self.parent[b] = a
        self.members[a] += self.members.pop(b)
        self.result.links.append(Link(one, two, rule))

    def merge_if_unique(self, place: int, fits: Iterable[int], rule: Rule) -> None:
        """Merge a name with what it fits, if that is one entity; else note that it is ambiguous."""
        own = self.find(place)
        found = {self.find(k): k for k in fits}
        found.pop(own, None)
        possible = [k for root, k in found.items() if self.allowed(own, root)]
        if len(possible) == 1:
            self.merge(place, possible[0], rule)
        elif possible:
            self.result.ambiguous.append((place, tuple(sorted(possible)), rule))

    def _forced(self) -> None:
        for pair in (*self.rules.same, *self.rules.different):
            for pattern in pair:
                if not any(pattern.matches(name) for name in self.names):
                    logger.warning("no name in the graph is %r, which a rule names", pattern.name)
        for pair in self.rules.same:
            one, two = ([k for k in self.order if p.matches(self.names[k])] for p in pair)
            for a in one:
                for b in two:
                    self.merge(a, b, "a person's rule")
            if one and two and len({self.find(k) for k in (*one, *two)}) > 1:
                names = [pattern.name for pattern in pair]
                logger.warning("types or other rules keep some of %r and %r apart", *names)

    def _same_words(self) -> None:
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for k in self.order:
            groups[self.names[k].words].append(k)
        for group in groups.values():
            first: dict[str | None, int] = {}
            for k in group:
                one = first.setdefault(self.names[k].kind, k)
                self.merge(one, k, self._by_words(one, k))
            # First what is MISC, then what has no type: each only if nothing else fits as well.
            typed = [k for k in group if self.names[k].kind is not None]
            for vague in ("MISC", None):
                for k in group:
                    if self.names[k].kind == vague:
                        self.merge_if_unique(k, typed, "same name")

    def _by_words(self, one: int, two: int) -> Rule:
        return "handle" if self.names[one].handle != self.names[two].handle else "same name"

    def _handles(self) -> None:
        """#newyork is New York, and so is Newyork, if nothing else has these letters."""
        apart: dict[str, list[int]] = defaultdict(list)
        for k in self.order:
            if len(self.names[k].words) > 1:
                apart[self.names[k].letters].append(k)
        for k in self.order:
            name = self.names[k]
            if len(name.words) == 1 and (fits := apart.get(name.letters)):
                if name.handle:
                    self.merge_if_unique(k, fits, "handle")
                elif name.kind != "PER":
                    self.merge_if_unique(k, fits, "spelling")

    def _initials(self) -> None:
        families: dict[str, list[int]] = defaultdict(list)
        for k in self.order:
            name = self.names[k]
            if name.kind == "PER" and len(name.words) > 1:
                families[name.words[-1]].append(k)

        def completeness(k: int) -> tuple[int, int]:
            given = self.names[k].words[:-1]
            return -sum(len(word) > 1 for word in given), -len(given)

        # First names that lack a middle initial, then those with less.
        for family in families.values():
            known = {k: completeness(k) for k in family}
            for k in sorted(family, key=known.__getitem__):
                words = self.names[k].words
                fits = [
                    other
                    for other in family
                    if known[other] < known[k]
                    and same_person_by_initials(words, self.names[other].words)
                ]
                self.merge_if_unique(k, fits, "initials")

    def _expansions(self, acronyms: Iterable[tuple[int, int]]) -> None:
        expansions: dict[int, set[int]] = defaultdict(set)
        for short, full in acronyms:
            expansions[short].add(full)
        for short in sorted(expansions, key=lambda k: self.names[k].text):
            self.merge_if_unique(short, sorted(expansions[short]), "acronym")

    def _spellings(self) -> None:
        blocks: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for k in self.order:
            for key in spelling_keys(self.names[k]):
                blocks[key].append(k)
        pairs = {
            (a, b)
            for block in blocks.values()
            if 1 < len(block) <= MAX_BLOCK
            for i, a in enumerate(block)
            for b in block[i + 1 :]
        }
        names = self.names
        for a, b in sorted(pairs, key=lambda pair: [names[k].text for k in pair]):
            if self._misspelt(names[a], names[b]) and self._all_misspelt(
                self.find(a), self.find(b)
            ):
                self.merge(a, b, "spelling")

    def _misspelt(self, one: Name, two: Name) -> bool:
        return misspelt(one, two, self.min_spelling)

    def _all_misspelt(self, one: int, two: int) -> bool:
        """Whether no name of one entity contradicts a name of the other with as many words."""
        return all(
            a.words == b.words or self._misspelt(a, b)
            for a in {self.names[k] for k in self.members[one]}
            for b in {self.names[k] for k in self.members[two]}
            if len(a.words) == len(b.words)
        )
