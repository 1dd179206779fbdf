"""How near relations lie to each other in the text encoder's space, and so how easily confused.

The relation tower starts from these vectors (see ``relation.py``), so what lies together here has
to be told apart by training alone, and cannot be for relations that training never sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rukh.schema.schema import Relation, RelationSchema

ENCODER = "all-MiniLM-L6-v2"
"""The text encoder that stands behind the shipped models."""
Vectors: TypeAlias = NDArray[np.float32]


class Embedder:
    """A text encoder that is loaded when it is first used.

    Raises:
        WeightsError: It is not on this machine; when it is used.
    """

    def __init__(self, name: str = ENCODER) -> None:
        self.name = name

    @cached_property
    def _encoder(self) -> Any:
        from rukh.modeling.text_encoder import TextEncoder

        return TextEncoder.load(self.name).eval()

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Texts to ``(N, d)`` vectors of length 1."""
        import torch

        with torch.no_grad():
            # Plain strings: what is embedded does not hang on who wrote it.
            vectors: Vectors = self._encoder.sentences([str(text) for text in texts]).numpy()
        return vectors

    def excess(self, text: str) -> int:
        """How many word pieces of a text the encoder does not read."""
        pieces = len(self._encoder.tokenize(str(text)).ids) + 2  # its two special tokens
        return max(0, pieces - int(self._encoder.sentence_length))


Embed: TypeAlias = Callable[[Sequence[str]], Vectors]


class Neighbour(NamedTuple):
    """A relation beside another.

    Attributes:
        name: The other relation.
        cosine: Of the two relations' mean vectors.
        closest: The greatest cosine of two descriptions, one of each.
        texts: These two, the relation's own first.
    """

    name: str
    cosine: float
    closest: float
    texts: tuple[str, str]


class SchemaEmbedding(NamedTuple):
    """Relations and their vectors.

    Attributes:
        relations: All but NOTA, ``R`` of them.
        texts: What was embedded, ``M`` texts; a relation without descriptions stands as the words
            of its label.
        owner: ``(M,)`` which relation a text belongs to.
        vectors: ``(M, d)``, of length 1.
        centres: ``(R, d)`` the means of a relation's vectors, made of length 1.
    """

    relations: tuple[Relation, ...]
    texts: tuple[str, ...]
    owner: NDArray[np.int64]
    vectors: Vectors
    centres: Vectors

    def nearest(self, index: int, count: int) -> list[Neighbour]:
        """The relations nearest to one: those whose arguments may have the same types first, for
        which the descriptions alone must tell; within these and the others, nearest first.
        """
        one = self.relations[index]
        cosines = self.centres @ self.centres[index]
        order = [i for i in np.argsort(-cosines, kind="stable").tolist() if i != index]
        order.sort(key=lambda i: not _alike(one, self.relations[i]))
        return [
            Neighbour(self.relations[i].name, round(float(cosines[i]), 4), *self._closest(index, i))
            for i in order[:count]
        ]

    def _closest(self, first: int, second: int) -> tuple[float, tuple[str, str]]:
        mine, theirs = np.flatnonzero(self.owner == first), np.flatnonzero(self.owner == second)
        table = self.vectors[mine] @ self.vectors[theirs].T
        i, j = np.unravel_index(int(table.argmax()), table.shape)
        texts = str(self.texts[mine[i]]), str(self.texts[theirs[j]])
        return round(float(table[i, j]), 4), texts


def embed_schema(schema: RelationSchema, embed: Embed) -> SchemaEmbedding:
    """Embed all relations of a schema but its NOTA."""
    relations = tuple(r for r in schema.relations if r.name != schema.nota)
    owned: Sequence[Sequence[str]] = [r.descriptions or (r.words,) for r in relations]
    texts = tuple(text for texts in owned for text in texts)
    owner = np.repeat(np.arange(len(owned)), [len(texts) for texts in owned])
    vectors = embed(texts)
    means = np.stack([vectors[owner == i].mean(0) for i in range(len(relations))])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return SchemaEmbedding(relations, texts, owner, vectors, means / np.maximum(lengths, 1e-12))


def _alike(first: Relation, second: Relation) -> bool:
    """Whether some pair of types may stand in both."""
    return all(
        not a or not b or bool(set(a) & set(b))
        for a, b in ((first.head, second.head), (first.tail, second.tail))
    )
