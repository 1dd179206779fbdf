"""The relation bank: the embedded descriptions of a schema's relations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rukh.errors import InputError
from rukh.hub import cache_folder
from rukh.schema.schema import RelationSchema
from rukh.utils.cache import DiskCache, content_key
from rukh.utils.embedding import embed_texts


@dataclass(frozen=True)
class RelationBank:
    """``R`` relations with ``M`` descriptions in all.

    Attributes:
        names: The relations that can be predicted, in the order of the schema, without NOTA.
        descriptions: The ``M`` descriptions.
        vectors: ``(M, d)`` embeddings of the descriptions.
        prototypes: ``(R, K)`` indices into ``vectors`` of each relation's descriptions, -1 where it
            has fewer than ``K``.
        reverse: ``(R,)`` index of the relation that holds from tail to head if this one holds from
            head to tail: itself if it is symmetric, else its inverse, -1 if there is none.
        types: The schema's words for entity types.
        anchors: ``(R, d + 1)`` what few-shot examples add to each relation's logit: a direction in
            the space of pair embeddings, and a bias; zeros for relations without examples. None: no
            relation has any. See :mod:`rukh.training.few_shot`.
        trained: ``(C,)`` bool, logit columns of NOTA and of relations that the model was trained
            on. None: all of them.
    """

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    vectors: Tensor
    prototypes: Tensor
    reverse: Tensor
    types: Mapping[str, str]
    anchors: Tensor | None = None
    trained: Tensor | None = None

    @classmethod
    def build(
        cls,
        schema: RelationSchema,
        embed: Callable[[list[str]], ArrayLike],
        encoder_key: str | None = None,
    ) -> RelationBank:
        """Embed the descriptions of a schema.

        Args:
            schema: The relations.
            embed: Texts to vectors ``(n, d)``.
            encoder_key: Identifies the encoder behind ``embed``. If given, vectors are cached on
                disk, in one file for each key, and only new descriptions are embedded.

        Example:
            >>> schema = RelationSchema.load("mnre")
            >>> bank = RelationBank.build(schema, lambda texts: [[0.0]] * len(texts))
            >>> len(bank.names), bank.vectors.shape
            (22, torch.Size([110, 1]))
        """
        owned = [
            [text for text in schema.relation(name).descriptions if text.strip()]
            for name in schema.names
        ]
        descriptions = tuple(text for texts in owned for text in texts)
        prototypes = torch.full((len(owned), max(map(len, owned))), -1)
        first = 0
        for row, texts in zip(prototypes, owned, strict=True):
            row[: len(texts)] = torch.arange(first, first + len(texts))
            first += len(texts)
        file = None
        if encoder_key is not None:
            file = cache_folder() / "embeddings" / f"{content_key(encoder_key)}.sqlite"
        vectors = embed_texts(descriptions, embed, DiskCache(file))
        position = {name: index for index, name in enumerate(schema.names)}
        reverse = [position.get(schema.inverse_of(name) or "", -1) for name in schema.names]
        return cls(
            schema.names,
            descriptions,
            torch.from_numpy(vectors),
            prototypes,
            torch.tensor(reverse),
            schema.types,
        )

    def description(self, relation: int, column: int) -> str:
        """Return the description of a relation in a column of ``prototypes``."""
        return self.descriptions[int(self.prototypes[relation, column])]

    def sample(self, count: int) -> RelationBank:
        """Keep at most ``count`` random descriptions per relation, drawn by torch's generator."""
        if self.prototypes.shape[1] <= count:
            return self
        chance = torch.rand(self.prototypes.shape).masked_fill(self.prototypes < 0, -1.0)
        return replace(self, prototypes=self.prototypes.gather(1, chance.topk(count, 1).indices))

    def index(self, name: str | None, nota: str | None) -> int:
        """Return the class index of a label: 0 for NOTA or None, else 1 + its index in ``names``.

        Raises:
            InputError: The bank has no such relation.
        """
        if name is None or name == nota:
            return 0
        try:
            return 1 + self._positions[name]
        except KeyError:
            raise InputError(f"relation {name!r} is not in the schema") from None

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}
