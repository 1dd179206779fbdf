"""``rukh data``: check and convert data files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rukh.cli import options
from rukh.cli.logs import print_result
from rukh.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Check and convert data files.")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The data file (-: standard input).")],
    format: options.InputFormat = None,
    boxes: options.Boxes = None,
    json: options.Json = None,
) -> None:
    """Report each bad record with its line, field and reason. If any is bad, exit with code 2."""
    from rukh.data.readers import format_of, scan

    posts, problems = 0, []
    ids: set[str] = set()
    for line, result in scan(file, format, boxes=boxes):
        if isinstance(result, InputError):
            typer.echo(str(result), err=str(json) == "-")
            problems.append(result.to_dict(line))
        else:
            posts += 1
            ids.add(result.id)
    options.warn_repeated_ids(posts, len(ids))
    report = {
        "file": str(file),
        "format": format or format_of(file),
        "good": posts,
        "bad": len(problems),
    }
    summary = f"{file}: {posts:,} good, {len(problems):,} bad"
    print_result(summary, report | {"problems": problems}, json)
    if problems:
        raise typer.Exit(2)


@app.command()
def convert(
    file: Annotated[
        Path, typer.Argument(metavar="IN", help="The file to convert (-: standard input).")
    ],
    out: Annotated[Path, typer.Option(help="The file to write (-: standard output).")],
    format: options.InputFormat = None,
    to: Annotated[str, typer.Option(help="The format to write.")] = "jsonl",
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images. Images may be missing.")
    ] = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
) -> None:
    """Convert a data file to another format, including token and character offsets."""
    from rukh.data.captions import read_captions
    from rukh.data.readers import read, write
    from rukh.utils.files import check_outputs, is_standard_output
    from rukh.utils.progress import progress_bar

    check_outputs([out], file, captions, boxes)
    texts = None if captions is None else read_captions(captions)
    posts = read(file, format, images=images, captions=texts, boxes=boxes)
    total = write(progress_bar(posts, unit="post", delay=2), out, to)
    typer.echo(f"{total:,} posts written to {out}", err=is_standard_output(out))


@app.command()
def spec() -> None:
    """Print the JSON Schema of rukh's JSONL format."""
    from rukh.data.jsonl import json_schema
    from rukh.utils.files import write_json

    write_json(json_schema(), "-")
