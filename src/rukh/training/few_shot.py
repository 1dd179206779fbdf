"""Few-shot learning of relations from labelled posts, without training the encoder.

Each relation gets an *anchor*, a linear function of the pair embedding that is added to its logit.
It begins as the direction of the mean embedding of the examples (prototypes: Snell et al., NeurIPS
2017), which counts the more, the more examples there are. A logistic regression then refines all
anchors together. The weights of the model and the logits of its other relations do not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rukh.errors import InputError, listed
from rukh.extractor import Extractor
from rukh.hub import model_folder
from rukh.modeling.background import EncodedPairs, score_encoded
from rukh.modeling.card import rename_card
from rukh.modeling.directions import merge_directions, target_columns
from rukh.modeling.inference import encode_both_directions
from rukh.modeling.model import RelationModel
from rukh.modeling.scorers import RetrievalScorer, anchor_logits
from rukh.records import Post
from rukh.schema.schema import RelationSchema

PRIOR_EXAMPLES = 5.0
"""Number of examples with which an anchor has half of its full weight."""
L2_PENALTY = 100.0
"""Weight of the squared norm of what the refinement adds to an anchor."""
UNRELATED_WEIGHT = 0.25
"""Weight of an unrelated pair in the refinement. There are usually many."""
LBFGS_STEPS = 60
CARD_HEADING = "\n## Relations added from examples\n\n"


def adapt(
    source: str | Path,
    schema: RelationSchema,
    examples: Sequence[Post],
    out: Path,
    *,
    device: str | torch.device = "auto",
) -> dict[str, int]:
    """Write a copy of a model to which new relations were added; see :func:`add_relations`.

    Args:
        source: Name of a shipped model, or path of a model folder.
        out: Folder of the adapted model. The source's own weights are copied unchanged.
        device: Name of the device that encodes the examples, as in
            :func:`rukh.modeling.device.choose_device`.

    Returns:
        The number of examples of each relation of the schema.

    Raises:
        WeightsError: There is no such model.
        InputError: ``out`` is the folder of the source, the relations cannot be added, or there
            is no such device.
    """
    folder = model_folder(source)
    if folder.resolve() == out.resolve():
        raise InputError(
            "the adapted model would replace its source", where=str(out), fix="choose another --out"
        )
    model = RelationModel.from_pretrained(folder, device=device)
    counts = add_relations(model, schema, examples)
    names = ", ".join(f"`{name}`" for name in model.config.anchored_relations)
    card = model.card.partition(CARD_HEADING)[0]
    card = rename_card(card, out.name) + (
        f"{CARD_HEADING}{names}. The figures above are those of the model without these examples.\n"
    )
    model.save(out, card)
    return {name: counts[name] for name in schema.names}


def add_relations(
    model: RelationModel, schema: RelationSchema, examples: Sequence[Post]
) -> Counter[str]:
    """Add the relations of a schema to a model, with what labelled examples say of them, in place.

    Afterwards, the model predicts the relations of the schema if no other schema is given.

    Args:
        model: A retrieval model.
        schema: The relations. Those without an example are described only.
        examples: Labelled posts. Pairs that are labelled NOTA or None are unrelated: they show
            what similarity to the examples is worth nothing. A relation that has examples from an
            earlier call keeps only those of this one.

    Returns:
        The number of examples of each relation.

    Raises:
        InputError: The model is not a retrieval model, a label is not in the schema, no pair is
            labelled with a relation, or the model has a different relation of the same name.
    """
    if not isinstance(model.scorer, RetrievalScorer):
        raise InputError(
            "a classification model cannot learn new relations",
            fix="use a model with relation.scorer: retrieval",
        )
    if model.schema.nota in schema.names:
        raise InputError(
            f"the new relation {model.schema.nota!r} has the name of the model's NOTA label",
            fix="rename the relation, or declare it as the schema's nota",
        )
    other = [
        name
        for name in schema.names
        if name in model.schema.names
        and not {*model.schema.relation(name).descriptions} & {*schema.relation(name).descriptions}
    ]
    if other:
        raise InputError(
            f"the model has other relations of these names: {listed([*map(repr, other)])}",
            fix="rename them, in the schema and in the examples",
        )
    posts = [schema.resolve_labels(post) for post in examples if post.pairs]
    labels = [pair.relation for post in posts for pair in post.pairs or ()]
    counts = Counter(label for label in labels if label is not None and label != schema.nota)
    if not counts:
        raise InputError("no pair of the examples is labelled with a relation")
    extractor = Extractor(model, schema=schema)
    posts = extractor.assign_types(posts)
    encoded = encode_both_directions(model, extractor.bank, posts, extractor.visual_features(posts))
    scale = model.scorer.scale.detach().cpu()
    symmetric = {name for name in counts if schema.relation(name).symmetric}

    def anchor(name: str, without: int | None = None) -> Tensor:
        return make_anchor(encoded, labels, name, name in symmetric, scale, without)

    bank = replace(extractor.bank, anchors=None)
    columns = torch.tensor([1 + bank.names.index(name) for name in counts])
    means = torch.stack([anchor(name) for name in counts])
    with torch.no_grad():
        logits = score_encoded(encoded, model.scorer, bank.to(model.device))
    for embedding, own in zip(encoded[:2], logits, strict=True):
        gains = anchor_logits(embedding, means, scale)
        # An example is similar to a mean that it is part of. Other pairs will not be.
        for column, name in enumerate(counts):
            for row in [row for row, label in enumerate(labels) if label == name]:
                rest = anchor(name, without=row)[None]
                gains[row, column] = anchor_logits(embedding[row : row + 1], rest, scale)
        own.index_add_(1, columns, gains)
    mode, temperature = model.config.direction_mode, model.config.temperature
    targets = torch.tensor([target_columns(x, bank, schema.nota, mode)[0] for x in labels])
    weights = torch.where(targets > 0, 1.0, UNRELATED_WEIGHT)

    def loss(change: Tensor) -> Tensor:
        forward, backward = (
            own.index_add(1, columns, anchor_logits(embedding, change, scale))
            for own, embedding in zip(logits, encoded[:2], strict=True)
        )
        joint = merge_directions(forward, backward, bank) if mode == "joint" else forward
        return (weights * cross_entropy(joint / temperature, targets, reduction="none")).sum()

    new = means + refine(loss, means.shape)
    anchors = dict(zip(model.config.anchored_relations, model.anchors.cpu(), strict=True))
    merged = RelationSchema.merge([model.schema, schema])
    model.schema = merged.model_copy(update={"name": schema.name})  # as it is predicted by default
    anchors |= dict(zip(counts, new, strict=True))
    update = {"anchored_relations": tuple(anchors), "default_relations": schema.names}
    model.config = model.config.model_copy(update=update)
    model.anchors = torch.stack([*anchors.values()]).to(model.device)
    return counts


def make_anchor(
    pairs: EncodedPairs,
    labels: Sequence[str | None],
    name: str,
    symmetric: bool,
    scale: Tensor,
    without: int | None = None,
) -> Tensor:
    """Compute the anchor ``(dim + 1,)`` of a relation, weights and bias, from labelled pairs.

    It adds to a logit as much as a pair is more similar to the examples' mean than the average
    pair. With ``n`` examples, its weight is ``n / (n + PRIOR_EXAMPLES)``.

    Args:
        pairs: The pairs; those with other labels are part of the average.
        labels: Label of each pair.
        name: The relation.
        symmetric: Whether the examples hold in both directions.
        scale: Inverse temperature of the model's cosines.
        without: Index of an example to leave out.
    """
    rows = [row for row, label in enumerate(labels) if label == name and row != without]
    if not rows:
        return torch.zeros(pairs.forward.shape[1] + 1)
    examples = pairs.forward[rows]
    if symmetric:
        examples = torch.cat([examples, pairs.backward[rows]])
    mean = torch.nn.functional.normalize(examples.mean(0), dim=0)
    average = (pairs.forward.mean(0) + pairs.backward.mean(0)) @ mean / 2
    weight = len(rows) / (len(rows) + PRIOR_EXAMPLES)
    return torch.cat([weight * mean, (-weight * scale * average)[None]])


def refine(loss: Callable[[Tensor], Tensor], shape: Sequence[int]) -> Tensor:
    """Return small changes to anchors, of this shape, that lower a convex loss."""
    change = torch.zeros(shape, requires_grad=True)
    solver = torch.optim.LBFGS([change], max_iter=LBFGS_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        total = loss(change) + L2_PENALTY * (change[:, :-1] ** 2).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        solver.step(closure)  # type: ignore[no-untyped-call]
    return change.detach()
