"""The relation tower in training: which texts a step shows, and when they are embedded anew.

Embedding every description with gradient at every step costs as much as the posts themselves. A
frozen encoder embeds them once; a shared or separate one every ``refresh_steps`` steps, and a
separate one learns at just these steps. In between only the projection of the vectors moves.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from rukh.modeling.model import RelationModel
from rukh.modeling.relation_bank import RelationBank
from rukh.schema.schema import RelationSchema


class TrainingBanks:
    """The banks of one training run.

    Args:
        model: Its schema's relations are shown.

    Attributes:
        asked: The bank as the finished model will have it; what is judged is judged by this one.
    """

    def __init__(self, model: RelationModel) -> None:
        self.model, self.config = model, model.config.relation
        self.moving = self.config.encoder != "frozen"
        self._contrasts = contrast_schema(model.schema)
        self._since = 0
        self.asked: RelationBank
        self.shown: RelationBank
        self.contrasts: RelationBank | None
        self._embed_all()

    def settle(self) -> None:
        """Embed by the weights as they are, to judge them, what moves with them."""
        if self.moving:
            self._embed_all()

    def _embed_all(self) -> None:
        with torch.no_grad():
            self.asked = self._bank()
        self._embed(learning=False)

    def restart(self) -> None:
        """The next step embeds anew: a resumed run has to, so an undisturbed one does too."""
        self._since = 0

    def step(self) -> tuple[RelationBank, RelationBank | None]:
        """The bank of the next step, and one of descriptions that no pair belongs to, or None."""
        if self.moving:
            if self._since % self.config.refresh_steps == 0:
                self._embed(learning=self.config.encoder == "separate")
            else:
                self.shown = _still(self.shown)
                self.contrasts = None if self.contrasts is None else _still(self.contrasts)
            self._since += 1
        count = self.config.descriptions_per_step
        return (self.shown.sampled(count) if count else self.shown), self.contrasts

    def _embed(self, learning: bool) -> None:
        with torch.set_grad_enabled(learning):
            self.shown = self._bank(training=True)
            self.contrasts = None if self._contrasts is None else self._bank(self._contrasts)

    def _bank(
        self, schema: RelationSchema | None = None, *, training: bool = False
    ) -> RelationBank:
        mode = self.model.training
        self.model.eval()
        bank = self.model.bank(schema, training=training)
        self.model.train(mode)
        return bank


def contrast_schema(schema: RelationSchema) -> RelationSchema | None:
    """What relations say that they are not, each as a relation of its own; None where none does.

    Example:
        >>> schema = RelationSchema.parse({"name": "s", "relations": [
        ...     {"name": "owns", "descriptions": ["has it"], "contrasts": ["rents it"]}]})
        >>> contrast_schema(schema).relation("owns: not 0").descriptions
        ('rents it',)
    """
    found = [
        {"name": f"{relation.name}: not {k}", "descriptions": [text]}
        for relation in schema.relations
        for k, text in enumerate(relation.contrasts)
    ]
    if not found:
        return None
    return RelationSchema.parse({"name": "contrasts", "relations": found})


def _still(bank: RelationBank) -> RelationBank:
    return replace(bank, vectors=bank.vectors.detach())
