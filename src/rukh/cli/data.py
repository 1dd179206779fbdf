"""``rukh data``: check, convert and compose data files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rukh.cli import options
from rukh.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Check, convert and compose data files.")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The data file.")],
    format: options.Format = "jsonl",
    boxes: options.Boxes = None,
    json: options.Json = None,
) -> None:
    """Report every bad record with its line, field and reason. Exits with 2 if there is one."""
    from rukh.data.readers import scan
    from rukh.utils.files import write_json

    posts, problems = 0, []
    to_stderr = str(json) == "-"
    for line, result in scan(file, format, boxes=boxes):
        if isinstance(result, InputError):
            typer.echo(str(result), err=to_stderr)
            problems.append(
                {"line": line, "field": result.field, "why": result.problem, "fix": result.fix}
            )
        else:
            posts += 1
    typer.echo(f"{file}: {posts:,} good, {len(problems):,} bad", err=to_stderr)
    if json is not None:
        report = {"file": str(file), "format": format, "good": posts, "bad": len(problems)}
        write_json(report | {"problems": problems}, json)
    if problems:
        raise typer.Exit(2)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="IN", help="The file to convert.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format: options.Format = "jsonl",
    to: Annotated[str, typer.Option(help="The format to write.")] = "jsonl",
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, which may be missing.")
    ] = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
) -> None:
    """Convert a data file to another format; token offsets become character offsets, and back."""
    from rukh.data.captions import read_captions
    from rukh.data.readers import read, write
    from rukh.utils.files import check_outputs
    from rukh.utils.progress import progress_bar

    check_outputs([out], file, captions, boxes)
    texts = None if captions is None else read_captions(captions)
    posts = read(file, format, images=images, captions=texts, boxes=boxes)
    total = write(progress_bar(posts, unit="post", delay=2), out, to)
    typer.echo(f"{total:,} posts written to {out}")


@app.command()
def compose(
    templates: Annotated[Path, typer.Argument(help="Relations with sentence templates, YAML.")],
    out: Annotated[Path, typer.Option(help="Folder for posts.jsonl and schema.yaml.")],
    fills: Annotated[int, typer.Option(min=1, max=100, help="Number of posts per template.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of words.")] = 0,
) -> None:
    """Compose labelled posts from sentence templates, and the schema of their relations."""
    from rukh.config import load_config
    from rukh.data import templates as sentences
    from rukh.data.readers import write
    from rukh.utils.files import atomic_folder, check_output_folder

    check_output_folder(out, {"posts.jsonl", "schema.yaml"})
    config = load_config(templates, sentences.Templates)
    posts = list(sentences.compose(config.relations, fills, seed))
    with atomic_folder(out) as part:
        write(posts, part / "posts.jsonl")
        (part / "schema.yaml").write_text(config.as_schema().to_yaml(), encoding="utf-8")
    typer.echo(f"{len(posts):,} posts of {len(config.relations):,} relations written to {out}")


@app.command()
def spec() -> None:
    """Print the JSON Schema of rukh's own JSONL."""
    from rukh.data.jsonl import json_schema
    from rukh.utils.files import write_json

    write_json(json_schema(), "-")
