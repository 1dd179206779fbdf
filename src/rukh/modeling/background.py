"""The background: how similar descriptions are to pairs in which no relation holds.

Some descriptions are similar to almost every pair, others to hardly any. A model therefore stores
the embeddings of some unrelated training pairs, without their texts. What a new relation's logit
reaches on few of them says what its similarity is worth.

This counters hubness, which makes a few points the nearest of many others (Radovanović et al., JMLR
2010), as score normalization does in speaker verification (z-norm: Li and Porter, ICASSP 1988).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rukh.errors import WeightsError
from rukh.modeling.directions import DirectionMode, merge_directions
from rukh.modeling.pair_encoder import PairEncoding
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import Scorer

QUANTILE = 0.97
"""Fraction of the unrelated pairs whose logit, compared with that of NOTA, is below a relation's
background."""
WEIGHT = 0.5
"""Share of the background to subtract. All of it finds more, but also answers where nothing holds.
This and :data:`QUANTILE` were chosen on the development set."""
MIN_PAIRS = 200
"""Minimum number of unrelated pairs from which a background is computed."""


class EncodedPairs(NamedTuple):
    """Encodings of ``Q`` pairs in both directions, in the CPU's memory.

    Attributes:
        forward: ``(Q, dim)`` pair embeddings from head to tail.
        backward: ``(Q, dim)`` pair embeddings from tail to head.
        nota: ``(Q, 2)`` logits of NOTA from head to tail and from tail to head.
    """

    forward: Tensor
    backward: Tensor
    nota: Tensor


def score_encoded(pairs: EncodedPairs, scorer: Scorer, bank: RelationBank) -> tuple[Tensor, Tensor]:
    """Compute the logits ``(Q, 1 + R)`` of encoded pairs in both directions.

    Args:
        bank: The relations, on the device of the scorer.
    """
    logits = []
    for embedding, nota in zip((pairs.forward, pairs.backward), pairs.nota.T, strict=True):
        moved = embedding.to(bank.vectors.device)
        encoding = PairEncoding(moved, torch.zeros_like(moved), moved.new_zeros(0))
        relations = scorer(encoding, bank).logits[:, 1:].cpu()
        logits.append(torch.cat([nota[:, None], relations], 1))
    return logits[0], logits[1]


def compute_background(
    pairs: EncodedPairs, scorer: Scorer, bank: RelationBank, mode: DirectionMode
) -> Tensor:
    """Compute what to subtract from logits, as descriptions are similar to unrelated pairs too.

    Args:
        pairs: Unrelated pairs.
        bank: The relations, on the device of the scorer.
        mode: The model's directions, which determine the columns.

    Returns:
        ``(C,)``: for each logit column, :data:`WEIGHT` times the quantile :data:`QUANTILE` of its
        difference from the logit of NOTA; 0 for NOTA.
    """
    forward, backward = score_encoded(pairs, scorer, bank)
    if mode == "joint":
        cpu, orders = bank.to(forward.device), [(forward, backward), (backward, forward)]
        forward, backward = (merge_directions(*order, cpu) for order in orders)
    both = torch.cat([forward, backward])
    return WEIGHT * (both - both[:, :1]).quantile(QUANTILE, 0)


def background_to_bytes(pairs: EncodedPairs) -> bytes:
    """Serialize pairs as safetensors, their embeddings as 8-bit integers with a scale for each."""
    tensors = {"nota": pairs.nota.half()}
    for name in ("forward", "backward"):
        vectors: Tensor = getattr(pairs, name)
        scale = vectors.abs().amax(1, keepdim=True).clamp_min(1e-6) / 127
        tensors[name] = (vectors / scale).round().to(torch.int8)
        tensors[f"{name}_scale"] = scale[:, 0].float()
    return save({name: value.contiguous() for name, value in tensors.items()})


def read_background(file: Path, dim: int) -> EncodedPairs:
    """Read pairs that were serialized by :func:`background_to_bytes`.

    Args:
        dim: Width of the model's pair embeddings.

    Raises:
        WeightsError: The file is missing or damaged, or belongs to another model.
    """
    try:
        with safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        pairs = EncodedPairs(
            tensors["forward"].float() * tensors["forward_scale"][:, None],
            tensors["backward"].float() * tensors["backward_scale"][:, None],
            tensors["nota"].float(),
        )
    except (OSError, SafetensorError, KeyError, RuntimeError, IndexError) as error:
        raise WeightsError(f"cannot read the background in {file}: {error}") from None
    count = len(pairs.nota)
    if [tuple(one.shape) for one in pairs] != [(count, dim), (count, dim), (count, 2)]:
        raise WeightsError(
            f"{file} does not fit this model; it is damaged or belongs to another model"
        )
    return pairs
