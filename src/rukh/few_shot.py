"""A handful of examples for relations that a model has never seen, without training.

A relation's prototypes lie where its descriptions put them. Examples say where its pairs really
lie: their mean, an *anchor*, is added to the relation's prototypes (Snell et al., NeurIPS 2017,
take the mean alone). No weight of the model changes, and no other relation moves, so nothing is
forgotten but what the new relations take away.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rukh.encoders.adapt import read_state
from rukh.errors import InputError
from rukh.extraction import Extractor
from rukh.model import ANCHORS, ModelConfig, RelationModel, write_model
from rukh.records import Post
from rukh.schema import RelationSchema
from rukh.scoring import batch_inputs, rows_of
from rukh.weights import model_folder

WEIGHT = 0.25
"""How much the examples count beside the descriptions: more of it tells the new relations
better, and takes more from the others."""


@torch.inference_mode()
def anchors(extractor: Extractor, posts: Sequence[Post]) -> dict[str, Tensor]:
    """The mean pair embedding ``(dim,)`` of each relation in labelled posts, of length ``WEIGHT``.

    A symmetric relation's pairs are read both ways.

    Args:
        extractor: Of the model; its schema describes the relations.
        posts: The examples.

    Raises:
        InputError: A label stands outside the schema, or no pair is labelled with a relation.
    """
    model, schema = extractor.model, extractor.schema
    sums: dict[str, list[Tensor]] = {}
    for post in extractor.typed([schema.named(post) for post in posts]):
        told = [p for p in post.pairs or () if p.relation not in (None, schema.nota)]
        if not told:
            continue
        rows = rows_of(model, post, [(p.head, p.tail) for p in told])[1]
        pictures = extractor.pictures([post]) * len(rows)
        inputs = batch_inputs(model, rows, [post] * len(rows), pictures)
        asks = [ask for row in rows for ask in row.asks]
        words = {**model.schema.types, **schema.types}
        for ways, read in (((True, False), inputs), ((True,), inputs.turned())):
            for ask, vector in zip(asks, model.pair(read, words).embedding, strict=True):
                relation = schema.relation(str(told[ask.pair].relation))
                if relation.symmetric in ways:
                    sums.setdefault(relation.name, []).append(vector)
    if not sums:
        raise InputError("no pair of the examples is labelled with a relation")
    return {
        name: WEIGHT * torch.nn.functional.normalize(torch.stack(found).mean(0), dim=0)
        for name, found in sums.items()
    }


def adapted(model: RelationModel, schema: RelationSchema, posts: Sequence[Post]) -> RelationModel:
    """The model, which knows the schema's relations as well, and those of the examples by them.

    Args:
        model: Its head is retrieval. It is changed in place.
        schema: Of the examples. Where it has a relation of a name that the model knows, its
            descriptions hold from now on.
        posts: The examples; some five a relation are worth their labels.

    Raises:
        InputError: See :func:`anchors`; or the model's head knows only its own relations.
    """
    found = anchors(Extractor(model, schema=schema), posts)
    kept = {
        name: model.anchors[k] for k, name in enumerate(model.config.anchored) if name not in found
    } | found
    others = tuple(r for r in model.schema.relations if r.name not in schema.names)
    before = model.schema.model_copy(update={"relations": others})
    model.schema = RelationSchema.merged([before, schema])
    model.config = model.config.model_copy(update={"anchored": tuple(kept)})
    model.anchors = torch.stack(list(kept.values()))
    return model


def adapt(
    source: str | Path, schema: RelationSchema, posts: Sequence[Post], out: Path
) -> ModelConfig:
    """Write an adapted model; see :func:`adapted`. Its other weights are the source's, bit by bit.

    Raises:
        WeightsError: There is no such model.
        InputError: See :func:`adapted`.
    """
    model = adapted(RelationModel.from_pretrained(source), schema, posts)
    folder = model_folder(source)
    state = read_state(folder / "model.safetensors")
    state[ANCHORS] = model.anchors.half().contiguous()
    card = (folder / "README.md").read_text(encoding="utf-8")
    names = ", ".join(f"`{name}`" for name in model.config.anchored)
    card += f"\n## Adapted\n\nRelations that a few examples were given for: {names}.\n"
    write_model(out, state, model.config, model.schema, card)
    return model.config
