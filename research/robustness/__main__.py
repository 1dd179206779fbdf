"""`python -m research.robustness`: measure models on posts with noise in their inputs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from research.command import command_line, main
from research.robustness import report as page
from research.robustness import study
from rukh.cli import options
from rukh.data.corpus import check_labels
from rukh.data.readers import read_posts
from rukh.extractor import Extractor
from rukh.utils.files import check_outputs, write_json


def robustness(
    data: Annotated[Path, typer.Option(help="Labelled posts.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="A shipped model, or a folder; by default mnre. Repeatable."),
    ] = None,
    format: options.Format = "jsonl",
    images: options.Images = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
    tagger: options.Tagger = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PERTURBATION", help="Apply only this one. Repeatable."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="A folder of images of something else, for foreign-pictures."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N records.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all random choices.")] = 0,
    json: options.Json = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page (.html) or only the plot (.png).")
    ] = None,
) -> None:
    """Measure models under noise in words, types, captions, images, boxes and argument order."""
    check_outputs((json, report), data, captions, boxes)
    if report is not None:
        page.check_report(report)
    foreign = study.images_in(pictures) if pictures is not None else []
    posts = read_posts(data, format, images=images, captions=captions, boxes=boxes, limit=limit)
    loaded = {
        name: Extractor.from_pretrained(name, tagger=tagger)
        for name in dict.fromkeys(model or ["mnre"])
    }
    for extractor in loaded.values():
        check_labels(posts, extractor.schema, str(data))
    result = {
        "data": str(data),
        **study.robustness(loaded, posts, only=only or (), foreign=foreign, seed=seed),
    }
    if unread := max(model["unread"] for model in result["models"]):
        typer.echo(
            f"warning: the images of {unread:,} of {result['posts']:,} posts are missing or "
            "cannot be read, so they are not perturbed",
            err=True,
        )
    if str(json) != "-":
        typer.echo(
            f"{result['pairs']:,} pairs of {result['posts']:,} posts in {result['seconds']} s\n"
        )
        typer.echo(page.markdown(result), nl=False)
    if json is not None:
        write_json(result, json)
    if report is not None:
        command = shlex.join(["python", "-m", "research.robustness", *sys.argv[1:]])
        page.write(result, report, command)


app = command_line(robustness)
if __name__ == "__main__":
    main(app)
