"""The relation bank: the embedded descriptions of a schema's relations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rukh.errors import InputError
from rukh.hub import cache_folder
from rukh.modeling.device import to_device
from rukh.schema.schema import RelationSchema
from rukh.utils.cache import DiskCache, content_key
from rukh.utils.embedding import embed_texts


def embedding_cache(encoder_key: str) -> DiskCache:
    """Return the disk cache of the embeddings that the encoder with this identifier computed."""
    return DiskCache(cache_folder() / "embeddings" / f"{content_key(encoder_key)}.sqlite")


@dataclass(frozen=True)
class RelationBank:
    """``R`` relations with a total of ``M`` descriptions.

    Attributes:
        names: The relations that can be predicted, in the order of the schema, without NOTA.
        descriptions: The ``M`` descriptions.
        vectors: ``(M, d)`` embeddings of the descriptions.
        prototypes: ``(R, K)`` indices in ``vectors`` of a relation's descriptions, padded with -1.
        reverse: ``(R,)`` index of the reverse relation, which holds from tail to head if this one
            holds from head to tail. It is the inverse relation, or the relation itself if it is
            symmetric; -1 if there is none.
        types: Names of entity types in plain words, as defined by the schema.
        anchors: ``(R, d + 1)`` weights and bias of the few-shot anchor of each relation; zeros for
            relations without an anchor. None: no relation has an anchor. See
            :mod:`rukh.training.few_shot`.
        trained: ``(C,)`` bool, True for the logit columns of NOTA and of relations that the model
            was trained on. None: the model was trained on all relations.
        background: ``(C,)`` numbers to subtract from the logits; zeros for columns of ``trained``.
            See :mod:`rukh.modeling.background`. None if ``trained`` is None.
        one_way: ``(A,)`` indices of the relations without a reverse, derived from ``reverse``.
    """

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    vectors: Tensor
    prototypes: Tensor
    reverse: Tensor
    types: Mapping[str, str]
    anchors: Tensor | None = None
    trained: Tensor | None = None
    background: Tensor | None = None
    one_way: Tensor = None  # type: ignore[assignment]  # set below, and kept by copies
    _copies: dict[torch.device, RelationBank] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Set ``one_way``, once: its size depends on values, for which a GPU has to be awaited."""
        if self.one_way is None:
            object.__setattr__(self, "one_way", (self.reverse < 0).nonzero().flatten())

    def to(self, device: torch.device) -> RelationBank:
        """Return the bank with its tensors on a device. The copy on each device is made once."""
        if self.vectors.device == device:
            return self
        if device not in self._copies:
            values = {one.name: getattr(self, one.name) for one in fields(self)}
            with torch.inference_mode(False):  # a later training step may use the copy
                moved: dict[str, Any] = {
                    name: value.to(device)
                    for name, value in values.items()
                    if isinstance(value, Tensor)
                }
            self._copies[device] = replace(self, **moved)
        return self._copies[device]

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
            embed: Function that maps ``n`` texts to vectors of shape ``(n, d)``.
            encoder_key: Identifier of the encoder that ``embed`` uses. If it is given, vectors are
                cached on disk, in one file per encoder, and only new descriptions are embedded.

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
        cache = DiskCache(None) if encoder_key is None else embedding_cache(encoder_key)
        vectors = embed_texts(descriptions, embed, cache)
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

    def without_background(self, logits: Tensor) -> Tensor:
        """Subtract ``background``, if there is one, from logits ``(Q, C)``."""
        return logits if self.background is None else logits - self.background

    def description(self, relation: int, column: int) -> str:
        """Return the description in a row (``relation``) and a column of ``prototypes``."""
        return self.descriptions[int(self.prototypes[relation, column])]

    def sample(self, count: int) -> RelationBank:
        """Return a bank with at most ``count`` randomly sampled descriptions per relation.

        The random numbers are those of the CPU's generator, so that they are equal on all devices.
        """
        if self.prototypes.shape[1] <= count:
            return self
        chance = to_device(torch.rand(self.prototypes.shape), self.prototypes.device)
        chance = chance.masked_fill(self.prototypes < 0, -1.0)
        return replace(self, prototypes=self.prototypes.gather(1, chance.topk(count, 1).indices))

    def index(self, name: str | None, nota: str | None) -> int:
        """Return the logit column of a label: 0 for NOTA or None, else 1 + its index in ``names``.

        Raises:
            InputError: The bank does not contain this relation.
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
