"""Relation schemas: which relations exist, what they mean, and which argument types they allow.

A schema is loaded from a YAML file, or by its name if it is shipped (in ``rukh/schema/catalog``).
Models compare each pair with the embedded descriptions (ROC, section 3: "relation encoder").
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, model_validator

from rukh.errors import InputError, suggestion
from rukh.records import Argument, Name, Post, Record, Text
from rukh.schema.descriptions import DescriptionField
from rukh.schema.problems import Problem, contradictions, explain
from rukh.utils.files import file_errors, parse_yaml


def _as_sequence(value: Any) -> Any:
    return (value,) if isinstance(value, str | Mapping) else value


T = TypeVar("T")
OneOrMore: TypeAlias = Annotated[tuple[T, ...], BeforeValidator(_as_sequence)]
"""A field that accepts a single value, without brackets, as well."""


class Relation(Record):
    """One relation.

    Attributes:
        name: Label as the data spells it, or a readable name if the data uses ids.
        id: Id in a catalogue such as Wikidata (``P19``). Data may use it in place of the name.
        same_as: Ids with the same meaning and direction in other catalogues, for export.
        descriptions: Texts that define the relation in terms of "the head" and "the tail". In a
            file, each is a string or a mapping of ``text``, ``status``, ``author`` and ``date``.
        head, tail: Allowed argument types. Empty: all types are allowed.
        symmetric: Whether ``(a, r, b)`` implies ``(b, r, a)``.
        inverse: The relation that holds for ``(b, a)`` whenever this one holds for ``(a, b)``.
        functional: Whether a head has at most one tail, as with a date of birth. In a graph, two
            tails are a conflict.
        alias: Whether head and tail are names of one entity, which a graph then merges.
    """

    name: Name
    id: Name | None = None
    same_as: OneOrMore[Name] = ()
    descriptions: OneOrMore[DescriptionField] = ()
    head: OneOrMore[Name] = ()
    tail: OneOrMore[Name] = ()
    symmetric: bool = False
    inverse: Name | None = None
    functional: bool = False
    alias: bool = False

    @property
    def label_words(self) -> str:
        """The label as words, without its path: ``/per/org/member_of`` becomes ``member of``."""
        last = self.name.rstrip("/").rpartition("/")[2]
        return " ".join(re.findall(r"[^\W_]+", last)) or self.name

    def allows(self, head: str | None, tail: str | None) -> bool:
        """Whether the relation allows these argument types. None, an unknown type, is allowed."""
        return (head is None or not self.head or head in self.head) and (
            tail is None or not self.tail or tail in self.tail
        )

    def _combine(self, other: Relation, where: str) -> Relation:
        """Combine two relations with the same name; see :meth:`RelationSchema.merge`."""
        ids, inverses = {self.id, other.id} - {None}, {self.inverse, other.inverse} - {None}
        if self.symmetric != other.symmetric or len(ids) > 1 or len(inverses) > 1:
            problem = f"relation {self.name!r} means something else in another schema"
            raise InputError(problem, where=where, fix="rename one of the relations")

        def union(one: tuple[Any, ...], two: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(dict.fromkeys([*one, *two]))

        return Relation(
            name=self.name,
            id=self.id or other.id,
            same_as=union(self.same_as, other.same_as),
            descriptions=union(self.descriptions, other.descriptions),
            head=union(self.head, other.head) if self.head and other.head else (),
            tail=union(self.tail, other.tail) if self.tail and other.tail else (),
            symmetric=self.symmetric,
            inverse=self.inverse or other.inverse,
            functional=self.functional or other.functional,
            alias=self.alias or other.alias,
        )


class RelationSchema(Record):
    """A set of relations, with or without a none-of-the-above label (NOTA).

    Attributes:
        relations: All relations, including NOTA if the data has such a label.
        nota: The name of NOTA, or None for a closed schema.
        types: A word for each entity type (``PER: person``), which models use to embed the type.

    Example:
        >>> schema = RelationSchema.load("mnre")
        >>> schema.nota, len(schema.names)
        ('None', 22)
    """

    name: Name
    relations: tuple[Relation, ...] = Field(min_length=1)
    nota: Name | None = None
    types: dict[Name, Text] = {}

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> RelationSchema:
        require_descriptions = (info.context or {}).get("require_descriptions", True)
        if problems := [*self._find_contradictions(require_descriptions)]:
            raise contradictions(problems)
        return self

    def _find_contradictions(self, require_descriptions: bool) -> Iterator[Problem]:
        names = set(self.names)
        if not names:
            text = "a schema needs at least one relation besides its NOTA label"
            yield Problem(("relations",), text)
        yield from self._check_labels()
        for place, relation in enumerate(self.relations):
            path = ("relations", place)
            for index, text in enumerate(relation.descriptions):
                if not text.strip():
                    problem = f"description {index} of relation {relation.name!r} is empty"
                    yield Problem((*path, "descriptions", index), problem)
            if relation.name == self.nota:
                continue
            if require_descriptions and not relation.descriptions:
                yield Problem(path, f"relation {relation.name!r} has no description")
            if relation.inverse is not None:
                conflict = self._check_inverse(relation, relation.inverse, names)
                if conflict is not None:
                    yield Problem((*path, "inverse"), conflict)

    def _check_labels(self) -> Iterator[Problem]:
        """Find relations that share a name or an id."""
        counts = Counter(relation.name for relation in self.relations)
        owners = {name: name for name in counts}
        seen: set[str] = set()
        for place, relation in enumerate(self.relations):
            name, id_ = relation.name, relation.id
            if name in seen:
                problem = f"relation {name!r} is listed {counts[name]} times"
                yield Problem(("relations", place, "name"), problem)
            seen.add(name)
            if (owner := owners.setdefault(id_ or name, name)) != name:
                problem = f"id {id_!r} of relation {name!r} also belongs to {owner!r}"
                yield Problem(("relations", place, "id"), problem)

    def _check_inverse(
        self, relation: Relation, inverse: str, names: Collection[str]
    ) -> str | None:
        """Say whether a declared inverse is unknown or contradicts other declarations."""
        name = relation.name
        if inverse not in names:
            return (
                f"inverse {inverse!r} of relation {name!r} is not a relation of this schema; "
                f"{suggestion(inverse, names)}"
            )
        if relation.symmetric:
            return f"relation {name!r} is symmetric and has an inverse"
        if inverse == name:
            return f"relation {name!r} is its own inverse; write symmetric: true"
        if (other := self.inverse_of(inverse)) != name:
            return f"inverse of {name!r} is {inverse!r}, whose own inverse is {other!r}"
        return None

    @classmethod
    def merge(
        cls, schemas: Sequence[RelationSchema], exclude: Collection[str] = ()
    ) -> RelationSchema:
        """Combine schemas except for some relations, with the NOTA of the first that has one.

        Relations with the same name must mean the same. The combined relation has the descriptions
        of both, and allows the types of both.

        Raises:
            InputError: Of two relations with the same name only one is symmetric, or they have
                different ids or inverses; or no relation is left.
        """
        nota = next((s.nota for s in schemas if s.nota is not None), None)
        merged = {} if nota is None else {nota: Relation(name=nota)}
        for schema in schemas:
            for relation in schema.relations:
                if relation.name in exclude or relation.name in (schema.nota, nota):
                    continue
                if relation.inverse in exclude:
                    relation = relation.model_copy(update={"inverse": None})
                other = merged.setdefault(relation.name, relation)
                if other != relation:
                    merged[relation.name] = other._combine(relation, schema.name)
        data = {
            "name": "+".join(dict.fromkeys(n for s in schemas for n in s.name.split("+"))),
            "relations": [relation.model_dump() for relation in merged.values()],
            "nota": nota,
            "types": {k: word for s in reversed(schemas) for k, word in s.types.items()},
        }
        return cls.parse(data)

    @cached_property
    def _by_label(self) -> dict[str, Relation]:
        by_id = {relation.id: relation for relation in self.relations if relation.id is not None}
        return by_id | {relation.name: relation for relation in self.relations}

    @cached_property
    def _inverses(self) -> dict[str, str]:
        # Only one of two inverse relations needs to declare the other.
        inverses = {r.inverse: r.name for r in reversed(self.relations) if r.inverse is not None}
        inverses |= {r.name: r.inverse for r in self.relations if r.inverse is not None}
        return inverses | {r.name: r.name for r in self.relations if r.symmetric}

    @cached_property
    def _signatures(self) -> tuple[Relation, ...]:
        """One relation for each combination of head and tail types."""
        relations = [relation for relation in self.relations if relation.name != self.nota]
        return tuple({(relation.head, relation.tail): relation for relation in relations}.values())

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> RelationSchema:
        """Copy the schema as pydantic does, without the cached lookup tables."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("_by_label", "_inverses", "_signatures"):
            copied.__dict__.pop(name, None)
        return copied

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all relations except NOTA, in order."""
        return tuple(r.name for r in self.relations if r.name != self.nota)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all labels of this schema, with NOTA first."""
        return self.names if self.nota is None else (self.nota, *self.names)

    @property
    def argument_types(self) -> frozenset[str]:
        """All argument types that the schema mentions."""
        return frozenset(self.types).union(*(r.head + r.tail for r in self.relations))

    def relation(self, label: str, where: str | None = None) -> Relation:
        """Return the relation with this name or id. An error message contains ``where``.

        Raises:
            InputError: There is no such relation. The message suggests a similar label.
        """
        if (relation := self._by_label.get(label)) is None:
            problem = f"relation {label!r} is not in schema {self.name!r}"
            raise InputError(problem, where=where, fix=suggestion(label, self.labels))
        return relation

    def has_label(self, label: str) -> bool:
        """Whether a label is valid, that is, whether it is a relation's name or id, or NOTA."""
        return label == self.nota or label in self._by_label

    def resolve(self, label: str, where: str | None = None) -> str:
        """Return the name of the relation with this name or id. NOTA is returned unchanged.

        Example:
            >>> schema = RelationSchema.load("wikidata")
            >>> schema.resolve("P19"), schema.resolve("place of birth")
            ('place of birth', 'place of birth')
        """
        return label if label == self.nota else self.relation(label, where).name

    def resolve_labels(self, post: Post, where: str | None = None) -> Post:
        """Replace the label of each pair of a post by the relation's name; see :meth:`resolve`.

        Raises:
            InputError: The schema lacks a label. The message names the post.
        """
        place = f"post {post.id!r}" if where is None else f"{where}: post {post.id!r}"
        labels = [p.relation and self.resolve(p.relation, place) for p in post.pairs or ()]
        if not post.pairs or labels == [pair.relation for pair in post.pairs]:
            return post
        resolved = zip(post.pairs, labels, strict=True)
        pairs = tuple(pair.model_copy(update={"relation": label}) for pair, label in resolved)
        return post.model_copy(update={"pairs": pairs})

    def inverse_of(self, name: str | None) -> str | None:
        """Return the relation that holds for ``(b, a)`` if ``name`` holds for ``(a, b)``, or None.

        A symmetric relation is its own inverse. One of two inverse relations declares the other.

        Example:
            >>> schema = RelationSchema.load("wikidata")
            >>> schema.inverse_of("capital"), schema.inverse_of("sibling"), schema.inverse_of(None)
            ('capital of', 'sibling', None)
        """
        if name is None or name == self.nota:
            return None
        return self._inverses.get(self.relation(name).name)

    def allows(self, head: Argument, tail: Argument) -> bool:
        """Whether any relation allows the types of these arguments, in this order."""
        return any(r.allows(head.type, tail.type) for r in self._signatures)

    def to_yaml(self) -> str:
        """Convert the schema to YAML for :meth:`load`, without fields that have default values."""
        import yaml

        data = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)

    def restrict(self, names: Collection[str]) -> RelationSchema:
        """Return a schema with only these relations, and NOTA if this schema has it.

        Example:
            >>> RelationSchema.load("mnre").restrict(["/per/loc/place_of_birth"]).names
            ('/per/loc/place_of_birth',)
        """
        kept = tuple(
            relation.model_copy(
                update={"inverse": relation.inverse if relation.inverse in names else None}
            )
            for relation in self.relations
            if relation.name in names or relation.name == self.nota
        )
        return self.model_copy(update={"relations": kept})

    @classmethod
    def load(cls, source: str | Path, *, require_descriptions: bool = True) -> RelationSchema:
        """Read a shipped schema by its name, or a YAML file.

        Raises:
            InputError: The schema is not found, not valid YAML or not consistent, or a relation
                lacks required descriptions.
        """
        text = read_source(source)
        data = parse_yaml(text, str(source))
        return cls.parse(
            data, str(source), require_descriptions=require_descriptions, yaml_text=text
        )

    @classmethod
    def parse(
        cls,
        data: object,
        where: str | None = None,
        *,
        require_descriptions: bool = True,
        yaml_text: str | None = None,
    ) -> RelationSchema:
        """Build a schema from plain data, such as the content of a YAML file.

        Args:
            data: The data.
            where: Where it is from, for the error's message.
            require_descriptions: Whether each relation needs a description.
            yaml_text: The YAML that the data is from, so that the error names its lines.

        Raises:
            InputError: The data is not a valid schema. The message lists all problems, one per
                line, with ``where`` and the field. The error's own field is that of the first.
        """
        try:
            return cls.model_validate(data, context={"require_descriptions": require_descriptions})
        except ValidationError as error:
            raise explain(error, data, where, yaml_text) from None


def shipped_schemas() -> dict[str, str]:
    """Return the YAML of each shipped schema, by its name, in alphabetical order."""
    return {name: file.read_text(encoding="utf-8") for name, file in sorted(_catalog().items())}


def _catalog() -> dict[str, Traversable]:
    """Return the file of each shipped schema, by its name."""
    catalog = resources.files("rukh.schema") / "catalog"
    return {file.name.removesuffix(".yaml"): file for file in catalog.iterdir()}


def read_source(source: str | Path) -> str:
    """Return the YAML of a shipped schema, given by its name, or of a file.

    Raises:
        InputError: There is no such schema, or the file cannot be read.
    """
    path = Path(source)
    # A folder of the same name (a model's, for example) must not hide a shipped schema.
    if path.suffix in {".yaml", ".yml"} or os.path.isfile(path):
        with file_errors(path):
            return path.read_text(encoding="utf-8")
    files = _catalog()
    if str(source) not in files:
        fix = suggestion(str(source), files) + " (or give a path to a .yaml file)"
        raise InputError(f"no schema named {str(source)!r}", fix=fix)
    return files[str(source)].read_text(encoding="utf-8")


def first_sentence(text: str) -> str:
    r"""Return the first sentence of the comment at the top of a YAML file, or an empty string.

    Example:
        >>> first_sentence("# Who works where. From\n# a study.\nname: mine")
        'Who works where.'
    """
    comment: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    return re.split(r"(?<=\.)\s", " ".join(comment).strip())[0]
