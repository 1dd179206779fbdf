"""What a model keeps of its training: some pairs' vectors, for what it learns later.

A relation that is added later is told from the pairs of the others only if there are any
(rehearsal: Robins, Connection Science 1995; exemplars: Rebuffi et al., CVPR 2017). A memory holds
what the pair tower made of them, their labels, and the number of the post that each stands in:
no text.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from rukh.errors import WeightsError
from rukh.records import Record

UNRELATED = 8
"""How many times as many pairs without a relation are kept as of each: most pairs have none."""


class MemoryConfig(Record):
    """Attributes:
    pairs_per_relation: Training pairs of each relation that the model keeps; 0 keeps none.
    min_pairs: A relation with fewer training pairs is not kept.
    """

    pairs_per_relation: int = Field(default=0, ge=0, le=1000)
    min_pairs: int = Field(default=1, ge=1)


@dataclass(frozen=True)
class Memory:
    """``M`` labelled pairs as the pair tower reads them.

    Attributes:
        names: The labels that occur; NOTA may be one of them.
        label: ``(M,)`` which of ``names`` each pair carries, from head to tail.
        forward, backward: ``(M, dim)`` the pairs' embeddings, from head to tail and from tail to head.
        nota: ``(M, 2)`` the logit of NOTA, forward and backward.
        post: ``(M,)`` the number of the post in the corpus.

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
        """The pairs' labels by name."""
        return [self.names[k] for k in self.label.tolist()]

    def joined(self, other: Memory) -> Memory:
        """Both memories' pairs as one memory."""
        names = tuple(dict.fromkeys([*self.names, *other.names]))
        labels = [names.index(name) for name in [*self.labels, *other.labels]]
        parts = {
            name: torch.cat([getattr(self, name), getattr(other, name)])
            for name in ("forward", "backward", "nota", "post")
        }
        return Memory(names, torch.tensor(labels, dtype=torch.long), **parts)

    def without(self, names: Collection[str]) -> Memory:
        """The pairs that carry none of these labels."""
        kept = torch.tensor([name not in names for name in self.labels], dtype=torch.bool)
        parts = ("label", "forward", "backward", "nota", "post")
        return replace(self, **{name: getattr(self, name)[kept] for name in parts})


def sampled(
    labels: Sequence[str | None], config: MemoryConfig, nota: str | None, seed: int = 0
) -> list[int]:
    """Which pairs to keep, in order: of each relation and, :data:`UNRELATED` as many, of NOTA.

    Example:
        >>> sampled(["in", "in", "in", None, "near"], MemoryConfig(pairs=2, least=2), "none")
        [1, 2]
    """
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        if label is not None:
            places.setdefault(label, []).append(place)
    drawn = random.Random(seed)
    kept: list[int] = []
    for label, found in sorted(places.items()):
        if label == nota:
            kept += drawn.sample(found, min(UNRELATED * config.pairs_per_relation, len(found)))
        elif len(found) >= config.min_pairs:
            kept += drawn.sample(found, min(config.pairs_per_relation, len(found)))
    return sorted(kept)


def stored(memory: Memory) -> bytes:
    """A memory as a safetensors file; vectors as whole numbers of 8 bits, each with its scale."""
    from safetensors.torch import save

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
    """The memory in a file that holds :func:`stored`.

    Args:
        dim: Width of the model's pair embeddings.

    Raises:
        WeightsError: The file is unreadable or damaged, or holds another model's memory.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            names = [str(name) for name in json.loads((opened.metadata() or {})["names"])]
        count = len(found["label"])
        forward, backward = (found[n].float() * found[f"{n}_scale"][:, None] for n in ("forward", "backward"))
        memory = Memory(
            tuple(names),
            found["label"].long(),
            forward,
            backward,
            found["nota"].float(),
            found["post"].long(),
        )
        outside = count and not 0 <= int(memory.label.min()) <= int(memory.label.max()) < len(names)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, IndexError) as error:
        raise WeightsError(f"cannot read the memory in {file}: {error}") from None
    shapes = (memory.forward.shape, memory.backward.shape, memory.nota.shape, memory.post.shape)
    if outside or shapes != ((count, dim), (count, dim), (count, 2), (count,)):
        raise WeightsError(f"{file} is no memory of this model; it is damaged or another's")
    return memory
