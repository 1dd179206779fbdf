"""``rukh data``: check, convert, compose and encode data files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rukh.cli import options
from rukh.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rukh.records import Post

app = typer.Typer(no_args_is_help=True, help="Check, convert and describe data files.")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The data file.")],
    format: options.Format = "jsonl",
    boxes: options.Boxes = None,
    json: options.Json = None,
) -> None:
    """Report every bad line (number, field, and why) and go on; exit 2 if there was one."""
    from rukh.data.readers import scan
    from rukh.utils.files import write_json

    posts, problems = 0, []
    quiet = str(json) == "-"
    for line, result in scan(file, format, boxes=boxes):
        if isinstance(result, InputError):
            typer.echo(str(result), err=quiet)
            problems.append(
                {"line": line, "field": result.field, "why": result.problem, "fix": result.fix}
            )
        else:
            posts += 1
    typer.echo(f"{file}: {posts:,} good, {len(problems):,} bad", err=quiet)
    if json is not None:
        report = {"file": str(file), "format": format, "good": posts, "bad": len(problems)}
        write_json(report | {"problems": problems}, json)
    if problems:
        raise typer.Exit(2)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="IN", help="The file to convert.")],
    out: Annotated[Path, typer.Option(help="The file to write, whole or not at all.")],
    format: options.Format = "jsonl",
    to: Annotated[str, typer.Option(help="The format to write.")] = "jsonl",
    images: options.Images = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
) -> None:
    """Convert a data file; token offsets become character offsets, and back."""
    from tqdm import tqdm

    from rukh.data.more import boxes_elsewhere
    from rukh.data.readers import read, read_captions, write
    from rukh.utils.files import check_output

    check_output(out, file, captions, boxes)
    known = None if captions is None else read_captions(captions)
    posts = read(file, format, images=images, captions=known, boxes=boxes)
    elsewhere = 0

    def counted(posts: Iterable[Post]) -> Iterator[Post]:
        nonlocal elsewhere
        for post in posts:
            elsewhere += boxes_elsewhere(post) if to == "more" else 0
            yield post

    with tqdm(posts, unit=" posts", delay=2, leave=False) as progress:
        write(counted(progress), out, to)
    typer.echo(f"{progress.n:,} posts written to {out}")
    if elsewhere:
        typer.echo(
            f"warning: the boxes of {elsewhere:,} objects are not in {out}, as they came from a "
            f"dictionary: read it with that by --boxes, or copy it to ent_{out.stem}_dict.json or "
            ".pth beside it",
            err=True,
        )


@app.command()
def compose(
    templates: Annotated[Path, typer.Argument(help="Relations with sentence templates, YAML.")],
    out: Annotated[Path, typer.Option(help="Folder for posts.jsonl and schema.yaml.")],
    fills: Annotated[int, typer.Option(min=1, max=100, help="How often each is filled.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the words.")] = 0,
) -> None:
    """Compose labelled posts from sentence templates, and the schema of their relations."""
    from rukh.config import load_config
    from rukh.data.readers import write
    from rukh.data.templates import Templates
    from rukh.data.templates import compose as composed
    from rukh.utils.files import atomic_folder, check_folder

    check_folder(out, {"posts.jsonl", "schema.yaml"})
    given = load_config(templates, Templates)
    posts = list(composed(given.relations, fills, seed))
    with atomic_folder(out) as part:
        write(posts, part / "posts.jsonl")
        (part / "schema.yaml").write_text(given.as_schema().to_yaml(), encoding="utf-8")
    typer.echo(f"{len(posts):,} posts of {len(given.relations):,} relations written to {out}")


@app.command()
def features(
    data: Annotated[Path, typer.Option(help="Posts whose pictures are to be encoded.")],
    vision: Annotated[
        str, typer.Option(help="A vision encoder that `rukh weights list` shows, or a folder.")
    ] = "efficientnet-lite0",
    size: Annotated[
        int | None,
        typer.Option(min=32, max=1024, help="Side in pixels; by default as it was trained."),
    ] = None,
    intermediate_features: Annotated[
        bool, typer.Option("--middle-map", help="For a model with `pair.intermediate_features`.")
    ] = False,
    format: options.Format = "jsonl",
    images: options.Images = None,
    boxes: options.Boxes = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures of one pass.")] = 2,
    json: options.Json = None,
) -> None:
    """Encode pictures once, for training, evaluation and extraction; goes on where it stopped."""
    from rukh.data.readers import read
    from rukh.hub import cache_folder
    from rukh.modeling.image_features import FeatureCache
    from rukh.modeling.vision_encoder import load_vision_encoder
    from rukh.utils.files import write_json

    posts = read(data, format, images=images, boxes=boxes)
    pictures = list(dict.fromkeys(post.image for post in posts if post.image is not None))
    encoder = load_vision_encoder(vision, size=size, intermediate_features=intermediate_features)
    store = FeatureCache(cache_folder() / "features", encoder, batch_size=batch_size)
    computed = store.fill(pictures)
    report = {
        "pictures": len(pictures),
        "computed": computed,
        "missing": len(store.missing),
        "broken": dict(sorted(store.broken.items())),
        "folder": str(store.folder),
    }
    if str(json) != "-":
        for name, why in sorted((store.broken | store.missing).items()):
            typer.echo(f"{name}: {why}", err=True)
        typer.echo(
            f"{len(pictures):,} pictures: {computed:,} encoded now, {len(store.missing):,} not "
            f"there, {len(store.broken):,} broken, the others known before; in {store.folder}"
        )
    if json is not None:
        write_json(report, json)
    if pictures and len(store.missing) + len(store.broken) == len(pictures):
        raise InputError("none of the pictures can be read", where=str(data))


@app.command()
def spec() -> None:
    """Print the JSON Schema of rukh's own JSONL."""
    from rukh.data.jsonl import json_schema
    from rukh.utils.files import write_json

    write_json(json_schema(), "-")
