"""``rukh evaluate``: measure a model on labelled data."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rukh.cli import options
from rukh.cli.logs import print_result

logger = logging.getLogger(__name__)


def evaluate(
    data: Annotated[Path, typer.Option(help="File of labelled posts.")],
    model: options.Model = "mnre",
    tagger: options.Tagger = None,
    format: options.Format = "jsonl",
    schema: options.Schema = None,
    threshold: options.Threshold = None,
    type_constraints: options.TypeConstraints = "soft",
    directed: options.Directed = None,
    images: options.Images = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first N records.")] = None,
    json: options.Json = None,
    report: Annotated[Path | None, typer.Option(help="Write a report in Markdown.")] = None,
) -> None:
    """Measure a model on labelled data, in the given order of arguments and in both orders.

    Pairs in the formats fewrel and opennre are directed unless --undirected is given.
    """
    import shlex
    import sys

    from rukh.data.corpus import check_labels
    from rukh.data.readers import is_directed, read_posts
    from rukh.evaluation.evaluate import evaluate_posts
    from rukh.evaluation.report import markdown
    from rukh.extractor import Extractor
    from rukh.hub import cache_folder
    from rukh.utils.files import atomic_open, check_outputs

    check_outputs((json, report), data, captions, boxes, schema)
    posts = read_posts(data, format, images=images, captions=captions, boxes=boxes, limit=limit)
    extractor = Extractor.from_pretrained(
        model,
        tagger=tagger,
        schema=schema,
        threshold=threshold,
        type_constraints=type_constraints,
        directed=is_directed(format) if directed is None else directed,
        feature_folder=cache_folder() / "features",
    )
    check_labels(posts, extractor.schema, str(data))
    options.check_captions(captions, extractor)
    result = evaluate_posts(extractor, posts)
    if not result["positives"]:
        logger.warning("no pair has a relation, so the F1 scores are meaningless")
    print_result(_summary(result), result, json)
    if report is not None:
        with atomic_open(report) as stream:
            command = shlex.join(["rukh", *sys.argv[1:]])
            stream.write(markdown(result, f"{model} on {data.name}", command))


def _summary(result: Mapping[str, Any]) -> str:
    from rukh.utils.markdown import percent

    lines = [
        f"{result['pairs']:,} pairs of {result['posts']:,} posts, {result['positives']:,} with a "
        f"relation, in {result['seconds']} s"
    ]
    for name, key in (("order-free", "micro_f1_order_free"), ("given-order", "micro_f1")):
        low, high = map(percent, result[f"{key}_ci"])
        lines.append(f"{name} micro-F1: {percent(result[key])} [{low}, {high}]")
    keys = ("micro_precision", "micro_recall", "macro_f1", "accuracy", "expected_calibration_error")
    lines.append(", ".join(f"{key.replace('_', ' ')} {percent(result[key])}" for key in keys))
    counts = ", ".join(f"{key.replace('_', ' ')} {n}" for key, n in result["mistakes"].items())
    lines.append(f"order-free, pairs: {counts}")
    for key in ("relation_accuracy", "relation_auroc"):
        if result[key] is not None:
            lines.append(f"{key.replace('_', ' ')} {percent(result[key])}")
    return "\n".join(lines)
