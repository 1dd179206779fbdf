"""The relation tower, and the two heads behind one interface: retrieval and classification.

ROC, section 3 ("relation encoder"): descriptions are embedded, and the pair embedding retrieves
the nearest relation. The classifier head on the same pair tower is the baseline.
"""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rukh.errors import InputError
from rukh.modeling.pair_encoder import PairEncoding
from rukh.modeling.relation_bank import RelationBank
from rukh.records import Record
from rukh.schema.descriptions import Description
from rukh.schema.schema import RelationSchema

CELLS = 1 << 20
"""Scores of pairs and prototypes that stand in memory at once, of some five tensors: 20 MB."""


class RelationConfig(Record):
    """Options of the relation tower.

    Attributes:
        head: ``retrieval``, or ``classifier`` for the baseline.
        encoder: ``frozen``: the base encoder embeds descriptions once, a trained projection maps
            them. ``shared``: the pair tower's own text encoder embeds them. ``separate``: a second
            one does, whose top layers are trained.
        trainable_layers: Top layers of a separate encoder that are trained.
        reduction: How a relation's prototypes become one score.
        temperature: Where the learned temperature starts.
        refresh_steps: With a shared or separate encoder, steps after which the bank is embedded
            anew; a separate one learns at these steps.
        descriptions: The most descriptions a relation that are used; 0 uses all.
        names: Relations are known by the words of their names in place of their descriptions
            (true), or by descriptions alone (false). ``trained``: training shows the name as one
            more text; afterwards descriptions speak for themselves, as a name that is a common
            word ("movement") misleads, and only a relation without any goes by its name.
        sampled: In training, each relation is known by this many of its texts, drawn anew at every
            step, so that one alone has to do; 0 always uses all.
    """

    scorer: str = "retrieval"
    encoder: Literal["frozen", "shared"] = "frozen"
    reduction: Literal["mean", "max", "logsumexp"] = "logsumexp"
    temperature: float = Field(default=0.07, gt=0)
    refresh_steps: int = Field(default=50, ge=1)
    max_descriptions: int = Field(default=0, ge=0)
    label_names: bool | Literal["trained"] = False
    descriptions_per_step: int = Field(default=0, ge=0)


class PairScores(NamedTuple):
    """``Q`` pairs against ``R`` relations.

    Attributes:
        logits: ``(Q, 1 + R)``, NOTA first.
        match: ``(Q, R)`` which of a relation's prototypes is its best, as a column of the table.
    """

    logits: Tensor
    match: Tensor


class Scorer(Protocol):
    """Scores pair embeddings against a bank."""

    def __call__(self, pairs: PairEncoding, bank: RelationBank) -> PairScores:
        """Logits over NOTA and the bank's relations."""


def similarity(
    pairs: Tensor, prototypes: Tensor, table: Tensor, reduction: str, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Scaled cosine of pairs and relations, some relations at a time: memory does not grow with
    their descriptions, and their number only by what is returned.

    Args:
        pairs: ``(Q, d)``, normalised.
        prototypes: ``(M, d)``, normalised.
        table: ``(R, K)`` prototypes of each relation, -1 for none.
        reduction: ``mean`` and ``max`` of a relation's cosines; ``logsumexp`` is the logarithm of
            their mean exponential, a soft maximum, which like the others does not grow with the
            number of descriptions.
        scale: Inverse temperature.

    Returns:
        ``(Q, R)`` logits and ``(Q, R)`` the best prototype's column in the table.
    """
    step = max(1, CELLS // max(1, len(pairs) * table.shape[1]))
    blocks = []
    for rows in torch.split(table, step):
        if step < len(table) and torch.is_grad_enabled():
            # Else what the gradient needs of all blocks would be kept.
            block = checkpoint(
                _block,
                *(pairs, prototypes, rows, reduction, scale),
                use_reentrant=False,
                preserve_rng_state=False,
            )
        else:
            block = _block(pairs, prototypes, rows, reduction, scale)
        blocks.append(block)
    logits, match = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    return logits.T, match.T


def _block(
    pairs: Tensor, prototypes: Tensor, table: Tensor, reduction: str, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """As :func:`similarity`, of some relations, and with pairs last: ``(R, Q)``."""
    there = table >= 0
    used = table[there]
    first, last = int(used.min()), int(used.max()) + 1
    cosines = prototypes[first:last] @ (scale * pairs).T
    places = (table - first).clamp_min(0)
    if torch.equal(places.flatten(), torch.arange(len(cosines), device=places.device)):
        each = cosines.view(*table.shape, -1)  # all have as many texts: nothing to gather
    else:
        each = cosines[places]
    return _reduced(each, there, reduction)


def _reduced(each: Tensor, there: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """Scores of prototypes ``(R, K, Q)`` as scores of relations ``(R, Q)``, and the best columns.

    A relation's first prototype is always there. Columns are taken one by one: there are few, and
    none of the tensors made is as large as ``each``.
    """
    columns = [
        part if bool(here.all()) else part.masked_fill(~here[:, None], -math.inf)
        for part, here in zip(each.unbind(1), there.unbind(1), strict=True)
    ]
    best = columns[0]
    match = torch.zeros(best.shape, dtype=torch.int16, device=best.device)
    for k, column in enumerate(columns[1:], 1):
        match = torch.maximum(match, k * (column > best).to(match.dtype))
        best = torch.maximum(best, column)
    if reduction == "max" or len(columns) == 1:
        return best, match
    count = there.sum(1, keepdim=True)
    if reduction == "mean":
        return each.masked_fill(~there[..., None], 0.0).sum(1) / count, match
    top = best.detach()  # a shift, of which the result does not depend
    total = (columns[0] - top).exp()
    for column in columns[1:]:
        total = total + (column - top).exp()
    return top + total.log() - count.log(), match


class _Kept(NamedTuple):
    """What a bank's descriptions are in the pairs' space, and the weights that put them there."""

    bank: RelationBank
    weight: Tensor
    bias: Tensor
    prototypes: Tensor


def anchored(pairs: Tensor, anchors: Tensor, scale: Tensor) -> Tensor:
    """What anchors add to relations' logits.

    Args:
        pairs: ``(Q, d)``, normalised.
        anchors: ``(R, d + 1)``; see :class:`rukh.modeling.relation_bank.RelationBank`.
        scale: Inverse temperature.

    Returns:
        ``(Q, R)``.
    """
    return scale * (pairs @ anchors[:, :-1].T) + anchors[:, -1]


class RetrievalScorer(nn.Module):
    """Retrieval: scaled cosine to the projected descriptions, and NOTA's own logit.

    NOTA is conditioned on the pair alone and appended to whatever bank, so that it holds for
    schemas that training never showed.

    Args:
        dim: Width of pair embeddings.
        text_dim: Width of the bank's vectors.
        config: See :class:`RelationConfig`.
    """

    def __init__(
        self, dim: int, text_dim: int, config: RelationConfig, schema: RelationSchema
    ) -> None:
        super().__init__()
        self.reduction = config.reduction
        self.projection = nn.Linear(text_dim, dim)
        if text_dim == dim:
            # Begin in the sentence encoder's own space, where like descriptions already lie close.
            nn.init.eye_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.nota = nn.Linear(dim, 1)
        self._kept: _Kept | None = None

    @property
    def scale(self) -> Tensor:
        """The inverse temperature of its cosines."""
        # CLIP's bound: a sharper temperature than 0.01 only makes training unstable.
        return self.log_scale.clamp(max=math.log(100)).exp()

    def prototypes(self, bank: RelationBank) -> Tensor:
        """The bank's descriptions in the pairs' space, ``(M, dim)``, normalised."""
        return nn.functional.normalize(self.projection(bank.vectors), dim=-1)

    def _known(self, bank: RelationBank) -> _Kept:
        """The prototypes of the bank that was asked last are kept as long as the weights stand.

        The weights themselves are compared: they are few, and nothing that changes them, by
        whatever way, goes unseen.
        """
        kept, weight, bias = self._kept, self.projection.weight, self.projection.bias
        if (
            kept is None
            or kept.bank is not bank
            or (kept.weight.dtype, kept.weight.device) != (weight.dtype, weight.device)
            or not (torch.equal(kept.weight, weight) and torch.equal(kept.bias, bias))
        ):
            made = self.prototypes(bank)
            kept = _Kept(bank, weight.detach().clone(), bias.detach().clone(), made)
            self._kept = kept
        return kept

    def forward(self, pairs: PairEncoding, bank: RelationBank) -> PairScores:
        """See :class:`Head`.

        With gradients, prototypes are made anew.
        """
        kept = None if torch.is_grad_enabled() else self._known(bank)
        prototypes = self.prototypes(bank) if kept is None else kept.prototypes
        logits, match = similarity(
            pairs.embedding, prototypes, bank.prototypes, self.reduction, self.scale
        )
        if bank.anchors is not None:
            logits = logits + anchored(pairs.embedding, bank.anchors, self.scale)
        return PairScores(torch.cat([self.nota(pairs.hidden), logits], 1), match)


class ClassificationScorer(nn.Module):
    """The field's habit: one weight vector a label. It knows only the schema it was made for."""

    def __init__(
        self, dim: int, text_dim: int, config: RelationConfig, schema: RelationSchema
    ) -> None:
        super().__init__()
        self.names = schema.names
        self.output = nn.Linear(dim, 1 + len(self.names))

    def forward(self, pairs: PairEncoding, bank: RelationBank) -> PairScores:
        """See :class:`Head`. Raises InputError for another schema's bank."""
        if bank.names != self.names:
            raise InputError(
                "a classifier cannot take relations that it was not trained on",
                fix="use a model whose head is retrieval",
            )
        logits = self.output(pairs.hidden)
        return PairScores(logits, torch.zeros_like(logits[:, 1:], dtype=torch.int16))


def worded(
    schema: RelationSchema, config: RelationConfig, training: bool = False
) -> RelationSchema:
    """The schema with the texts that the relation tower is to read.

    Example:
        >>> schema = worded(RelationSchema.load("mnre"), RelationConfig(names=True))
        >>> schema.relation("/per/org/member_of").descriptions
        ('per org member of',)
    """
    named = config.label_names is True or (training and config.label_names == "trained")
    if not named and not config.max_descriptions:
        return schema
    relations = []
    for relation in schema.relations:
        texts = relation.descriptions[: config.max_descriptions or None]
        if named:
            name = " ".join(re.findall(r"[^\W_]+", relation.name)) or relation.name
            others = () if config.label_names is True else texts
            texts = (Description(name), *(text for text in others if text != name))
        relations.append(relation.model_copy(update={"descriptions": texts}))
    return schema.model_copy(update={"relations": tuple(relations)})
