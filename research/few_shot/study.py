"""Draw examples of MNRE's relations, teach a model by them, and measure it on other posts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from research.zero_shot.unseen import gold_logits, only_relations
from rukh.data.splits import split_dev
from rukh.evaluation.metrics import calibration_error
from rukh.extractor import Extractor
from rukh.modeling.model import RelationModel
from rukh.records import Pair, Post, labelled_pairs
from rukh.schema.schema import RelationSchema
from rukh.training.few_shot import add_relations

TEST_FRACTION = 0.3
UNRELATED = 2
"""Number of unrelated pairs for each example, about as many as in the posts."""


class Data(NamedTuple):
    """Posts to draw examples from and to test on, with the schema of their relations."""

    schema: RelationSchema
    train: list[Post]
    test: list[Post]


def prepare(posts: Sequence[Post], schema: RelationSchema, relations: int, tests: int) -> Data:
    """Keep the most frequent relations, and split off posts to test on.

    Images and captions are left out, which the models for any relation do not read.
    """
    posts = [
        schema.resolve_labels(post.model_copy(update={"image": None, "caption": None}))
        for post in posts
    ]
    counts = Counter(pair.relation for post in posts for pair in labelled_pairs(post))
    del counts[schema.nota]
    names = [str(name) for name, _ in counts.most_common(relations)]
    kept = only_relations(posts, [*names, str(schema.nota)])
    train, test = split_dev(kept, TEST_FRACTION)
    drawn = random.Random(0).sample(test, min(tests, len(test)))
    return Data(schema.restrict(names), [kept[i] for i in train], [kept[i] for i in drawn])


def draw(data: Data, examples: int, seed: int) -> list[Post]:
    """Draw so many pairs of each relation, and unrelated ones."""
    left = dict.fromkeys(data.schema.names, examples)
    left[str(data.schema.nota)] = UNRELATED * examples * len(left)
    order = list(data.train)
    random.Random(seed).shuffle(order)
    chosen = []
    for post in order:
        pairs: list[Pair] = []
        for pair in post.pairs or ():
            if left[str(pair.relation)]:
                left[str(pair.relation)] -= 1
                pairs.append(pair)
        if pairs:
            chosen.append(post.model_copy(update={"pairs": tuple(pairs)}))
    return chosen


def measure(model: RelationModel, data: Data) -> dict[str, float]:
    """Figures on the test posts: micro-F1 at the default and at the best threshold, and the
    calibration error of the best relation of each pair.
    """
    extractor = Extractor(model, schema=data.schema)
    logits, gold = gold_logits(extractor, data.test)
    return figures(model.calibrate(logits, extractor.bank).softmax(1), gold, extractor.threshold)


def figures(probabilities: Tensor, gold: Tensor, threshold: float) -> dict[str, float]:
    """See :func:`measure`; the columns are those of the logits."""
    scores, best = probabilities[:, 1:].max(1)
    correct = best + 1 == gold
    order = scores.argsort(descending=True)
    right = correct[order].float().cumsum(0)
    total = int((gold > 0).sum())
    f1 = 2 * right / (torch.arange(1, len(order) + 1) + total)
    count = int((scores >= threshold).sum())
    confidence, predicted = probabilities.max(1)
    error = calibration_error(confidence.tolist(), (predicted == gold).tolist())
    default = float(f1[count - 1]) if count else 0.0
    return {"f1": default, "best_f1": float(f1.max()), "calibration_error": error}


def study(
    source: str, data: Data, numbers: Sequence[int], seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Measure the model with descriptions only, and taught by each number of examples and seed."""
    untaught = RelationModel.from_pretrained(source)
    yield {"examples": 0, "seed": None, **measure(untaught, data)}
    for number in numbers:
        for seed in seeds:
            taught = RelationModel.from_pretrained(source)
            add_relations(taught, data.schema, draw(data, number, seed))
            yield {"examples": number, "seed": seed, **measure(taught, data)}
