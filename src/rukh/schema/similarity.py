"""Similarity of relations: how close their descriptions are in a text encoder's embedding space.

Relations that are close in the untrained encoder can be distinguished only after training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rukh.schema.schema import Relation, RelationSchema

Embed: TypeAlias = Callable[[list[str]], ArrayLike]
"""Function that maps ``N`` texts to unit vectors, an array or a tensor of shape ``(N, d)``."""


class SchemaEmbedding(NamedTuple):
    """The embedded descriptions of a schema.

    Attributes:
        relations: The ``R`` relations of the schema, without NOTA.
        texts: All ``M`` texts: descriptions, or the label as words if a relation has none.
        owner: Index of the relation that each text belongs to, ``(M,)``.
        vectors: Embedding of each text, scaled to length 1, ``(M, d)``.
        centroids: Mean embedding of each relation, scaled to length 1, ``(R, d)``.
    """

    relations: tuple[Relation, ...]
    texts: tuple[str, ...]
    owner: NDArray[np.int64]
    vectors: NDArray[np.float32]
    centroids: NDArray[np.float32]

    def nearest(self, index: int, count: int) -> list[int]:
        """Find the relations most similar to the one at ``index``, by the cosine of centroids.

        Relations that share its argument types come first, as only descriptions distinguish them.
        Returns the indices of at most ``count`` relations.
        """
        cosines = self.centroids @ self.centroids[index]
        order = [i for i in np.argsort(-cosines, kind="stable").tolist() if i != index]
        order.sort(key=lambda i: not _share_types(self.relations[index], self.relations[i]))
        return order[:count]


def embed_schema(schema: RelationSchema, embed: Embed) -> SchemaEmbedding:
    """Embed the descriptions of all relations except NOTA."""
    relations = tuple(r for r in schema.relations if r.name != schema.nota)
    texts_of = [[str(text) for text in r.descriptions] or [r.label_words] for r in relations]
    texts = tuple(text for texts in texts_of for text in texts)
    owner = np.repeat(np.arange(len(relations)), [len(texts) for texts in texts_of])
    vectors = np.asarray(embed(list(texts)), dtype=np.float32)
    means = np.stack([vectors[owner == i].mean(0) for i in range(len(relations))])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return SchemaEmbedding(relations, texts, owner, vectors, means / np.maximum(lengths, 1e-12))


def _share_types(first: Relation, second: Relation) -> bool:
    """Whether some combination of head and tail types is allowed by both relations."""
    return all(
        not a or not b or bool(set(a) & set(b))
        for a, b in ((first.head, second.head), (first.tail, second.tail))
    )
