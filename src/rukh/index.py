"""Very many relations: an index finds the few that may be nearest, and only these are scored.

Scoring all relations is one matrix product, which a processor does so fast that an index pays only
from a hundred thousand or so on. The index is FAISS's inverted file (Douze et al., The Faiss
library, 2024): prototypes are clustered, and a pair is compared with those of the nearest clusters.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from rukh.errors import InputError, MissingDependency

Search: TypeAlias = Literal["auto", "exact", "faiss"]
"""``exact`` scores all relations. ``faiss`` scores those that an index finds. ``auto``: an index
from :data:`THRESHOLD` relations on, if FAISS is installed."""
THRESHOLD = 100_000
"""Relations from which on ``auto`` takes an index."""
NEAREST = 64
"""Prototypes that are found for a pair; the relations they belong to are its shortlist."""
PROBED = 32
"""Clusters that are looked into."""


def indexed(search: str, relations: int) -> bool:
    """Whether an index is to be used for so many relations.

    Raises:
        MissingDependency: It is asked for, and FAISS is not installed.
        InputError: There is no such search.

    Example:
        >>> indexed("auto", 10_000), indexed("exact", 10_000_000)
        (False, False)
    """
    if search not in ("auto", "exact", "faiss"):
        raise InputError(f"{search!r} is none of auto, exact, faiss", field="search")
    installed = find_spec("faiss") is not None
    if search == "faiss" and not installed:
        raise MissingDependency("faiss-cpu", "faiss")
    return search == "faiss" or (search == "auto" and installed and relations >= THRESHOLD)


class PrototypeIndex:
    """Finds the relations whose prototypes lie nearest to a pair.

    Args:
        prototypes: ``(M, d)``, normalised.
        owners: ``(M,)`` the relation of each.
    """

    def __init__(self, prototypes: Tensor, owners: Tensor) -> None:
        import faiss

        self.owners = owners
        vectors = prototypes.detach().float().cpu().numpy()
        count, dim = vectors.shape
        # 39 points a cluster are FAISS's own least; below that it warns, and finds no better.
        clusters = max(1, min(int(2 * math.sqrt(count)), count // 39))
        self._index: Any = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(dim), dim, clusters, faiss.METRIC_INNER_PRODUCT
        )
        self._index.cp.max_points_per_centroid = 64
        self._index.nprobe = PROBED
        self._index.train(vectors)
        self._index.add(vectors)

    def near(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """The shortlists of ``(Q, d)`` pairs: ``(L,)`` pairs and ``(L,)`` relations."""
        _, found = self._index.search(pairs.detach().float().cpu().numpy(), NEAREST)
        places = torch.from_numpy(found)
        which, column = (places >= 0).nonzero(as_tuple=True)
        return which, self.owners[places[which, column]]


def shortlist(
    index: PrototypeIndex, pairs: Tensor, back: Tensor | None, reverse: Tensor
) -> tuple[Tensor, Tensor]:
    """The relations that are scored for each pair, each once.

    Where a pair is decided in both orders at once, both orders need the scores of the same
    relations and of their reverses.

    Args:
        index: Of the bank's prototypes.
        pairs: ``(Q, d)``, normalised.
        back: ``(Q, d)`` the same pairs the other way round, or None.
        reverse: ``(R,)`` the reverse of each relation, -1 for none.

    Returns:
        ``(L,)`` pairs and ``(L,)`` relations, in order.
    """
    found = [index.near(pairs)]
    if back is not None:
        found.append(index.near(back))
        found += [(which[t >= 0], t[t >= 0]) for which, r in found for t in (reverse[r],)]
    which, relations = (torch.cat(parts) for parts in zip(*found, strict=True))
    keys = torch.unique(which * len(reverse) + relations)
    return keys // len(reverse), keys % len(reverse)
