"""``rukh evaluate``: measure a model on labelled data."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from rukh.cli import options
from rukh.cli.logs import print_result
from rukh.errors import InputError

logger = logging.getLogger(__name__)


def evaluate(
    data: Annotated[Path, typer.Option(help="File of labelled posts.")],
    model: options.Model = "open",
    tagger: options.Tagger = None,
    format: options.Format = "jsonl",
    schema: options.Schema = None,
    threshold: options.Threshold = None,
    type_constraints: options.TypeConstraints = "soft",
    directed: options.Directed = None,
    images: options.Images = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
    device: options.Device = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first N records.")] = None,
    json: options.Json = None,
    report: Annotated[Path | None, typer.Option(help="Write a report in Markdown.")] = None,
    end_to_end: Annotated[
        bool,
        typer.Option(
            "--end-to-end",
            help="Measure detected entities and triples, with the entities given and on the raw "
            "text. The posts must list all entities and relations.",
        ),
    ] = False,
    predictions: Annotated[
        Path | None,
        typer.Option(help="With --end-to-end: write gold and predicted triples as JSON lines."),
    ] = None,
) -> None:
    """Measure a model on labelled data, in the given order of arguments and in both orders.

    Pairs in the formats fewrel and opennre are directed unless --undirected is given.
    """
    import shlex
    import sys
    from json import dumps as dump_json

    from rukh.data.corpus import check_labels
    from rukh.data.readers import is_directed, read_posts
    from rukh.evaluation.evaluate import evaluate_posts
    from rukh.evaluation.report import end_to_end_summary, markdown, summary
    from rukh.extractor import Extractor
    from rukh.hub import cache_folder
    from rukh.utils.files import atomic_open, check_outputs

    if end_to_end and report:
        raise InputError("--report cannot be combined with --end-to-end", fix="use --json")
    if predictions and not end_to_end:
        raise InputError("--predictions needs --end-to-end")
    check_outputs((json, report, predictions), data, captions, boxes, schema)
    posts = read_posts(data, format, images=images, captions=captions, boxes=boxes, limit=limit)
    extractor = Extractor.from_pretrained(
        model,
        tagger=tagger,
        schema=schema,
        threshold=threshold,
        type_constraints=type_constraints,
        directed=is_directed(format) if directed is None else directed,
        feature_folder=cache_folder() / "features",
        device=device,
    )
    if end_to_end:
        from rukh.evaluation.end_to_end import evaluate_end_to_end

        result, predicted = evaluate_end_to_end(extractor, posts)
        print_result(end_to_end_summary(result), result, json)
        if predictions is not None:
            with atomic_open(predictions) as stream:
                for row in predicted.rows(extractor.threshold):
                    stream.write(dump_json(row, ensure_ascii=False) + "\n")
        return
    check_labels(posts, extractor.schema, str(data))
    options.check_captions(captions, extractor)
    result = evaluate_posts(extractor, posts)
    if not result["positives"]:
        logger.warning("no pair has a relation, so the F1 scores are meaningless")
    print_result(summary(result), result, json)
    if report is not None:
        with atomic_open(report) as stream:
            command = shlex.join(["rukh", *sys.argv[1:]])
            stream.write(markdown(result, f"{model} on {data.name}", command))
