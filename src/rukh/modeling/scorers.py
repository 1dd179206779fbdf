"""Scorers, which compute the logits of encoded pairs over the relations of a bank.

Retrieval (ROC, section 3) compares a pair embedding with the embedded descriptions of relations,
which may include relations that do not occur in training. Classification learns one weight vector
per label and serves as a baseline with the same pair encoder.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rukh.errors import InputError, listed
from rukh.modeling.pair_encoder import PairEncoding
from rukh.modeling.relation_bank import RelationBank
from rukh.records import Record
from rukh.schema.descriptions import Description, is_split, normalize_text
from rukh.schema.schema import RelationSchema

logger = logging.getLogger(__name__)

MAX_COSINES = 1 << 20
"""Maximum number of cosines that are computed at once; they take about 20 MB of memory."""
MAX_SCALE = 100.0
"""Upper bound of the inverse temperature, as in CLIP. Training is unstable with higher values."""
Reduction = Literal["mean", "max", "logsumexp"]


class RelationConfig(Record):
    """Options for the descriptions and the scores of relations.

    Attributes:
        scorer: ``retrieval``, or ``classification`` for the baseline.
        reduction: Function that combines the similarities of descriptions, see :func:`similarity`.
        temperature: Initial value of the learned temperature.
        max_descriptions: Maximum number of descriptions per relation; 0 uses all.
        label_names: Whether the names of relations are used as descriptions. ``true``: Names
            replace the descriptions. ``false``: Only descriptions are used. ``trained``: Names are
            additional descriptions in training. After training, only relations without descriptions
            use their names, because a name that is a common word ("movement") is ambiguous.
        descriptions_per_step: Number of descriptions per relation to sample in each training step,
            so that the model learns to use each of them alone; 0 uses all.
    """

    scorer: str = "retrieval"
    reduction: Reduction = "logsumexp"
    temperature: float = Field(default=0.07, gt=0)
    max_descriptions: int = Field(default=0, ge=0)
    label_names: bool | Literal["trained"] = False
    descriptions_per_step: int = Field(default=0, ge=0)


GateT = TypeVar("GateT")


class PairScores(NamedTuple, Generic[GateT]):
    """Scores of ``Q`` pairs against ``R`` relations, for a batch or for one post.

    Attributes:
        logits: ``(Q, C)`` logits of NOTA, followed by the relations. ``C`` is ``1 + R``, or more in
            a joint decision; see :func:`rukh.modeling.directions.merge_directions`.
        best_description: ``(Q, R)`` column in :attr:`RelationBank.prototypes` of the most similar
            description of each relation.
        gate: Predicted probability that the image matches the text. For a batch: ``(B,)``, NaN for
            sequences without an image. For a post: a number, or None if it has no image.
    """

    logits: Tensor
    best_description: Tensor
    gate: GateT


class Scorer(Protocol):
    """Interface of scorers of encoded pairs."""

    def __call__(self, pairs: PairEncoding, bank: RelationBank) -> PairScores[Tensor]:
        """Compute logits ``(Q, 1 + R)`` over NOTA and the relations of the bank."""

    def check_bank(self, bank: RelationBank) -> None:
        """Raise InputError if the scorer cannot score the relations of this bank."""


class RetrievalScorer(nn.Module):
    """Scorer by cosine similarity to the projected descriptions, with a learned logit of NOTA.

    The logit of NOTA only depends on the pair, so it can be used with any bank.

    Args:
        dim: Width of pair embeddings.
        text_dim: Width of the bank's vectors.
        config: Options.
        schema: Not used.
    """

    def __init__(
        self, dim: int, text_dim: int, config: RelationConfig, schema: RelationSchema
    ) -> None:
        super().__init__()
        self.reduction: Reduction = config.reduction
        self.projection = nn.Linear(text_dim, dim)
        if text_dim == dim:
            # Start with the space of the sentence encoder, where similar descriptions are close.
            nn.init.eye_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.nota = nn.Linear(dim, 1)
        self._cached: tuple[RelationBank, Tensor, Tensor, Tensor] | None = None

    @property
    def scale(self) -> Tensor:
        """Inverse temperature of the cosines."""
        return self.log_scale.clamp(max=math.log(MAX_SCALE)).exp()

    def check_bank(self, bank: RelationBank) -> None:
        """Accept every bank."""

    def project(self, bank: RelationBank) -> Tensor:
        """Map the bank's vectors to the space of pair embeddings, ``(M, dim)``, normalized."""
        return nn.functional.normalize(self.projection(bank.vectors), dim=-1)

    def _prototypes(self, bank: RelationBank) -> Tensor:
        """Call :meth:`project`; in inference, cache the result for the last bank and weights.

        On a GPU, projecting takes less time than waiting for the comparison with the cache.
        """
        if torch.is_grad_enabled() or not bank.vectors.is_cpu:
            return self.project(bank)
        # Compare the weights themselves, as version counters miss changes through ``.data``.
        weight, bias = self.projection.weight, self.projection.bias
        if self._cached is not None:
            cached_bank, cached_weight, cached_bias, prototypes = self._cached
            if cached_bank is bank and _same(cached_weight, weight) and _same(cached_bias, bias):
                return prototypes
        prototypes = self.project(bank)
        self._cached = bank, weight.detach().clone(), bias.detach().clone(), prototypes
        return prototypes

    def forward(self, pairs: PairEncoding, bank: RelationBank) -> PairScores[Tensor]:
        """See :class:`Scorer`."""
        logits, best = similarity(
            pairs.embedding, self._prototypes(bank), bank.prototypes, self.reduction, self.scale
        )
        if bank.anchors is not None:
            logits = logits + anchor_logits(pairs.embedding, bank.anchors, self.scale)
        return PairScores(torch.cat([self.nota(pairs.hidden), logits], 1), best, pairs.gate)


class ClassificationScorer(nn.Module):
    """Linear classifier over the labels of the schema that the model was trained on.

    Args:
        dim: Width of the hidden states of pairs.
        text_dim, config: Not used.
        schema: Schema that defines the labels.
    """

    def __init__(
        self, dim: int, text_dim: int, config: RelationConfig, schema: RelationSchema
    ) -> None:
        super().__init__()
        self.names = schema.names
        self.output = nn.Linear(dim, 1 + len(self.names))

    def check_bank(self, bank: RelationBank) -> None:
        """Raise InputError if the bank's relations differ from those of the training schema."""
        if bank.names != self.names:
            raise InputError(
                "a classification model cannot predict relations that it was not trained on",
                fix="use a model with relation.scorer=retrieval",
            )

    def forward(self, pairs: PairEncoding, bank: RelationBank) -> PairScores[Tensor]:
        """See :class:`Scorer`."""
        logits = self.output(pairs.hidden)
        best = torch.zeros_like(logits[:, 1:], dtype=torch.int16)
        return PairScores(logits, best, pairs.gate)


def similarity(
    pairs: Tensor, vectors: Tensor, prototypes: Tensor, reduction: Reduction, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the scaled cosine similarity of pairs and relations.

    Relations are processed in blocks, so memory use does not grow with the number of descriptions.

    Args:
        pairs: ``(Q, d)`` normalized pair embeddings.
        vectors: ``(M, d)`` normalized embeddings of the descriptions.
        prototypes: ``(R, K)`` indices into ``vectors`` of each relation, padded with -1.
        reduction: Function over a relation's descriptions: ``mean``, ``max``, or ``logsumexp``, the
            logarithm of the mean exponential. None of them grows with the number of descriptions.
        scale: Inverse temperature.

    Returns:
        Logits ``(Q, R)``, and columns ``(Q, R)`` in ``prototypes`` of the best descriptions.
    """
    size = max(1, MAX_COSINES // max(1, len(pairs) * prototypes.shape[1]))
    blocks = torch.split(prototypes, size)
    parts = []
    for block, bounds in zip(blocks, _block_bounds(blocks, vectors), strict=True):
        if len(blocks) > 1 and torch.is_grad_enabled():
            # Recompute a block in the backward pass instead of keeping all blocks in memory.
            scores = checkpoint(
                _block_similarity,
                *(pairs, vectors, block, bounds, reduction, scale),
                use_reentrant=False,
                preserve_rng_state=False,
            )
        else:
            scores = _block_similarity(pairs, vectors, block, bounds, reduction, scale)
        parts.append(scores)
    logits, best = (torch.cat(one) for one in zip(*parts, strict=True))
    return logits.T, best.T


def _block_bounds(blocks: Sequence[Tensor], vectors: Tensor) -> list[tuple[int, int]]:
    """Return the range of the vectors that each block of prototypes uses."""
    if len(blocks) == 1:
        return [(0, len(vectors))]
    last = [block.max() + 1 for block in blocks]
    first = [block.where(block >= 0, len(vectors)).min() for block in blocks]
    # A single transfer from a GPU.
    return [(a, b) for a, b in torch.stack([torch.stack(first), torch.stack(last)], 1).tolist()]


def _block_similarity(
    pairs: Tensor,
    vectors: Tensor,
    prototypes: Tensor,
    bounds: tuple[int, int],
    reduction: Reduction,
    scale: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute :func:`similarity` for one block of relations; both results have shape ``(R, Q)``."""
    present = prototypes >= 0
    first, last = bounds
    cosines = vectors[first:last] @ (scale * pairs).T
    cosines = cosines[(prototypes - first).clamp_min(0)]  # (R, K, Q)
    masked = cosines.masked_fill(~present[..., None], -math.inf)
    top, best = masked.max(1)
    best = best.to(torch.int16)
    count = present.sum(1, keepdim=True)
    if reduction == "max":
        return top, best
    if reduction == "mean":
        return cosines.masked_fill(~present[..., None], 0.0).sum(1) / count, best
    return masked.logsumexp(1) - count.log(), best


def anchor_logits(pairs: Tensor, anchors: Tensor, scale: Tensor) -> Tensor:
    """Compute the numbers that anchors add to the logits of relations, ``(Q, R)``.

    Args:
        pairs: ``(Q, d)`` normalized pair embeddings.
        anchors: ``(R, d + 1)`` anchors of :class:`rukh.modeling.relation_bank.RelationBank`.
        scale: Inverse temperature.
    """
    return scale * (pairs @ anchors[:, :-1].T) + anchors[:, -1]


def select_descriptions(
    schema: RelationSchema, config: RelationConfig, training: bool = False
) -> RelationSchema:
    """Return a copy of the schema with only the descriptions that are to be embedded.

    Args:
        training: Whether to add the names of relations if ``config.label_names`` is ``trained``.

    Example:
        >>> schema = RelationSchema.load("mnre")
        >>> schema = select_descriptions(schema, RelationConfig(label_names=True))
        >>> schema.relation("/per/org/member_of").descriptions
        ('per org member of',)
    """
    use_names = config.label_names is True or (training and config.label_names == "trained")
    if not use_names and not config.max_descriptions:
        return schema
    relations = []
    for relation in schema.relations:
        texts = relation.descriptions[: config.max_descriptions or None]
        if use_names:
            name = " ".join(re.findall(r"[^\W_]+", relation.name)) or relation.name
            others = () if config.label_names is True else texts
            texts = (Description(name), *(text for text in others if text != name))
        relations.append(relation.model_copy(update={"descriptions": texts}))
    return schema.model_copy(update={"relations": tuple(relations)})


def warn_undescribed(schema: RelationSchema, config: RelationConfig) -> None:
    """Warn of relations without a description except their name, and of split ones.

    Scorers that read no descriptions, or names in their place, need no warning.
    """
    if config.scorer != "retrieval" or config.label_names is True:
        return
    names, split = [], []
    for relation in schema.relations:
        if is_split(relation.descriptions):
            split.append(repr(relation.name))
        bare = {normalize_text(relation.name), normalize_text(relation.label_words)}
        texts = {normalize_text(text) for text in relation.descriptions}
        if relation.name != schema.nota and texts <= bare:
            names.append(repr(relation.name))
    if names:
        logger.warning(
            "relations of schema %r without a description except their name: %s; say in a "
            "sentence what each means for the head and the tail",
            schema.name,
            listed(names),
        )
    if split:
        logger.warning(
            "relations of schema %r whose descriptions look like one sentence, which YAML splits "
            "at commas within [ ]: %s; quote the sentence",
            schema.name,
            listed(split),
        )


def _same(one: Tensor, other: Tensor) -> bool:
    return (one.dtype, one.device) == (other.dtype, other.device) and torch.equal(one, other)
