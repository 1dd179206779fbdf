"""The relation bank: a schema's descriptions, embedded once and cached by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from rukh.errors import InputError
from rukh.hub import cache_folder
from rukh.schema.schema import RelationSchema
from rukh.utils.vector_store import embedded


@dataclass(frozen=True)
class RelationBank:
    """``R`` relations with ``M`` prototypes in all.

    Attributes:
        names: The relations that can be retrieved, in the schema's order (NOTA is none of them).
        descriptions: The ``M`` descriptions.
        vectors: ``(M, d)`` their embeddings.
        prototypes: ``(R, K)`` which vectors belong to a relation, -1 where it has fewer than K.
        reverse: ``(R,)`` the relation that holds from tail to head where this one holds from head
            to tail: itself where it is symmetric, its inverse, -1 where there is none.
        types: The schema's words for entity types.
        anchors: ``(R, d + 1)``, what a few examples say of a relation (see :mod:`rukh.training.few_shot`),
            zeros for most: a direction in the pairs' space, along which pairs gain, and what all
            pairs gain. None: there are none.
        seen: ``(C,)`` bool, the columns of NOTA and of relations that the model's training showed.
            None: all of them.
    """

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    vectors: Tensor
    prototypes: Tensor
    reverse: Tensor
    types: Mapping[str, str]
    anchors: Tensor | None = None
    seen: Tensor | None = None

    @classmethod
    def build(
        cls, schema: RelationSchema, embed: Callable[[list[str]], Tensor], key: str | None = None
    ) -> RelationBank:
        """Embed a schema's descriptions.

        Args:
            schema: The relations.
            embed: Texts to ``(M, d)``.
            key: What ``embed`` is (an encoder's name); where given, vectors are kept in the cache
                folder, in one file a key, and only descriptions that it lacks are embedded; see
                :mod:`rukh.utils.vector_store`. None caches nothing.
        """
        owned = [
            [text for text in relation.descriptions if text.strip()]
            for relation in schema.relations
            if relation.name != schema.nota
        ]
        descriptions: list[str] = [text for texts in owned for text in texts]
        width = max(map(len, owned))
        table, first = [], 0
        for texts in owned:
            row = list(range(first, first + len(texts)))
            table.append(row + [-1] * (width - len(row)))
            first += len(texts)
        file = None
        if key is not None:
            file = cache_folder() / "banks" / f"{hashlib.sha256(key.encode()).hexdigest()}.sqlite"
        vectors = embedded(descriptions, embed, file)
        names = schema.names
        place = {name: i for i, name in enumerate(names)}
        turned = [schema.inverse_of(name) for name in names]
        reverse = torch.tensor([-1 if t is None else place[t] for t in turned])
        return cls(names, tuple(descriptions), vectors, torch.tensor(table), reverse, schema.types)

    @classmethod
    def unembedded(cls, schema: RelationSchema) -> RelationBank:
        """Without vectors, for what needs names, columns and reverses alone."""
        return cls.build(schema, lambda texts: torch.zeros(len(texts), 0))

    def description(self, relation: int, column: int) -> str:
        """The text of a relation's prototype, by its column in the table."""
        return self.descriptions[int(self.prototypes[relation, column])]

    @property
    def owners(self) -> Tensor:
        """``(M,)`` the relation of each vector."""
        there = self.prototypes >= 0
        out = torch.empty(len(self.vectors), dtype=torch.long)
        out[self.prototypes[there]] = torch.arange(len(self.names)).repeat_interleave(there.sum(1))
        return out

    def sampled(self, count: int) -> RelationBank:
        """The bank with at most ``count`` prototypes a relation, drawn by torch's generator."""
        if self.prototypes.shape[1] <= count:
            return self
        chance = torch.rand(self.prototypes.shape).masked_fill(self.prototypes < 0, -1.0)
        drawn = chance.topk(count, 1).indices
        return replace(self, prototypes=self.prototypes.gather(1, drawn))

    def index(self, name: str | None, nota: str | None) -> int:
        """Class index of a label: 0 for NOTA (or None), else its place in ``names`` plus one."""
        if name is None or name == nota:
            return 0
        try:
            return self._places[name] + 1
        except KeyError:
            raise InputError(f"relation {name!r} is not in the schema") from None

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}
