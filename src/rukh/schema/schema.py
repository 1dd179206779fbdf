"""Relation schemas: which relations exist, what they mean, and which arguments they allow.

A schema is a YAML file (or one of those shipped in ``rukh/schemas``, by name). Each relation has
several natural-language descriptions, from which the relation tower makes its prototypes (ROC,
section 3: "relation encoder").
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError, ValidationInfo, model_validator

from rukh.errors import InputError, suggestion
from rukh.records import Argument, Name, Post, Record, Text, as_input_error
from rukh.schema.descriptions import Described
from rukh.utils.files import parse_yaml


class Relation(Record):
    """One relation.

    Attributes:
        name: The label as the data spells it, or what people call it where the data has an id.
        id: Its key in a catalogue such as Wikidata (``P19``); data may carry it in place of the
            name.
        descriptions: What it means, in sentences; the head is "the head", the tail "the tail". Each
            is a string, in a file also a mapping of ``text``, ``status``, ``author``, ``date``.
        contrasts: What is easily taken for it and is not: descriptions that training tells its
            pairs to stay away from (hard negatives); nothing else reads them.
        head, tail: Allowed argument types; empty allows every type.
        symmetric: Whether ``(a, r, b)`` implies ``(b, r, a)``.
        inverse: The relation that holds of ``(b, a)`` where this one holds of ``(a, b)``.
    """

    name: Name
    id: Name | None = None
    descriptions: tuple[Described, ...] = ()
    contrasts: tuple[Text, ...] = ()
    head: tuple[Name, ...] = ()
    tail: tuple[Name, ...] = ()
    symmetric: bool = False
    inverse: Name | None = None

    @property
    def words(self) -> str:
        """The label in words, without the types that stand in its path.

        Example:
            >>> Relation(name="/per/org/member_of").words, Relation(name="per:city_of_birth").words
            ('member of', 'per city of birth')
        """
        last = self.name.rstrip("/").rpartition("/")[2]
        return " ".join(re.findall(r"[^\W_]+", last)) or self.name

    def allows(self, head: str | None, tail: str | None) -> bool:
        """Whether arguments of these types may stand in it; an unknown type (None) may."""
        return (head is None or not self.head or head in self.head) and (
            tail is None or not self.tail or tail in self.tail
        )


class _Lookup(NamedTuple):
    """What is asked of a schema for every pair, so that no question walks over all relations.

    Attributes:
        relations: By name.
        labels: The name that a label, a name or an id, means.
        inverse_of: The relation that names this one as its inverse.
        signatures: Every combination of head and tail types that some relation allows.
    """

    relations: dict[str, Relation]
    labels: dict[str, str]
    inverse_of: dict[str, str]
    signatures: tuple[Relation, ...]


class RelationSchema(Record):
    """A closed or open set of relations.

    Attributes:
        name: The schema's name.
        relations: All relations, NOTA among them where the data spells one.
        nota: Name of the none-of-the-above relation, or None for a closed schema.
        types: Words for each entity type, used as the type's hint (``PER: person``).

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
    def _consistent(self, info: ValidationInfo) -> RelationSchema:
        counts = Counter(relation.name for relation in self.relations)
        for name, count in counts.items():
            if count > 1:
                raise ValueError(f"relation {name!r} stands {count} times")
        owners = {name: name for name in counts}
        for relation in self.relations:
            owner = owners.setdefault(relation.id or relation.name, relation.name)
            if owner != relation.name:
                raise ValueError(
                    f"id {relation.id!r} of relation {relation.name!r} is that of {owner!r} too"
                )
        for relation in self.relations:
            for index, text in enumerate(relation.descriptions):
                if not text.strip():
                    raise ValueError(f"description {index} of relation {relation.name!r} is empty")
            if relation.name == self.nota:
                continue
            if not relation.descriptions and not (info.context or {}).get("undescribed"):
                raise ValueError(f"relation {relation.name!r} has no description")
            inverse = relation.inverse
            if inverse is None:
                continue
            if inverse not in counts or inverse == self.nota:
                raise ValueError(
                    f"relation {relation.name!r} has inverse {inverse!r}, which is no relation of "
                    f"this schema; {suggestion(inverse, counts)}"
                )
            if relation.symmetric:
                raise ValueError(f"relation {relation.name!r} is symmetric and has an inverse")
            if inverse == relation.name:
                raise ValueError(f"relation {inverse!r} is its own inverse; say symmetric: true")
            back = self.reverse(inverse)
            if back != relation.name:
                raise ValueError(
                    f"inverse of {relation.name!r} is {inverse!r}, but the inverse of {inverse!r} "
                    f"is {back!r}"
                )
        if not self.names:
            raise ValueError("a schema needs at least one relation besides its NOTA")
        return self

    @classmethod
    def merged(
        cls, schemas: Sequence[RelationSchema], without: Collection[str] = ()
    ) -> RelationSchema:
        """All relations of several schemas as one, whose NOTA is the first one's.

        Args:
            schemas: At least one. A relation that stands in two must mean the same in both.
            without: Names of relations to leave out.

        Raises:
            InputError: A name means two things, or nothing is left.
        """
        nota = next((s.nota for s in schemas if s.nota is not None), None)
        out: dict[str, Relation] = {}
        for schema in schemas:
            for relation in schema.relations:
                if relation.name in without or relation.name in (schema.nota, nota):
                    continue
                if relation.inverse in without:
                    relation = relation.model_copy(update={"inverse": None})
                if out.setdefault(relation.name, relation) != relation:
                    raise InputError(
                        f"relation {relation.name!r} is described otherwise by another schema",
                        where=schema.name,
                        fix="give the two one description, or one of them another name",
                    )
        kept = [*([] if nota is None else [Relation(name=nota)]), *out.values()]
        words = {
            type_: word for schema in reversed(schemas) for type_, word in schema.types.items()
        }
        return cls.parse(
            {
                "name": "+".join(dict.fromkeys(n for s in schemas for n in s.name.split("+"))),
                "relations": [relation.model_dump() for relation in kept],
                "nota": nota,
                "types": words,
            }
        )

    @cached_property
    def _lookup(self) -> _Lookup:
        relations: dict[str, Relation] = {}
        labels: dict[str, str] = {}
        inverse_of: dict[str, str] = {}
        signatures: dict[tuple[tuple[str, ...], tuple[str, ...]], Relation] = {}
        for relation in self.relations:  # where two would answer, the first does
            relations.setdefault(relation.name, relation)
            labels.setdefault(relation.name, relation.name)
            if relation.id is not None:
                labels.setdefault(relation.id, relation.name)
            if relation.inverse is not None:
                inverse_of.setdefault(relation.inverse, relation.name)
            if relation.name != self.nota:
                signatures.setdefault((relation.head, relation.tail), relation)
        return _Lookup(relations, labels, inverse_of, tuple(signatures.values()))

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> RelationSchema:
        """As pydantic's; the copy looks its own relations up."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("_lookup", None)
        return copied

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the relations that can be retrieved: all but NOTA, in order."""
        return tuple(r.name for r in self.relations if r.name != self.nota)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all labels that data of this schema may carry, NOTA included."""
        names = self.names
        return names if self.nota is None else (self.nota, *names)

    @property
    def argument_types(self) -> frozenset[str]:
        """All entity types that it speaks of."""
        return frozenset(self.types).union(*(r.head + r.tail for r in self.relations))

    def relation(self, name: str) -> Relation:
        """The relation of this name. Raises InputError, with a suggestion, where there is none."""
        if (relation := self._lookup.relations.get(name)) is not None:
            return relation
        raise InputError(
            f"relation {name!r} is not in schema {self.name!r}",
            fix=suggestion(name, [r.name for r in self.relations]),
        )

    def knows(self, label: str) -> bool:
        """Whether data of this schema may carry a label, a name or an id, NOTA included."""
        return label == self.nota or label in self._lookup.labels

    def resolve(self, label: str, where: str | None = None) -> str:
        """The name of the relation, NOTA included, that data means by a label: a name or an id.

        Raises:
            InputError: There is none, with the place and a suggestion.

        Example:
            >>> schema = RelationSchema.parse({"name": "s", "relations": [
            ...     {"name": "residence", "id": "P551", "descriptions": ["where it lives"]}]})
            >>> schema.resolve("P551"), schema.resolve("residence")
            ('residence', 'residence')
        """
        if label == self.nota:
            return label
        if (name := self._lookup.labels.get(label)) is not None:
            return name
        raise InputError(
            f"relation {label!r} is not in schema {self.name!r}",
            where=where,
            fix=suggestion(label, self.labels),
        )

    def named(self, post: Post, where: str | None = None) -> Post:
        """The post with the names of its relations for labels; see :meth:`resolve`.

        Raises:
            InputError: A label stands outside the schema; names the post.
        """
        place = f"post {post.id!r}" if where is None else f"{where}: post {post.id!r}"
        labels = [p.relation and self.resolve(p.relation, place) for p in post.pairs or ()]
        if labels == [pair.relation for pair in post.pairs or ()]:
            return post
        pairs = tuple(
            pair.model_copy(update={"relation": label})
            for pair, label in zip(post.pairs or (), labels, strict=True)
        )
        return post.model_copy(update={"pairs": pairs})

    def reverse(self, name: str | None) -> str | None:
        """The label of ``(b, a)`` where ``(a, b)`` carries ``name``: itself where symmetric, the
        declared inverse, else NOTA (None stands for NOTA here).
        """
        if name is None or name == self.nota:
            return None
        relation = self.relation(name)
        if relation.symmetric:
            return name
        if relation.inverse is not None:
            return relation.inverse
        return self._lookup.inverse_of.get(name)

    def allows(self, head: Argument, tail: Argument) -> bool:
        """Whether any relation allows arguments of these types in this order."""
        return any(r.allows(head.type, tail.type) for r in self._lookup.signatures)

    def to_yaml(self) -> str:
        """The schema as :meth:`load` reads it; what is at its default is left out."""
        import yaml

        data = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)

    @classmethod
    def load(cls, source: str | Path, *, undescribed: bool = False) -> RelationSchema:
        """Read a schema by shipped name or from a YAML file.

        Args:
            source: A shipped schema's name, or a path.
            undescribed: Whether relations may still lack descriptions.

        Raises:
            InputError: No such schema, not YAML, or a violated constraint; names what and where.
        """
        path = Path(source)
        # A folder that bears a schema's name (a model's, say) must not hide the schema.
        if path.suffix in {".yaml", ".yml"} or os.path.isfile(path):
            try:
                text, where = path.read_text(encoding="utf-8"), str(path)
            except OSError as error:
                raise InputError(f"cannot read schema: {error.strerror}", where=str(path)) from None
            except UnicodeDecodeError:
                raise InputError("not UTF-8 text", where=str(path)) from None
        else:
            folder = resources.files("rukh.schema") / "catalog"
            shipped = [
                p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")
            ]
            if str(source) not in shipped:
                raise InputError(
                    f"no schema named {str(source)!r}",
                    fix=suggestion(str(source), shipped) + " (or give a path to a .yaml file)",
                )
            text, where = (folder / f"{source}.yaml").read_text(encoding="utf-8"), str(source)
        data = parse_yaml(text, where)
        return cls.parse(data, where, undescribed=undescribed)

    @classmethod
    def parse(
        cls, data: object, where: str | None = None, *, undescribed: bool = False
    ) -> RelationSchema:
        """A schema from plain data, as :meth:`load` reads it. Raises InputError, with the place."""
        if not isinstance(data, dict):
            raise InputError(
                "a schema is a mapping with the keys name, relations, nota, types", where=where
            )
        try:
            return cls.model_validate(data, context={"undescribed": undescribed})
        except ValidationError as error:
            raise as_input_error(error, where) from None
