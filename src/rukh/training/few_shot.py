"""A handful of examples for relations that a model has never seen, without forgetting the others.

A relation that is only described scores by its descriptions. Examples say where its pairs really
lie: its logit gains what a linear function of the pair's embedding says, an *anchor*. It is fitted
to tell the examples from the pairs of other relations that the model remembers of its training
(:mod:`rukh.modeling.memory`; rehearsal), by a softmax over all relations. No weight of the model changes and
no other relation's logit does, so that nothing is lost but what the new relations take away, and
the memory keeps that small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rukh.errors import InputError
from rukh.extractor import Extractor
from rukh.hub import model_folder
from rukh.modeling.adapters import read_state
from rukh.modeling.directions import merge_directions, target_columns
from rukh.modeling.inference import remember
from rukh.modeling.memory import Memory
from rukh.modeling.model import ANCHORS, RelationModel, write_model
from rukh.modeling.pair_encoder import PairEncoding
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import RetrievalScorer, anchored
from rukh.records import Post
from rukh.schema.schema import RelationSchema

DECAY = 10.0
"""Weight of the anchors' squared length: it keeps them near the descriptions alone."""
REMEMBERED = 4.0
"""Weight of a remembered relation, where one of the examples weighs 1: more keeps the old relations
and learns less of the new ones. Both are chosen on the split of relations that calibrates `rukh
study zero-shot`."""
STEPS = 60
ADAPTED = "\n## Adapted\n\n"


def adapted(model: RelationModel, schema: RelationSchema, posts: Sequence[Post]) -> RelationModel:
    """The model, which knows the relations of the examples as well.

    The examples go into its memory, so that relations that are added later leave them alone.

    Args:
        model: Its head is retrieval, and it has a memory. It is changed in place.
        schema: Of the examples. Its relations that no example shows stay as unknown as they were.
        posts: The examples; some five a relation are worth their labels.

    Raises:
        InputError: A label stands outside the schema, no pair is labelled with a relation, a
            relation has the name of another one that the model knows, or the model's head is not
            retrieval or it remembers nothing, so that new relations would take the place of all.
    """
    if not isinstance(model.scorer, RetrievalScorer):
        raise InputError(
            "only a model that retrieves relations by their descriptions takes new ones",
            fix="use a model whose head is retrieval",
        )
    if model.memory is None:
        raise InputError(
            "the model remembers none of its training pairs, to tell new relations from",
            fix="use `open`, or train one with memory.pairs_per_relation",
        )
    if model.schema.nota in schema.names:
        raise InputError(
            f"relation {model.schema.nota!r} has the name of what the model says where there is no "
            "relation",
            fix="give it another name, or make it the schema's nota",
        )
    examples = _examples(model, schema, posts)
    found = examples.names
    kept = {
        name: model.anchors[k] for k, name in enumerate(model.config.anchored_relations) if name not in found
    }
    unshown = {*schema.names} - {*found, *model.schema.names}
    model.schema = RelationSchema.merge([model.schema, schema], unshown)
    _anchor(model, kept)
    memory = model.memory.joined(examples)
    fitted = _fitted(model, model.bank(), memory, len(model.memory), found)
    _anchor(model, kept | fitted)
    model.memory = memory
    return model


def _examples(model: RelationModel, schema: RelationSchema, posts: Sequence[Post]) -> Memory:
    """The labelled pairs of the examples."""
    extractor = Extractor(model, schema=schema)
    shown = []
    for post in (schema.resolve_labels(post) for post in posts):
        told = tuple(p for p in post.pairs or () if p.relation not in (None, schema.nota))
        if told:
            shown.append(post.model_copy(update={"pairs": told}))
    if not shown:
        raise InputError("no pair of the examples is labelled with a relation")
    shown = extractor.typed(shown)
    return remember(model, extractor.bank, shown, extractor.pictures(shown))


def _anchor(model: RelationModel, anchors: dict[str, Tensor]) -> None:
    """Make these the model's anchors, and no others."""
    model.config = model.config.model_copy(update={"anchored_relations": tuple(anchors)})
    none = model.anchors[:0]
    model.anchors = torch.stack(list(anchors.values())) if anchors else none


def _fitted(
    model: RelationModel, bank: RelationBank, memory: Memory, old: int, found: Sequence[str]
) -> dict[str, Tensor]:
    """Anchors ``(dim + 1,)`` of the relations ``found``, by convex optimisation.

    Args:
        memory: Pairs of all relations, of which the first ``old`` are no examples of now.
    """
    schema, order = model.schema, model.config.direction_mode
    nothing = torch.zeros_like(memory.forward)
    gate = torch.zeros(0)
    with torch.no_grad():
        assert isinstance(model.scorer, RetrievalScorer)
        scale = model.scorer.scale
        ways = [
            torch.cat(
                [nota[:, None], model.scorer(PairEncoding(x, nothing, gate), bank).logits[:, 1:]], 1
            )
            for x, nota in zip((memory.forward, memory.backward), memory.nota.T, strict=True)
        ]
    target = torch.tensor(
        [target_columns(name, bank, schema.nota, order)[0] for name in memory.labels]
    )
    weights = _weights(memory, old, found, schema.nota)
    rows = torch.tensor([bank.names.index(name) for name in found])
    anchors = torch.zeros(len(found), memory.forward.shape[1] + 1, requires_grad=True)
    solver = torch.optim.LBFGS([anchors], max_iter=STEPS, line_search_fn="strong_wolfe")

    def logits(x: Tensor, base: Tensor) -> Tensor:
        return base.index_add(1, 1 + rows, anchored(x, anchors, scale))

    def step() -> Tensor:
        solver.zero_grad()
        told = logits(memory.forward, ways[0])
        if order == "joint":
            told = merge_directions(told, logits(memory.backward, ways[1]), bank)
        losses = cross_entropy(told / model.config.temperature, target, reduction="none")
        loss = (weights * losses).sum() + DECAY * (anchors[:, :-1] ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        solver.step(step)  # type: ignore[no-untyped-call]
    return dict(zip(found, anchors.detach(), strict=True))


def _weights(memory: Memory, old: int, found: Sequence[str], nota: str | None) -> Tensor:
    """``(M,)``: a remembered relation weighs :data:`REMEMBERED` times what a new one does, one with
    another.
    """
    examples = len(memory) - old
    counts = Counter(name for name in memory.labels[:old] if name != nota)
    most = max(counts.values(), default=1)
    weights = torch.ones(len(memory))
    weights[:old] = REMEMBERED * examples / len(found) / most
    return weights


def adapt(
    source: str | Path, schema: RelationSchema, posts: Sequence[Post], out: Path
) -> dict[str, int]:
    """Write an adapted model; see :func:`adapted`. Its other weights are the source's, bit by bit.

    Returns:
        How many examples each relation of the schema had.

    Raises:
        WeightsError: There is no such model.
        InputError: See :func:`adapted`; or the model would replace its source.
    """
    folder = model_folder(source)
    if folder.resolve() == out.resolve():
        raise InputError("the adapted model would replace the one it comes from", where=str(out))
    model = RelationModel.from_pretrained(source)
    before = 0 if model.memory is None else len(model.memory)
    adapted(model, schema, posts)
    assert model.memory is not None
    counts = Counter(model.memory.labels[before:])
    state = read_state(folder / "model.safetensors")
    state[ANCHORS] = model.anchors.half().contiguous()
    card = (folder / "README.md").read_text(encoding="utf-8")
    names = ", ".join(f"`{name}`" for name in model.config.anchored_relations)
    card = card.partition(ADAPTED)[0] + (
        f"{ADAPTED}Relations that a few examples were given for: {names}. The memory holds the "
        "vectors of these examples; the figures above are those of the model before.\n"
    )
    write_model(out, state, model.config, model.schema, card, model.memory)
    return {name: counts[name] for name in schema.names}
