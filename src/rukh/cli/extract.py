"""``rukh extract``: extract relations from posts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rukh.cli import options
from rukh.cli.logs import print_status
from rukh.errors import InputError

if TYPE_CHECKING:
    from rukh.records import Mention, Post, Triple

logger = logging.getLogger(__name__)


def extract(
    input: Annotated[Path, typer.Argument(help="File of posts.")],
    model: options.Model = "open",
    tagger: options.Tagger = None,
    detector: options.Detector = None,
    max_objects: Annotated[
        int, typer.Option(min=1, max=100, help="Maximum number of objects detected in an image.")
    ] = 20,
    schema: options.Schema = None,
    threshold: options.Threshold = None,
    type_constraints: options.TypeConstraints = "soft",
    directed: options.Directed = False,
    top_k: Annotated[
        int, typer.Option(min=0, help="Add the K most probable relations to each triple.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write the triples to this file as JSON lines; resumable.")
    ] = None,
    format: options.Format = "jsonl",
    images: options.Images = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
    table: Annotated[bool, typer.Option("--table", help="Print a readable table.")] = False,
) -> None:
    """Extract relations from posts.

    The tagger detects entities in posts without any. With --detector, objects are detected, too.

    If neither --out nor --table is given, the triples are printed as JSON lines. With --out, the
    same command resumes an interrupted run, and replaces a finished file.
    """
    import sys
    from itertools import islice, tee

    from rukh.data.captions import read_captions
    from rukh.data.readers import read
    from rukh.extractor import CHUNK_SIZE, Extractor
    from rukh.hub import model_folder
    from rukh.registry import fingerprint
    from rukh.utils.cache import content_key
    from rukh.utils.files import check_outputs
    from rukh.utils.progress import progress_bar
    from rukh.utils.resumable_output import ResumableOutput

    check_outputs([out], input, captions, boxes, schema)
    if input.exists() and not input.is_file():
        fix = "write it to a file first, as it is read twice"
        raise InputError("not a regular file", where=str(input), fix=fix)
    texts = None if captions is None else read_captions(captions)

    def read_input() -> Iterator[Post]:
        return read(input, format, images=images, captions=texts, boxes=boxes)

    # Reading the whole file first takes little time and finds a bad line before hours of work.
    total = _check_posts(read_input(), captions)
    extractor = Extractor.from_pretrained(
        model,
        tagger=tagger,
        schema=schema,
        threshold=threshold,
        type_constraints=type_constraints,
        directed=bool(directed),
        detector=detector,
        max_objects=max_objects,
    )
    options.check_captions(captions, extractor)
    output = None
    if out is not None:
        folder, tagger = model_folder(model), tagger or extractor.model.config.tagger
        identity = {
            "files": [input, captions, boxes, folder / "config.json", folder / "model.safetensors"],
            "tagger": tagger and [tagger, fingerprint("taggers", tagger)],
            "detector": detector and [detector, max_objects, fingerprint("detectors", detector)],
            "schema": content_key(extractor.schema.model_dump_json()),
            "decision": [extractor.threshold, type_constraints, directed, top_k],
            "input": [format, str(images)],
        }
        output = ResumableOutput(out, identity)
    done, relations = (output.done, output.count) if output else (0, 0)
    posts, copies = tee(islice(read_input(), done, None))
    results = zip(extractor.stream(posts, top_k=top_k), copies, strict=False)
    with progress_bar(total=total, initial=done, unit="post") as progress:
        while chunk := list(islice(results, CHUNK_SIZE)):
            lines = [triple.model_dump_json() for triples, _ in chunk for triple in triples]
            done += len(chunk)
            for triples, post in chunk:
                relations += sum(t.relation not in (None, extractor.schema.nota) for t in triples)
                if table:
                    _print_table(post, triples)
            if output is not None:
                output.commit(lines, done, relations)
            elif not table:
                sys.stdout.writelines(line + "\n" for line in lines)
            progress.update(len(chunk))
    if output is not None:
        output.finish()
    where = f", written to {out}" if out else ""
    print_status(f"{total:,} posts, {relations:,} relations{where}")


def _check_posts(posts: Iterable[Post], captions: Path | None) -> int:
    """Count the posts, and log a warning if ids are repeated or captions match no post.

    Raises:
        InputError: A post without a list of pairs has too many arguments.
    """
    from rukh.records import check_pair_count

    total = captioned = 0
    ids: set[int] = set()
    for post in posts:
        if post.pairs is None:
            check_pair_count(post)
        total += 1
        captioned += post.caption is not None
        ids.add(hash(post.id))
    options.warn_repeated_ids(total, len(ids))
    if captions is not None and not captioned:
        logger.warning("no caption in %s belongs to an image of these posts", captions)
    return total


def _print_table(post: Post, triples: Iterable[Triple]) -> None:
    """Print a post and its triples."""
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size((100, 24)).columns, 110)
    image = f"  [{post.image}]" if isinstance(post.image, Path) else ""
    title = " ".join(f"{post.id}  {post.text}{image}".split())
    typer.echo(textwrap.fill(title, width, subsequent_indent="  "))
    for triple in triples:
        head, tail = _name(triple.head), _name(triple.tail)
        gate = "" if triple.gate is None else f"  image gate {triple.gate:.2f}"
        relation = triple.relation or "(none)"
        typer.echo(f"    {head}  --{relation}-->  {tail}   {triple.score:.2f}{gate}")
        if triple.description:
            reason = f"        because: {triple.description}"
            typer.echo(textwrap.fill(reason, width, subsequent_indent=" " * 8))
    typer.echo("")


def _name(argument: Mention) -> str:
    """Return the words of an entity, or the label and box of an object."""
    from rukh.records import EntityMention

    if isinstance(argument, EntityMention):
        return argument.surface
    box = ", ".join(f"{edge:.2f}" for edge in argument.box)
    return f"{argument.surface} at {box}"
