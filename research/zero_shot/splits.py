"""Zero-shot: a model is trained without some relations, and then asked for just these.

A split draws the unseen relations among those of the test files, and drops them, their inverses and
what means nearly the same from all corpora. Every finished split is one small JSON file, as in
:mod:`research.ablation.grid`; an interrupted one goes on from its checkpoint.

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
from typing import Any, Literal, NamedTuple

from pydantic import Field

from research.seeds.seed_statistics import percent, spread
from research.zero_shot.unseen import calibrated, few_shot, measure, only
from rukh.config import load_config
from rukh.data.corpus import read_corpus
from rukh.data.merging import merge_posts
from rukh.data.readers import read
from rukh.errors import InputError
from rukh.extractor import Extractor
from rukh.records import Post, Record
from rukh.schema.schema import RelationSchema
from rukh.training.relation_task import RelationTrainingConfig, train_relations
from rukh.utils.files import parse_yaml, read_json, write_json


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
        calibration: A split of its own, of which no figure is told. What it says of relations that
            training never showed (:func:`research.zero_shot.unseen.calibrated`) holds for the others.
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
    calibration: Split
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

    Raises:
        InputError: A file is unreadable, or a result is of another split.
    """
    schema = RelationSchema.load(config.relation_schema)
    posts: list[Post] = []
    if not finished:
        for file in config.test:
            posts += [
                schema.resolve_labels(p, str(file)) for p in merge_posts(read(file, config.format))
            ]
    known: dict[str, float] = {}
    for split in (config.calibration, *config.splits):
        path = config.results / f"{split.name}.json"
        if not path.exists() and finished:
            continue
        if not path.exists():
            write_json(_measured(config, schema, posts, split, known, work / split.name), path)
            shutil.rmtree(work / split.name, ignore_errors=True)
            shutil.rmtree(work / f"{split.name}.run", ignore_errors=True)
        result = read_json(path)
        if not isinstance(result, dict) or result.get("split") != split.name:
            raise InputError(f"is no result of {split.name}", where=str(path), fix="remove it")
        if split == config.calibration:
            known = result["calibrated"]
        else:
            yield result


def _measured(
    config: ZeroShotConfig,
    schema: RelationSchema,
    posts: Sequence[Post],
    split: Split,
    known: Mapping[str, float],
    out: Path,
) -> dict[str, Any]:
    """Train a split into ``out`` and measure it; that of the calibration is not measured."""
    unseen = drawn(posts, split)
    near = equivalents(config.equivalents, unseen)
    changes = [*config.changes, f"without={[*unseen, *near]}"]
    base = load_config(config.base, RelationTrainingConfig, changes)
    train_relations(base, out)
    extractor = Extractor.from_pretrained(out)
    model, test, fold = extractor.model, only(posts, unseen), _fold(config, base)
    result: dict[str, Any] = {"split": split.name, "unseen": unseen, "left_out": near}
    if split == config.calibration:
        result["calibrated"] = calibrated(extractor, schema, unseen, test, fold.unrelated)
        return result
    model.config = model.config.model_copy(update=dict(known))
    result |= measure(extractor, schema, unseen, test, fold.unrelated)
    result["few_shot"] = few_shot(model, schema, unseen, test, fold.seen, split.seed)
    return result


def drawn(posts: Sequence[Post], split: Split) -> list[str]:
    """The unseen relations of a split, out of those that stand in the posts."""
    names = sorted({str(p.relation) for post in posts for p in post.pairs or ()})
    if split.unseen >= len(names):
        raise InputError(f"{split.unseen} unseen of {len(names)} relations leave none to be seen")
    return sorted(random.Random(split.seed).sample(names, split.unseen))


def equivalents(file: Path, unseen: Sequence[str]) -> list[str]:
    """What has to be dropped along with some relations, by ``configs/open-equivalents.yaml``."""
    near = parse_yaml(file.read_text(encoding="utf-8"), str(file))["relations"]
    found = {n for name in unseen for names in near.get(name, {}).values() for n in names}
    return sorted(found - set(unseen))


class Fold(NamedTuple):
    """Posts of the fold, which training never shows.

    Attributes:
        unrelated: Those of the corpus that gives unrelated pairs, with these pairs alone.
        seen: Those of the corpora of the schema and format of ``data``, whose relations were seen.
            Others may give a pair several relations, so that one that is told may be right as well.
    """

    unrelated: list[Post]
    seen: list[Post]


def _fold(config: ZeroShotConfig, base: RelationTrainingConfig) -> Fold:
    schemas = base.schemas()
    corpus = read_corpus(base.data, schemas, base.extra_corpora)
    nota = schemas[config.unrelated].nota
    unrelated = [corpus.posts[i] for i in corpus.dev if corpus.source[i] == config.unrelated]
    kinds = [(base.relations, base.data.format), *((o.relations, o.format) for o in base.mix)]
    alike = {source for source, kind in enumerate(kinds) if kind == kinds[0]}
    seen = [corpus.posts[i] for i in corpus.dev if corpus.source[i] in alike]
    told = [name for name in schemas[0].names if name not in base.without]
    return Fold(only(unrelated, [] if nota is None else [nota]), only(seen, told))


FEW = ("new_before", "new_after", "old_before", "old_between", "old_after", "seconds")
KEYS = (
    "macro_f1",
    "accuracy",
    "auroc",
    "expected_calibration_error",
    "expected_calibration_error_order_free",
)
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
        for name in (*ROWS, "rejecting", "few_shot"):
            row[name] = {
                key: spread([run[name][key] for run in runs])
                for key in runs[0][name]
                if key not in ("pairs", "unrelated")
            }
        out.append(row)
    return out


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of :func:`summary` as a Markdown table, in per cent."""
    lines = [
        "| unseen | setting | macro-F1 | accuracy | AUROC | calibration error | order-free |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        for name in (*ROWS, "rejecting"):
            cells = [f"{row['unseen']}, {row['splits']} splits", name]
            for key in KEYS:
                cells.append(percent(row[name][key]) if key in row[name] else "")
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| unseen | new, described | new, by 5 examples | seen, alone | seen, new ones described "
        "| seen, new ones by 5 examples | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        told = [row["few_shot"][key]["mean"] for key in FEW]
        cells = [f"{100 * value:.1f}" for value in told[:-1]]
        lines.append(f"| {row['unseen']} | " + " | ".join([*cells, f"{told[-1]:.1f}"]) + " |")
    return "\n".join(lines) + "\n"
