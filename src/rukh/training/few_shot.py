"""Few-shot learning of new relations, without forgetting the other relations.

Each new relation gets an *anchor*, a linear function of the pair embedding that is added to its
logit. Anchors are fitted with a softmax over all relations, on the examples and on the pairs of
other relations in the model's memory (rehearsal; see :mod:`rukh.modeling.memory`). The weights of
the model and the logits of the other relations do not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rukh.errors import InputError, listed
from rukh.extractor import Extractor
from rukh.hub import model_folder
from rukh.modeling.card import rename_card
from rukh.modeling.directions import merge_directions, target_columns
from rukh.modeling.inference import encode_memory
from rukh.modeling.memory import Memory, score_memory
from rukh.modeling.model import RelationModel
from rukh.modeling.scorers import RetrievalScorer, anchor_logits
from rukh.records import Post
from rukh.schema.schema import RelationSchema

L2_PENALTY = 10.0
"""Weight of the anchors' squared norm, which keeps relations near their descriptions."""
MEMORY_WEIGHT = 4.0
"""Weight of a relation in the memory relative to a new relation. With a higher weight, the model
forgets less of the old relations and learns less of the new ones. This constant and
:data:`L2_PENALTY` were chosen on the calibration split of ``research.zero_shot``."""
NOTA_WEIGHT = 8.0
"""Maximum weight of all unrelated pairs in the memory relative to its most frequent relation."""
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
    known = 0 if model.memory is None else len(model.memory)
    add_relations(model, schema, examples)
    assert model.memory is not None
    counts = Counter(model.memory.labels[known:])
    names = ", ".join(f"`{name}`" for name in model.config.anchored_relations)
    card = model.card.partition(CARD_HEADING)[0]
    card = rename_card(card, out.name) + (
        f"{CARD_HEADING}{names}. The memory holds the embeddings of these examples. The figures "
        "above are those of the model without these relations.\n"
    )
    model.save(out, card)
    return {name: counts[name] for name in schema.names}


def add_relations(model: RelationModel, schema: RelationSchema, examples: Sequence[Post]) -> None:
    """Add the relations of labelled examples to a model, and the examples to its memory, in place.

    Args:
        model: A retrieval model with a memory.
        schema: The new relations. Relations without an example are not added.
        examples: Labelled posts; about five per relation are recommended.

    Raises:
        InputError: The model has no memory, the model is not a retrieval model, a label is not in
            the schema, no pair is labelled, or the model has a different relation of the same name.
    """
    if not isinstance(model.scorer, RetrievalScorer):
        raise InputError(
            "a classification model cannot learn new relations",
            fix="use a model with relation.scorer: retrieval",
        )
    if model.memory is None:
        raise InputError(
            "the model has no memory of its training pairs, so it would forget its own relations",
            fix="use `open`, or train a model with memory.pairs_per_relation above 0",
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
    added = _encode(model, schema, examples)
    anchors = dict(zip(model.config.anchored_relations, model.anchors.cpu(), strict=True))
    anchors = {name: anchor for name, anchor in anchors.items() if name not in added.names}
    without_example = {*schema.names} - {*added.names, *model.schema.names}
    model.schema = RelationSchema.merge([model.schema, schema], without_example)
    _set_anchors(model, anchors)
    memory = model.memory.join(added)
    new = _fit_anchors(model, memory, len(model.memory), added.names)
    _set_anchors(model, anchors | dict(zip(added.names, new, strict=True)))
    model.memory = memory


def _encode(model: RelationModel, schema: RelationSchema, posts: Sequence[Post]) -> Memory:
    """Encode the pairs whose label is a relation, not NOTA."""
    examples = []
    for post in map(schema.resolve_labels, posts):
        pairs = tuple(p for p in post.pairs or () if p.relation not in (None, schema.nota))
        if pairs:
            examples.append(post.model_copy(update={"pairs": pairs}))
    if not examples:
        raise InputError("no pair of the examples is labelled with a relation")
    extractor = Extractor(model, schema=schema)
    examples = extractor.assign_types(examples)
    return encode_memory(model, extractor.bank, examples, extractor.visual_features(examples))


def _set_anchors(model: RelationModel, anchors: dict[str, Tensor]) -> None:
    model.config = model.config.model_copy(update={"anchored_relations": tuple(anchors)})
    stacked = torch.stack(list(anchors.values())) if anchors else model.anchors[:0]
    model.anchors = stacked.to(model.device)


def _fit_anchors(model: RelationModel, memory: Memory, num_old: int, new: Sequence[str]) -> Tensor:
    """Fit the anchors ``(N, dim + 1)`` of ``N`` new relations by convex optimisation, on the CPU.

    The first ``num_old`` pairs of the memory come from the model, the others are the new examples.
    """
    scorer, bank, nota = model.scorer, model.bank(), model.schema.nota
    assert isinstance(scorer, RetrievalScorer)
    mode = model.config.direction_mode
    directions = (memory.forward, memory.backward)
    with torch.no_grad():
        scale = scorer.scale.cpu()
        base = score_memory(memory, scorer, bank.to(model.device))
    target = torch.tensor([target_columns(name, bank, nota, mode)[0] for name in memory.labels])
    weights = _pair_weights(memory, num_old, len(new), nota)
    columns = torch.tensor([1 + bank.names.index(name) for name in new])
    anchors = torch.zeros(len(new), memory.forward.shape[1] + 1, requires_grad=True)
    solver = torch.optim.LBFGS([anchors], max_iter=LBFGS_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        forward, backward = (
            logits.index_add(1, columns, anchor_logits(embedding, anchors, scale))
            for logits, embedding in zip(base, directions, strict=True)
        )
        logits = merge_directions(forward, backward, bank) if mode == "joint" else forward
        losses = cross_entropy(logits / model.config.temperature, target, reduction="none")
        loss = (weights * losses).sum() + L2_PENALTY * (anchors[:, :-1] ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        solver.step(closure)  # type: ignore[no-untyped-call]
    return anchors.detach()


def _pair_weights(memory: Memory, num_old: int, num_new: int, nota: str | None) -> Tensor:
    """Compute the weight of each pair in the loss, ``(M,)``.

    The weight of an example is 1. All old pairs have the same weight. It is chosen so that the most
    frequent old relation has :data:`MEMORY_WEIGHT` times the total weight of an average new one.
    Unrelated pairs have less if their total would exceed :data:`NOTA_WEIGHT`.
    """
    labels = memory.labels[:num_old]
    counts = Counter(name for name in labels if name != nota)
    most_frequent = max(counts.values(), default=1)
    examples_per_relation = (len(memory) - num_old) / num_new
    weights = torch.ones(len(memory))
    weights[:num_old] = MEMORY_WEIGHT * examples_per_relation / most_frequent
    unrelated = [row for row, name in enumerate(labels) if name == nota]
    weights[unrelated] *= min(1.0, NOTA_WEIGHT * most_frequent / max(1, len(unrelated)))
    return weights
