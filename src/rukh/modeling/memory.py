"""Memory of training pairs, to which the pairs of relations that were not trained are compared.

For some training pairs, the memory stores the pair embeddings, the label, and the index of the
post. It does not store text. It has two uses:

- Few-shot training distinguishes new relations from those of the model only if it also sees pairs
  of the latter (rehearsal: Robins, Connection Science 1995; exemplars: Rebuffi et al., CVPR 2017).
- Some descriptions are similar to almost every pair, others to hardly any. Unrelated pairs show how
  similar a description is by chance: its *background* (:func:`background`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rukh.errors import WeightsError
from rukh.modeling.directions import DirectionMode, merge_directions
from rukh.modeling.pair_encoder import PairEncoding
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import Scorer
from rukh.records import Record

BACKGROUND_QUANTILE = 0.97
"""Fraction of the unrelated pairs whose logit, compared with that of NOTA, is below a relation's
background."""
BACKGROUND_WEIGHT = 0.5
"""Share of the background to subtract. All of it finds more, but also answers where nothing holds.
This and :data:`BACKGROUND_QUANTILE` were chosen on the development set."""
MIN_BACKGROUND = 200
"""Minimum number of unrelated pairs from which a background is computed."""
_PER_PAIR = ("label", "forward", "backward", "nota", "post")


class MemoryConfig(Record):
    """Options that select the training pairs to store with a model.

    Attributes:
        pairs_per_relation: Maximum number of training pairs per relation; 0 stores no memory.
        min_pairs: Minimum number of training pairs that a relation must have to be stored.
        unrelated_pairs: Maximum number of training pairs without a relation.
    """

    pairs_per_relation: int = Field(default=0, ge=0, le=1000)
    min_pairs: int = Field(default=1, ge=1)
    unrelated_pairs: int = Field(default=0, ge=0, le=10_000)


@dataclass(frozen=True)
class Memory:
    """Encodings of ``M`` labelled pairs.

    Attributes:
        names: The distinct labels, which may include NOTA.
        label: ``(M,)`` index into ``names`` of the label from head to tail.
        forward: ``(M, dim)`` pair embeddings from head to tail.
        backward: ``(M, dim)`` pair embeddings from tail to head.
        nota: ``(M, 2)`` logits of NOTA from head to tail and from tail to head.
        post: ``(M,)`` index of the post in the corpus.

    Example:
        >>> from rukh.modeling.model import RelationModel
        >>> memory = RelationModel.from_pretrained("open").memory
        >>> memory.forward.shape[1], memory.labels.count("composer")
        (384, 7)
    """

    names: tuple[str, ...]
    label: Tensor
    forward: Tensor
    backward: Tensor
    nota: Tensor
    post: Tensor

    def __len__(self) -> int:
        return len(self.label)

    @property
    def labels(self) -> list[str]:
        """Name of the label of each pair."""
        return [self.names[index] for index in self.label.tolist()]

    def with_label(self, name: str | None) -> Memory:
        """Return a memory with only the pairs of this label."""
        rows = torch.tensor([label == name for label in self.labels], dtype=torch.bool)
        return Memory(self.names, **{key: getattr(self, key)[rows] for key in _PER_PAIR})

    def join(self, other: Memory) -> Memory:
        """Return a memory with the pairs of this and of another memory."""
        names = tuple(dict.fromkeys([*self.names, *other.names]))
        label = torch.tensor([names.index(name) for name in [*self.labels, *other.labels]]).long()
        rest = {
            name: torch.cat([getattr(self, name), getattr(other, name)]) for name in _PER_PAIR[1:]
        }
        return Memory(names, label, **rest)


def sample_pairs(
    labels: Sequence[str | None], config: MemoryConfig, nota: str | None, seed: int = 0
) -> list[int]:
    """Sample the pairs to store.

    Args:
        labels: Label of each pair; pairs without a label are never sampled.
        nota: Name of the NOTA label.

    Returns:
        Indices of the sampled pairs in ascending order.

    Example:
        >>> config = MemoryConfig(pairs_per_relation=2, min_pairs=2)
        >>> sample_pairs(["in", "in", "in", None, "near"], config, "none")
        [1, 2]
    """
    indices: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        if label is not None:
            indices.setdefault(label, []).append(index)
    generator = random.Random(seed)
    kept: list[int] = []
    for label, candidates in sorted(indices.items()):
        count = config.unrelated_pairs if label == nota else config.pairs_per_relation
        if label != nota and len(candidates) < config.min_pairs:
            continue
        kept += generator.sample(candidates, min(count, len(candidates)))
    return sorted(kept)


def score_memory(memory: Memory, scorer: Scorer, bank: RelationBank) -> tuple[Tensor, Tensor]:
    """Compute the logits ``(M, 1 + R)`` of stored pairs in both directions, in the CPU's memory.

    Args:
        bank: The relations, on the device of the scorer.
    """
    logits = []
    for embedding, nota in zip((memory.forward, memory.backward), memory.nota.T, strict=True):
        moved = embedding.to(bank.vectors.device)
        encoding = PairEncoding(moved, torch.zeros_like(moved), moved.new_zeros(0))
        relations = scorer(encoding, bank).logits[:, 1:].cpu()
        logits.append(torch.cat([nota[:, None], relations], 1))
    return logits[0], logits[1]


def background(
    forward: Tensor, backward: Tensor, bank: RelationBank, mode: DirectionMode
) -> Tensor:
    """Compute what to subtract from logits, as descriptions are similar to unrelated pairs too.

    This counters hubness, which makes a few points the nearest of many others (Radovanović et al.,
    JMLR 2010), as score normalization does in speaker verification (z-norm: Li and Porter, 1988).

    Args:
        forward, backward: Logits ``(M, 1 + R)`` of unrelated pairs in both directions.
        mode: The model's directions, which determine the columns.

    Returns:
        ``(C,)``: for each logit column, :data:`BACKGROUND_WEIGHT` times the quantile
        :data:`BACKGROUND_QUANTILE` of its difference from the logit of NOTA; 0 for NOTA.
    """
    both = [(forward, backward), (backward, forward)]
    if mode == "joint":
        logits = torch.cat([merge_directions(*one, bank) for one in both])
    else:
        logits = torch.cat([one for one, _ in both])
    return BACKGROUND_WEIGHT * (logits - logits[:, :1]).quantile(BACKGROUND_QUANTILE, 0)


def memory_to_bytes(memory: Memory) -> bytes:
    """Serialize a memory as safetensors, its embeddings as 8-bit integers with a scale for each."""
    tensors = {
        "label": memory.label.to(torch.int16),
        "nota": memory.nota.half(),
        "post": memory.post.to(torch.int32),
    }
    for name in ("forward", "backward"):
        vectors: Tensor = getattr(memory, name)
        scale = vectors.abs().amax(1, keepdim=True).clamp_min(1e-6) / 127
        tensors[name] = (vectors / scale).round().to(torch.int8)
        tensors[f"{name}_scale"] = scale[:, 0].float()
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    return save(contiguous, metadata={"names": json.dumps(memory.names)})


def read_memory(file: Path, dim: int) -> Memory:
    """Read a memory that was serialized by :func:`memory_to_bytes`.

    Args:
        dim: Width of the model's pair embeddings.

    Raises:
        WeightsError: The file is missing or damaged, or belongs to another model.
    """
    try:
        with safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            names = tuple(str(name) for name in json.loads((opened.metadata() or {})["names"]))
        memory = Memory(
            names,
            tensors["label"].long(),
            tensors["forward"].float() * tensors["forward_scale"][:, None],
            tensors["backward"].float() * tensors["backward_scale"][:, None],
            tensors["nota"].float(),
            tensors["post"].long(),
        )
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, IndexError) as error:
        raise WeightsError(f"cannot read the memory in {file}: {error}") from None
    count, label = len(memory), memory.label
    expected = [(count,), (count, dim), (count, dim), (count, 2), (count,)]
    shapes = [tuple(getattr(memory, name).shape) for name in _PER_PAIR]
    if shapes != expected or not ((label >= 0) & (label < len(names))).all():
        raise WeightsError(
            f"{file} does not fit this model; it is damaged or belongs to another model"
        )
    return memory
