"""``rukh evaluate``: measure a model on labelled data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rukh.cli import options


def evaluate(
    data: Annotated[Path, typer.Option(help="Labelled posts.")],
    model: options.Model = "mnre",
    tagger: options.Tagger = None,
    format: options.Format = "jsonl",
    schema: options.Schema = None,
    threshold: options.Threshold = None,
    types: options.Types = "soft",
    direction: Annotated[
        Literal["either", "given"] | None,
        typer.Option(
            help="Whether a pair's first argument is known to be the head; by default as the "
            "format says: given for fewrel and opennre.",
        ),
    ] = None,
    images: options.Images = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N records.")] = None,
    json: options.Json = None,
    report: Annotated[Path | None, typer.Option(help="Write a report in Markdown.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the report's figures as PNG.")] = None,
) -> None:
    """Measure a model on labelled data, in the given order and in both."""
    import shlex
    import sys

    from rukh.cli.warnings import warn_captions, warn_images
    from rukh.data import readers
    from rukh.data.corpus import check_labels
    from rukh.evaluation.evaluate import evaluate_posts
    from rukh.evaluation.report import draw, markdown
    from rukh.extractor import Extractor
    from rukh.hub import cache_folder
    from rukh.utils.files import atomic_open, check_outputs, write_json

    check_outputs((json, report, plot), data, captions, boxes, schema)
    warn_images(images)
    posts = readers.read_posts(
        data, format, images=images, captions=captions, boxes=boxes, limit=limit
    )
    extractor = Extractor.from_pretrained(
        model,
        tagger=tagger,
        schema=schema,
        threshold=threshold,
        type_constraints=types,
        directed=readers.is_directed(format) if direction is None else direction == "given",
        feature_folder=cache_folder() / "features",
    )
    check_labels(posts, extractor.schema, str(data))
    warn_captions(captions, model, extractor)
    result = evaluate_posts(extractor, posts)
    if not result["positives"]:
        typer.echo("warning: no pair has a relation, so F1 and its intervals say nothing", err=True)
    if str(json) != "-":
        (low, high), (least, most) = result["micro_f1_order_free_ci"], result["micro_f1_ci"]
        typer.echo(
            f"{result['pairs']} pairs of {result['posts']} posts, {result['positives']} with a "
            f"relation, in {result['seconds']} s\n"
            f"order-free micro-F1  {100 * result['micro_f1_order_free']:.1f} "
            f"[{100 * low:.1f}, {100 * high:.1f}]\n"
            f"given-order micro-F1 {100 * result['micro_f1']:.1f} "
            f"[{100 * least:.1f}, {100 * most:.1f}] "
            f"(precision {100 * result['micro_precision']:.1f}, "
            f"recall {100 * result['micro_recall']:.1f}), "
            f"macro-F1 {100 * result['macro_f1']:.1f}, accuracy {100 * result['accuracy']:.1f}\n"
            f"{_mistakes(result)}\n"
            f"expected calibration error {100 * result['expected_calibration_error']:.1f}\n"
            f"pictures used {result['images_used']}, missing {result['images_missing']}, "
            f"broken {result['images_broken']}; captions used {result['captions_used']}"
        )
    if json is not None:
        write_json(result, json)
    if report is not None:
        command = shlex.join(["rukh", *sys.argv[1:]])
        with atomic_open(report) as stream:
            stream.write(markdown(result, f"{model} on {data.name}", command))
    if plot is not None:
        draw(result, plot, f"{model} on {data.name}")


def _mistakes(result: Mapping[str, Any]) -> str:
    """Where the order-free figure is lost, in a line or two."""
    counts, positives = result["mistakes"], result["positives"]
    told = []
    if positives:
        told.append(
            f"of {positives} with a relation {counts['right']} right, {counts['reversed']} the "
            f"other way round, {counts['confused']} as another, {counts['missed']} missed"
        )
    if without := result["pairs"] - positives:
        told.append(
            f"of {without} without one {counts['invented']} told as related, "
            f"{counts['invented_reversed']} of these from tail to head"
        )
    lines = ["order-free, " + "; ".join(told)]
    apart = []
    if (accuracy := result["relation_accuracy"]) is not None:
        apart.append(
            f"the best relation is right for {100 * accuracy:.1f} % of those that have one"
        )
    if (area := result["relation_auroc"]) is not None:
        apart.append(f"related or not: AUROC {100 * area:.1f}")
    return "\n".join([*lines, *(["; ".join(apart)] if apart else [])])
