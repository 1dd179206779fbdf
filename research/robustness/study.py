"""Robustness: how a model's F1 changes when words, types, captions, images, boxes or order change.

Each perturbation is applied to all posts at each severity, and the predictions are compared with
those at severity 0 by a bootstrap paired by post. Only posts that a perturbation changed are scored
again, since the predictions for a post depend on nothing else. Types that a post did not give are
assigned anew by the model's own tagger, so that noise that misleads the tagger counts.
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

from research.paired_bootstrap import paired_difference
from research.robustness import image_perturbations as images
from research.robustness import perturbations as words
from research.robustness.perturbations import SWAPPED, Others, Perturbation
from rukh.errors import InputError, suggestion
from rukh.evaluation.evaluate import predict_pairs
from rukh.evaluation.metrics import (
    REVERSED,
    f1_from_counts,
    order_free,
    positive_counts,
)
from rukh.extractor import Extractor
from rukh.modeling.image_io import FORMATS
from rukh.records import Post, labelled_pairs

SEVERITIES = (0, 1, 2, 3)
PERTURBATIONS: dict[str, Perturbation] = {
    "blur": images.blur,
    "caption-removal": words.caption_removal,
    "caption-swap": words.caption_swap,
    "casing": words.casing,
    "crop": images.crop,
    "dropped-handles": words.dropped_handles,
    "emoji": words.emoji,
    "entity-swap": words.entity_swap,
    "foreign-pictures": images.foreign_images,
    "jittered-boxes": words.jittered_boxes,
    "jpeg": images.jpeg,
    "occlusion": images.occlusion,
    "picture-removal": images.image_removal,
    "picture-swap": images.image_swap,
    "reversed-pairs": words.reversed_pairs,
    "typos": words.typos,
    "wrong-types": words.wrong_types,
}
FIGURES = ("micro_f1_order_free", "micro_f1")
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
        extractors: The models, by the names that the result uses.
        posts: Labelled posts; those without a labelled pair are left out.
        only: Names of the perturbations to apply; empty: all.
        foreign: Images of something else, for ``foreign-pictures``.
        seed: Of all random choices; the same seed gives the same figures.

    Returns:
        Plain data: ``posts, pairs, seed, seconds`` and ``models``, for each model its name, the
        number of posts whose image it reads but cannot load (``unread``), the perturbations that
        changed nothing (``untouched``), and ``rows``, one for each perturbation and severity:
        ``changed`` (posts), ``micro_f1_order_free``, ``micro_f1`` and, above severity 0, for each
        figure ``<figure>_difference`` to severity 0, its ``_ci`` (95 %) and ``_p``.

    Raises:
        InputError: An unknown perturbation, ``foreign-pictures`` without images, no labelled pair,
            or a label outside the schema.
    """
    start = time.perf_counter()
    chosen = list(dict.fromkeys(only or PERTURBATIONS))
    for name in chosen:
        if name not in PERTURBATIONS:
            raise InputError(
                f"no perturbation named {name!r}", fix=suggestion(name, list(PERTURBATIONS))
            )
    if "foreign-pictures" in only and not foreign:
        raise InputError(
            "foreign-pictures needs images of something else", fix="give their folder as --pictures"
        )
    posts = [post for post in posts if labelled_pairs(post)]
    if not posts:
        raise InputError("no labelled pair to measure on")
    models = []
    steps = len(extractors) * len(chosen) * len(SEVERITIES)
    with tqdm(total=steps, desc="robustness", leave=False, disable=None) as bar:
        for model, extractor in extractors.items():
            measured = _measure(extractor, posts, chosen, foreign, seed, bar)
            models.append({"model": model, **measured})
    return {
        "posts": len(posts),
        "pairs": sum(len(labelled_pairs(post)) for post in posts),
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
    originals = [_without_unused_inputs(extractor, post) for post in posts]
    typed = extractor.assign_types(originals)
    others = Others(typed, foreign if extractor.model.config.pair.vision_encoder else ())
    clean = count_positives(extractor, originals)
    rows: list[dict[str, Any]] = []
    untouched = []
    for name in chosen:
        own_rows = []
        scored = [(originals, clean)]
        for severity in SEVERITIES:
            bar.set_postfix_str(f"{name} {severity}")
            changed = perturb(name, severity, originals, typed, others, seed)
            scored.append((changed, _score_changed(extractor, changed, scored)))
            base, base_counts = scored[1]  # severity 0
            num_changed = sum(a != b for a, b in zip(changed, base, strict=True))
            own_rows.append(_row(name, severity, num_changed, scored[-1][1], base_counts))
            bar.update()
        if any(row["changed"] for row in own_rows):
            rows += own_rows
        else:
            untouched.append(name)
    unread = sum(post.image is not None and not others.has_image(post) for post in typed)
    return {"unread": unread, "untouched": untouched, "rows": rows}


def perturb(
    name: str,
    severity: int,
    originals: Sequence[Post],
    typed: Sequence[Post],
    others: Others,
    seed: int,
) -> list[Post]:
    """All posts under one perturbation; an unchanged type is kept only if the original gave it."""
    posts = []
    for i, (original, post) in enumerate(zip(originals, typed, strict=True)):
        seeds = [seed, zlib.crc32(name.encode()), zlib.crc32(post.id.encode()), i]
        changed = PERTURBATIONS[name](post, severity, np.random.default_rng(seeds), others)
        posts.append(original if changed is post else _restore_types(changed, post, original))
    return posts


def _restore_types(changed: Post, typed: Post, original: Post) -> Post:
    """The changed post without the types that the tagger assigned, where they were not changed."""
    triples = zip(changed.entities, typed.entities, original.entities, strict=True)
    entities = tuple(
        entity.model_copy(update={"type": before.type}) if entity.type == assigned.type else entity
        for entity, assigned, before in triples
    )
    return changed.model_copy(update={"entities": entities})


def _without_unused_inputs(extractor: Extractor, post: Post) -> Post:
    """The post without inputs that the model does not read: changes to them do not count."""
    pair = extractor.model.config.pair
    update: dict[str, Any] = {}
    if not pair.caption_words:
        update["caption"] = None
    if pair.vision_encoder is None:
        update["image"] = None
    return post.model_copy(update=update) if update else post


def _score_changed(
    extractor: Extractor, changed: Sequence[Post], scored: Sequence[tuple[Sequence[Post], Counts]]
) -> Counts:
    """The counts of posts; only those that were not yet scored in this form are scored."""
    counts = scored[0][1].copy()
    new = []
    for i, post in enumerate(changed):
        same = next((own for posts, own in scored if post is posts[i] or post == posts[i]), None)
        if same is None:
            new.append(i)
        else:
            counts[i] = same[i]
    if new:
        counts[new] = count_positives(extractor, [changed[i] for i in new])
    return counts


def count_positives(extractor: Extractor, posts: Sequence[Post]) -> Counts:
    """True, predicted and gold positives of each post, order-free and in the given order.

    Returns:
        ``(posts, 2, 3)``.
    """
    predictions = predict_pairs(extractor, posts)
    schema, nota = extractor.schema, extractor.schema.nota
    free = order_free(predictions.forward, predictions.backward, schema)
    given = [decision.relation for decision in predictions.forward]
    counts = np.zeros((len(posts), 2, 3), dtype=np.int64)
    start = 0
    for i, post in enumerate(posts):
        labelled = labelled_pairs(post)
        gold_free, gold_given = [], []
        for pair, label in zip(labelled, predictions.gold[start:], strict=False):
            if SWAPPED in pair.meta and label != nota:
                inverse = schema.inverse_of(label)
                gold_free.append(inverse or f"{label}{REVERSED}")
                gold_given.append(inverse or nota or "")
            else:
                gold_free.append(label)
                gold_given.append(label)
        part = slice(start, start + len(labelled))
        counts[i, 0] = positive_counts(gold_free, free[part], nota).sum(0)
        counts[i, 1] = positive_counts(gold_given, given[part], nota).sum(0)
        start += len(labelled)
    return counts


def _row(name: str, severity: int, changed: int, counts: Counts, base: Counts) -> dict[str, Any]:
    f1s = f1_from_counts(counts.sum(0)).tolist()
    row = {"perturbation": name, "severity": severity, "changed": changed}
    row |= dict(zip(FIGURES, f1s, strict=True))
    if severity:
        for which, figure in enumerate(FIGURES):
            ours, theirs = (one[None, :, which].swapaxes(1, 2) for one in (counts, base))
            difference = paired_difference(ours, theirs)  # (1 run, 3, posts)
            row[f"{figure}_difference"] = difference["difference"]
            row[f"{figure}_difference_ci"] = difference["difference_ci"]
            row[f"{figure}_difference_p"] = difference["p"]
    return row


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted.

    Raises:
        InputError: There is no such folder, or no image in it.
    """
    endings = {".jpg", ".tif", *(f".{kind.lower()}" for kind in FORMATS)}
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder))
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in endings and p.is_file())
    if not files:
        raise InputError("contains no images", where=str(folder))
    return files
