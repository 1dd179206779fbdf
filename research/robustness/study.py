"""Robustness: what becomes of a model's F1 when words, types, captions, pictures, boxes change.

Each perturbation (:mod:`research.robustness.perturbations`) is applied to all posts at each severity, and
what a model then says is compared with what it says at severity 0 by a bootstrap paired by post.
Only posts that a perturbation changed are asked again: the answers for a post depend on nothing
else. Types that a post did not give are told anew by the model's own tagger, so that noise that
misleads the tagger counts.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from research.robustness.perturbations import TURNED, Others
from rukh.errors import InputError
from rukh.evaluation.evaluate import predict_pairs
from rukh.evaluation.metrics import (
    REVERSED,
    f1_from_counts,
    order_free,
    paired_difference,
    positive_counts,
)
from rukh.extractor import Extractor
from rukh.modeling.image_io import FORMATS
from rukh.records import Post
from rukh.registry import names, resolve

SEVERITIES = (0, 1, 2, 3)
Counts = npt.NDArray[np.int64]


def robustness(
    extractors: Mapping[str, Extractor],
    posts: Sequence[Post],
    *,
    only: Sequence[str] = (),
    foreign: Sequence[Path] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Measure one or several models under every perturbation.

    Args:
        extractors: The models, by the names that the result gives them.
        posts: Labelled posts; those without a labelled pair are left out.
        only: Names of the perturbations to apply; all where empty.
        foreign: Pictures of something else, for ``foreign-pictures``.
        seed: Of all random choices; the same seed gives the same figures.

    Returns:
        Plain data: ``posts, pairs, seed, seconds`` and ``models``, for each model its name, the
        posts whose picture it would read but cannot (``unread``), the perturbations that changed
        nothing it reads (``untouched``), and ``rows``, one for each perturbation and severity:
        ``changed`` (posts), ``micro_f1_order_free``, ``micro_f1`` and, above severity 0, for
        either figure ``<figure>_difference`` to severity 0, its ``_ci`` (95 %) and ``_p``.

    Raises:
        InputError: An unknown perturbation, ``foreign-pictures`` asked for without any, no labelled
            pair, or a label outside the schema.
    """
    start = time.perf_counter()
    chosen = list(dict.fromkeys(only or names("perturbations")))
    for name in chosen:
        resolve("perturbations", name)
    if "foreign-pictures" in only and not foreign:
        raise InputError(
            "foreign-pictures needs pictures of something else",
            fix="name their folder by --pictures",
        )
    posts = [post for post in posts if any(p.relation is not None for p in post.pairs or ())]
    if not posts:
        raise InputError("no labelled pair to measure on")
    models = []
    steps = len(extractors) * len(chosen) * len(SEVERITIES)
    with tqdm(total=steps, desc="robustness", leave=False, disable=None) as bar:
        for model, extractor in extractors.items():
            found = _measure(extractor, posts, chosen, foreign, seed, bar)
            models.append({"model": model, **found})
    return {
        "posts": len(posts),
        "pairs": sum(p.relation is not None for post in posts for p in post.pairs or ()),
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 1),
        "models": models,
    }


def _measure(
    extractor: Extractor,
    posts: Sequence[Post],
    chosen: Sequence[str],
    foreign: Sequence[Path],
    seed: int,
    bar: Any,
) -> dict[str, Any]:
    """``unread``, ``untouched`` and ``rows`` of one model."""
    given = [_read_by(extractor, post) for post in posts]
    typed = extractor.assign_types(given)
    others = Others(typed, foreign if extractor.model.config.pair.vision_encoder else ())
    clean = count(extractor, given)
    rows: list[dict[str, Any]] = []
    untouched = []
    for name in chosen:
        found = []
        known = [(given, clean)]
        for severity in SEVERITIES:
            bar.set_postfix_str(f"{name} {severity}")
            changed = perturbed(name, severity, given, typed, others, seed)
            known.append((changed, _again(extractor, changed, known)))
            base, base_counts = known[1]  # severity 0
            moved = sum(a != b for a, b in zip(changed, base, strict=True))
            found.append(_row(name, severity, moved, known[-1][1], base_counts))
            bar.update()
        if any(row["changed"] for row in found):
            rows += found
        else:
            untouched.append(name)
    unread = sum(post.image is not None and not others.shows(post) for post in typed)
    return {"unread": unread, "untouched": untouched, "rows": rows}


def perturbed(
    name: str,
    severity: int,
    given: Sequence[Post],
    typed: Sequence[Post],
    others: Others,
    seed: int,
) -> list[Post]:
    """All posts under one perturbation; a type that it left alone is only kept if it was given."""
    apply = resolve("perturbations", name)
    out = []
    for i, (before, post) in enumerate(zip(given, typed, strict=True)):
        places = [seed, zlib.crc32(name.encode()), zlib.crc32(post.id.encode()), i]
        after = apply(post, severity, np.random.default_rng(places), others)
        out.append(before if after is post else _forget(after, post, before))
    return out


def _forget(after: Post, typed: Post, given: Post) -> Post:
    """The perturbed post with the tagger's types taken back where they were not changed."""
    entities = tuple(
        entity.model_copy(update={"type": before.type}) if entity.type == told.type else entity
        for entity, told, before in zip(after.entities, typed.entities, given.entities, strict=True)
    )
    return after.model_copy(update={"entities": entities})


def _read_by(extractor: Extractor, post: Post) -> Post:
    """The post without what the model does not read, so that changes to it are no changes."""
    pair = extractor.model.config.pair
    update: dict[str, Any] = {}
    if not pair.caption_words:
        update["caption"] = None
    if pair.vision_encoder is None:
        update["image"] = None
    return post.model_copy(update=update) if update else post


def _again(
    extractor: Extractor, changed: Sequence[Post], known: Sequence[tuple[Sequence[Post], Counts]]
) -> Counts:
    """The counts of posts; asked are those that are not what they were in any ``known`` form."""
    counts = known[0][1].copy()
    new = []
    for i, post in enumerate(changed):
        same = next((told for posts, told in known if post is posts[i] or post == posts[i]), None)
        if same is None:
            new.append(i)
        else:
            counts[i] = same[i]
    if new:
        counts[new] = count(extractor, [changed[i] for i in new])
    return counts


def count(extractor: Extractor, posts: Sequence[Post]) -> Counts:
    """Right, told and gold positives of each post, order-free and in the given order.

    Returns:
        ``(posts, 2, 3)``.
    """
    judged = predict_pairs(extractor, posts)
    schema, nota = extractor.schema, extractor.schema.nota
    free = order_free(judged.forward, judged.backward, schema)
    said = [decision.relation for decision in judged.forward]
    out = np.zeros((len(posts), 2, 3), dtype=np.int64)
    at = 0
    for i, post in enumerate(posts):
        labelled = [pair for pair in post.pairs or () if pair.relation is not None]
        right_free, right_given = [], []
        for pair, label in zip(labelled, judged.gold[at:], strict=False):
            if TURNED in pair.meta and label != nota:
                back = schema.inverse_of(label)
                right_free.append(back or f"{label}{REVERSED}")
                right_given.append(back or nota or "")
            else:
                right_free.append(label)
                right_given.append(label)
        part = slice(at, at + len(labelled))
        out[i, 0] = positive_counts(right_free, free[part], nota).sum(0)
        out[i, 1] = positive_counts(right_given, said[part], nota).sum(0)
        at += len(labelled)
    return out


def _row(name: str, severity: int, moved: int, counts: Counts, base: Counts) -> dict[str, Any]:
    free, given = f1_from_counts(counts.sum(0)).tolist()
    row = {"perturbation": name, "severity": severity, "changed": moved}
    row |= {"micro_f1_order_free": free, "micro_f1": given}
    if severity:
        for which, figure in enumerate(("micro_f1_order_free", "micro_f1")):
            # A post's counts are a column: (1 run, 3, posts).
            told = paired_difference(
                counts[None, :, which].swapaxes(1, 2), base[None, :, which].swapaxes(1, 2)
            )
            row[f"{figure}_difference"] = told["difference"]
            row[f"{figure}_difference_ci"] = told["difference_ci"]
            row[f"{figure}_difference_p"] = told["p"]
    return row


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, sorted.

    Raises:
        InputError: There is no such folder, or no picture in it.
    """
    endings = {".jpg", ".tif", *(f".{kind.lower()}" for kind in FORMATS)}
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder))
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in endings and p.is_file())
    if not found:
        raise InputError("no pictures in there", where=str(folder))
    return found
