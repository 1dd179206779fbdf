"""Zero-shot: a model is trained without some relations, and then asked for just these.

A split draws the unseen relations among those of the test files, and drops them, their inverses and
what means nearly the same from all corpora. Every finished split is one small JSON file, as in
:mod:`rukh.studies.ablation`; an interrupted one goes on from its checkpoint.

Settings (Chen and Li, NAACL 2021, is the first; arXiv 2603.01266 asks for the second):

- *closed*: each pair has one of the unseen relations, and the best one is told;
- *rejecting*: as many pairs without any relation are mixed in, and what does not reach the model's
  threshold is told to be none.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from rukh.config import load_config
from rukh.corpus import read_corpus
from rukh.encoders.text import TextEncoder
from rukh.errors import InputError
from rukh.extraction import Extractor
from rukh.files import read_json, write_json
from rukh.metrics import confusion, macro_f1, per_relation
from rukh.readers import group_posts, read
from rukh.records import Post, Record
from rukh.relation_training import RelationTrainingConfig, train_relations
from rukh.reliability import auroc, calibration_error
from rukh.schema import RelationSchema


class Split(Record):
    """Attributes:
    unseen: How many relations are held out.
    seed: Draws them.
    """

    unseen: int = Field(ge=2)
    seed: int = Field(ge=0)

    @property
    def name(self) -> str:
        """Of its result's file."""
        return f"unseen-{self.unseen}-{self.seed}"


class ZeroShotConfig(Record):
    """Splits of relations into seen and unseen.

    Attributes:
        base: The configuration that is trained for every split.
        changes: ``key.sub=value`` each, for all splits.
        splits: The splits.
        test: Files whose relations are drawn from, and whose pairs of unseen ones are the test.
        format: Their format.
        relations: Their schema.
        equivalents: YAML file that says for each relation which ones mean nearly the same.
        unrelated: Which corpus of ``base`` gives unrelated pairs: 0 for ``data``, then those of
            ``mix``; taken from its posts in the fold, which training never shows.
        results: Folder of the finished splits' files.
    """

    task: Literal["zero-shot"]
    base: Path
    changes: tuple[str, ...] = ()
    splits: tuple[Split, ...] = Field(min_length=1)
    test: tuple[Path, ...] = Field(min_length=1)
    format: str
    relations: str
    equivalents: Path
    unrelated: int = Field(ge=0)
    results: Path


def run(config: ZeroShotConfig, work: Path, finished: bool = False) -> Iterator[dict[str, Any]]:
    """Train and measure what is not finished yet; yields every split's result.

    Args:
        work: Folder of unfinished runs.
        finished: Whether to train nothing, and to yield finished results alone.
    """
    schema = RelationSchema.load(config.relations)
    posts: list[Post] = []
    if not finished:
        for file in config.test:
            posts += [schema.named(p, str(file)) for p in group_posts(read(file, config.format))]
    for split in config.splits:
        path = config.results / f"{split.name}.json"
        if path.exists():
            yield read_json(path)
            continue
        if finished:
            continue
        unseen = drawn(posts, split)
        left_out = [*unseen, *equivalents(config.equivalents, unseen)]
        changes = [*config.changes, f"without={left_out}"]
        base = load_config(config.base, RelationTrainingConfig, changes)
        out = work / split.name
        train_relations(base, out)
        result = {"split": split.name, "unseen": unseen, "left_out": left_out[len(unseen) :]}
        result["changes"] = list(config.changes)
        test = _only(posts, unseen)
        result |= measure(Extractor.from_pretrained(out), schema, unseen, test, _none(config, base))
        write_json(result, path)
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(out.with_name(out.name + ".run"), ignore_errors=True)
        yield result


def drawn(posts: Sequence[Post], split: Split) -> list[str]:
    """The unseen relations of a split, out of those that stand in the posts."""
    names = sorted({str(p.relation) for post in posts for p in post.pairs or ()})
    if split.unseen >= len(names):
        raise InputError(f"{split.unseen} unseen of {len(names)} relations leave none to be seen")
    return sorted(random.Random(split.seed).sample(names, split.unseen))


def equivalents(file: Path, unseen: Sequence[str]) -> list[str]:
    """What has to be dropped along with some relations, by ``configs/open-equivalents.yaml``."""
    import yaml

    near = yaml.safe_load(file.read_text(encoding="utf-8"))["relations"]
    found = {n for name in unseen for names in near.get(name, {}).values() for n in names}
    return sorted(found - set(unseen))


def _only(posts: Sequence[Post], names: Sequence[str]) -> list[Post]:
    """The posts with a pair of these relations, and only such pairs."""
    kept = []
    for post in posts:
        pairs = tuple(p for p in post.pairs or () if p.relation in names)
        if pairs:
            kept.append(post.model_copy(update={"pairs": pairs}))
    return kept


def _none(config: ZeroShotConfig, base: RelationTrainingConfig) -> list[Post]:
    """Posts of the fold with their unrelated pairs."""
    schemas = [
        RelationSchema.load(name) for name in (base.relations, *(m.relations for m in base.mix))
    ]
    corpus = read_corpus(base.data, None, schemas, (), base.mix)
    nota = schemas[config.unrelated].nota
    chosen = [corpus.posts[i] for i in corpus.fold if corpus.source[i] == config.unrelated]
    return _only(chosen, [] if nota is None else [nota])


def measure(
    extractor: Extractor,
    schema: RelationSchema,
    unseen: Sequence[str],
    posts: Sequence[Post],
    unrelated: Sequence[Post],
) -> dict[str, Any]:
    """All figures of one split.

    Args:
        extractor: Of a model that saw none of the unseen relations.
        schema: Describes them.
        posts: Pairs of unseen relations.
        unrelated: Pairs without a relation, at least one.

    Returns:
        ``described, named`` (descriptions, names alone) and ``untyped`` (described, without the
        types that the data gives), each with ``accuracy, macro_f1``; ``encoder``, the same for the
        untrained encoder's cosine between text and description; ``rejecting``.
    """
    closed = schema.model_copy(
        update={
            "nota": None,
            "relations": tuple(
                r.model_copy(update={"inverse": r.inverse if r.inverse in unseen else None})
                for r in schema.relations
                if r.name in unseen
            ),
        }
    )
    named = closed.model_copy(
        update={
            "relations": tuple(
                r.model_copy(update={"descriptions": (r.name,)}) for r in closed.relations
            )
        }
    )
    gold = [str(p.relation) for post in posts for p in post.pairs or ()]
    bare = [_untyped(post) for post in posts]
    told = _told(extractor, closed, posts)
    figures: dict[str, Any] = {
        "described": _closed(told, closed, gold),
        "untyped": _closed(_told(extractor, closed, bare), closed, gold),
        "named": _closed(_told(extractor, named, posts), named, gold),
        "encoder": _closed(_cosines(extractor, closed, posts), closed, gold),
    }
    none = _told(extractor, closed, unrelated)
    none = none[torch.randperm(len(none), generator=torch.Generator().manual_seed(0))[: len(told)]]
    figures["rejecting"] = _rejecting(told, none, closed, gold, extractor.threshold)
    return figures


def _untyped(post: Post) -> Post:
    entities = tuple(e.model_copy(update={"type": None}) for e in post.entities)
    return post.model_copy(update={"entities": entities})


def _told(extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]) -> Tensor:
    """Calibrated probabilities of the schema's relations for every pair, ``(Q, R)``."""
    asking = Extractor(extractor.model, schema=schema, threshold=extractor.threshold)
    pairs = [[(p.head, p.tail) for p in post.pairs or ()] for post in posts]
    answers = asking.answer(asking.typed(posts), pairs)
    return torch.cat([answer.probabilities[:, 1:] for answer in answers])


def _cosines(extractor: Extractor, schema: RelationSchema, posts: Sequence[Post]) -> Tensor:
    """The baseline ``(Q, R)``: what the untrained sentence encoder finds alike."""
    encoder = TextEncoder.load(extractor.model.config.pair.text_encoder).eval()
    with torch.inference_mode():
        texts = encoder.sentences([post.text for post in posts for _ in post.pairs or ()])
        relations = [
            encoder.sentences([f"{r.name}: {text}" for text in r.descriptions]).mean(0)
            for r in schema.relations
        ]
    return texts @ torch.nn.functional.normalize(torch.stack(relations), dim=-1).T


def _closed(told: Tensor, schema: RelationSchema, gold: Sequence[str]) -> dict[str, float]:
    said = [schema.names[k] for k in told.argmax(1).tolist()]
    rows = per_relation(confusion(gold, said, schema.names), schema.names, None)
    right = sum(g == s for g, s in zip(gold, said, strict=True))
    return {"accuracy": right / len(gold), "macro_f1": macro_f1(rows)}


def _rejecting(
    told: Tensor, none: Tensor, schema: RelationSchema, gold: Sequence[str], threshold: float
) -> dict[str, float]:
    """Figures with unrelated pairs ``(N, R)`` mixed in."""
    score, which = torch.cat([told, none]).max(1)
    labels: list[str | None] = [*gold, *([None] * len(none))]
    best = [schema.names[k] for k in which.tolist()]
    said = [b if s >= threshold else None for b, s in zip(best, score.tolist(), strict=True)]
    kinds: tuple[str | None, ...] = (None, *schema.names)
    rows = per_relation(confusion(labels, said, kinds), kinds, None)
    right = [b == label for b, label in zip(best, labels, strict=True)]
    return {
        "macro_f1": macro_f1(rows),
        "auroc": auroc(score[: len(told)].tolist(), score[len(told) :].tolist()),
        "expected_calibration_error": calibration_error(score.tolist(), right),
        "pairs": len(told),
        "unrelated": len(none),
    }


ROWS = ("described", "untyped", "named", "encoder")


def summary(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means and deviations over the splits with as many unseen relations.

    Returns:
        Mappings of ``unseen, splits`` and, under the names of :func:`measure`, each figure's
        ``mean`` and ``deviation`` (None for one split).
    """
    sizes: dict[int, list[Mapping[str, Any]]] = {}
    for result in results:
        sizes.setdefault(len(result["unseen"]), []).append(result)
    out = []
    for unseen, runs in sorted(sizes.items(), reverse=True):
        row: dict[str, Any] = {"unseen": unseen, "splits": len(runs)}
        for name in (*ROWS, "rejecting"):
            row[name] = {
                key: {
                    "mean": float(np.mean([run[name][key] for run in runs])),
                    "deviation": float(np.std([run[name][key] for run in runs], ddof=1))
                    if len(runs) > 1
                    else None,
                }
                for key in runs[0][name]
                if key not in ("pairs", "unrelated")
            }
        out.append(row)
    return out


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of :func:`summary` as a Markdown table, in per cent."""
    lines = [
        "| unseen | setting | macro-F1 | accuracy | AUROC | calibration error |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        for name in (*ROWS, "rejecting"):
            cells = [f"{row['unseen']}, {row['splits']} splits", name]
            for key in ("macro_f1", "accuracy", "auroc", "expected_calibration_error"):
                figure = row[name].get(key)
                spread = ""
                if figure is not None and figure["deviation"] is not None:
                    spread = f" ± {100 * figure['deviation']:.1f}"
                cells.append("" if figure is None else f"{100 * figure['mean']:.1f}{spread}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
