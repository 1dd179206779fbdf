"""Zero-shot: train a model without some relations, then test it on just these.

A split draws the unseen relations from those of the test files and removes them, their inverses and
near-synonyms from all corpora. Every finished split is one small JSON file, as in
:mod:`research.ablation.grid`; an interrupted one resumes from its checkpoint.

Settings (Chen and Li, NAACL 2021, is the first; arXiv 2603.01266 asks for the second):

- *closed*: each pair has one of the unseen relations, and the best one is predicted;
- *rejecting*: as many pairs without any relation are mixed in, and what does not reach the model's
  threshold is predicted as none.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from research.seeds.seed_statistics import percent, seed_statistics
from research.zero_shot.unseen import calibrate_unseen, few_shot, measure, only_relations
from rukh.config import load_config
from rukh.data.corpus import read_corpus
from rukh.data.readers import read_posts
from rukh.errors import InputError
from rukh.extractor import Extractor
from rukh.records import Post, Record
from rukh.schema.schema import RelationSchema
from rukh.training.relation_task import RelationTrainingConfig, train_relations
from rukh.utils.files import parse_yaml, read_json, write_json
from rukh.utils.markdown import markdown_table


class Split(Record):
    """Attributes:
    unseen: How many relations are held out.
    seed: Of the draw.
    """

    unseen: int = Field(ge=2)
    seed: int = Field(ge=0)

    @property
    def name(self) -> str:
        """The name of its result's file."""
        return f"unseen-{self.unseen}-{self.seed}"


class ZeroShotConfig(Record):
    """Splits of relations into seen and unseen.

    Attributes:
        base: The configuration that is trained for every split.
        changes: ``key.sub=value`` each, for all splits.
        calibration: A split that is not reported. It fits the calibration of unseen relations
            (:func:`research.zero_shot.unseen.calibrate_unseen`) for the other splits.
        splits: The splits.
        test: Files from whose relations the unseen ones are drawn; pairs of these are the test set.
        format: Their format.
        relation_schema: Their schema (``schema`` in YAML).
        equivalents: YAML file with the near-synonyms of each relation.
        unrelated: The corpus of ``base`` that gives unrelated pairs, from its dev posts: 0 for
            ``data``, then those of ``extra_corpora``.
        results: Folder of the finished splits' files.
    """

    task: Literal["zero-shot"]
    base: Path
    changes: tuple[str, ...] = ()
    calibration: Split
    splits: tuple[Split, ...] = Field(min_length=1)
    test: tuple[Path, ...] = Field(min_length=1)
    format: str
    relation_schema: str = Field(alias="schema")
    equivalents: Path
    unrelated: int = Field(ge=0)
    results: Path


def run(config: ZeroShotConfig, work: Path, finished: bool = False) -> Iterator[dict[str, Any]]:
    """Train and test the splits that are not finished; yields the result of every split.

    Args:
        work: Folder of unfinished runs.
        finished: Whether to train nothing and yield only finished results.

    Raises:
        InputError: A file is unreadable, or a result is of another split.
    """
    schema = RelationSchema.load(config.relation_schema)
    posts: list[Post] = []
    if not finished:
        for file in config.test:
            posts += [
                schema.resolve_labels(post, str(file)) for post in read_posts(file, config.format)
            ]
    calibration: dict[str, float] = {}
    for split in (config.calibration, *config.splits):
        path = config.results / f"{split.name}.json"
        if not path.exists() and finished:
            continue
        if not path.exists():
            out = work / split.name
            write_json(_train_and_test(config, schema, posts, split, calibration, out), path)
            shutil.rmtree(out, ignore_errors=True)
            shutil.rmtree(work / f"{split.name}.run", ignore_errors=True)
        result = read_json(path)
        if not isinstance(result, dict) or result.get("split") != split.name:
            raise InputError(f"not the result of {split.name}", where=str(path), fix="remove it")
        if split == config.calibration:
            calibration = result["calibrated"]
        else:
            yield result


def _train_and_test(
    config: ZeroShotConfig,
    schema: RelationSchema,
    posts: Sequence[Post],
    split: Split,
    calibration: Mapping[str, float],
    out: Path,
) -> dict[str, Any]:
    """Train a split into ``out`` and test it; the calibration split only fits the calibration."""
    unseen = draw_unseen(posts, split)
    near = equivalents(config.equivalents, unseen)
    changes = [*config.changes, f"exclude_relations={[*unseen, *near]}"]
    base = load_config(config.base, RelationTrainingConfig, changes)
    train_relations(base, out)
    extractor = Extractor.from_pretrained(out)
    model, test, dev = extractor.model, only_relations(posts, unseen), _dev_posts(config, base)
    result: dict[str, Any] = {"split": split.name, "unseen": unseen, "left_out": near}
    if split == config.calibration:
        result["calibrated"] = calibrate_unseen(extractor, schema, unseen, test, dev.unrelated)
        return result
    model.config = model.config.model_copy(update=dict(calibration))
    result |= measure(extractor, schema, unseen, test, dev.unrelated)
    result["few_shot"] = few_shot(model, schema, unseen, test, dev.seen, split.seed)
    return result


def draw_unseen(posts: Sequence[Post], split: Split) -> list[str]:
    """The unseen relations of a split, drawn from the labels of the posts."""
    names = sorted({str(p.relation) for post in posts for p in post.pairs or ()})
    if split.unseen >= len(names):
        raise InputError(f"{split.unseen} unseen of {len(names)} relations leave none to be seen")
    return sorted(random.Random(split.seed).sample(names, split.unseen))


def equivalents(file: Path, unseen: Sequence[str]) -> list[str]:
    """The relations that have to be held out along with the unseen ones."""
    near = parse_yaml(file.read_text(encoding="utf-8"), str(file))["relations"]
    names = {n for name in unseen for others in near.get(name, {}).values() for n in others}
    return sorted(names - set(unseen))


class DevPosts(NamedTuple):
    """Posts of the dev set, which training does not use.

    Attributes:
        unrelated: Unrelated pairs of the corpus that gives them.
        seen: Pairs of seen relations, from corpora with the schema and format of ``data``. (In
            others a pair may have several relations, so that another prediction may be right, too.)
    """

    unrelated: list[Post]
    seen: list[Post]


def _dev_posts(config: ZeroShotConfig, base: RelationTrainingConfig) -> DevPosts:
    schema = RelationSchema.load(base.relation_schema)
    corpus = read_corpus(base.data, schema, base.extra_corpora)
    unrelated = [i for i in corpus.dev if corpus.corpus[i] == config.unrelated]
    nota = corpus.schemas[corpus.source[unrelated[0]]].nota if unrelated else None
    own = (base.relation_schema, base.data.format)
    kinds = [own, *((extra.relation_schema, extra.format) for extra in base.extra_corpora)]
    seen = [i for i in corpus.dev if kinds[corpus.corpus[i]] == own]
    names = [name for name in schema.names if name not in base.exclude_relations]
    return DevPosts(
        only_relations([corpus.posts[i] for i in unrelated], [] if nota is None else [nota]),
        only_relations([corpus.posts[i] for i in seen], names),
    )


FEW_SHOT_KEYS = ("new_before", "new_after", "old_before", "old_between", "old_after", "seconds")
KEYS = (
    "macro_f1",
    "accuracy",
    "auroc",
    "expected_calibration_error",
    "expected_calibration_error_order_free",
)
ROWS = ("described", "untyped", "named", "encoder")


def summary(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means and deviations over the splits with the same number of unseen relations.

    Returns: Mappings of ``unseen, splits`` and, under the names of :func:`measure`, each figure's
        ``mean`` and ``deviation`` (None for one split).
    """
    sizes: dict[int, list[Mapping[str, Any]]] = {}
    for result in results:
        sizes.setdefault(len(result["unseen"]), []).append(result)
    rows = []
    for unseen, runs in sorted(sizes.items(), reverse=True):
        row: dict[str, Any] = {"unseen": unseen, "splits": len(runs)}
        for name in (*ROWS, "rejecting", "few_shot"):
            row[name] = {
                key: seed_statistics([run[name][key] for run in runs])
                for key in runs[0][name]
                if key not in ("pairs", "unrelated")
            }
        rows.append(row)
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of :func:`summary` as two Markdown tables, in per cent."""
    lines = []
    for row in rows:
        for name in (*ROWS, "rejecting"):
            cells = [percent(row[name][key]) if key in row[name] else "" for key in KEYS]
            lines.append([f"{row['unseen']}, {row['splits']} splits", name, *cells])
    header = ("macro-F1", "accuracy", "AUROC", "calibration error", "order-free")
    figures = markdown_table(("unseen", "setting", *header), lines)
    lines = []
    for row in rows:
        *shares, seconds = (row["few_shot"][key]["mean"] for key in FEW_SHOT_KEYS)
        lines.append([row["unseen"], *(f"{100 * s:.1f}" for s in shares), f"{seconds:.1f}"])
    header = (
        "new, described", "new, by 5 examples", "seen, alone", "seen, new ones described",
        "seen, new ones by 5 examples",
    )  # fmt: skip
    return f"{figures}\n\n{markdown_table(('unseen', *header, 'seconds'), lines)}\n"
