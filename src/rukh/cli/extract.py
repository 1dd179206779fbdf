"""``rukh extract``: posts in, triples out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rukh.cli import options

if TYPE_CHECKING:
    from rukh.extractor import Extractor
    from rukh.records import Mention, Post, Triple


def extract(
    input: Annotated[Path, typer.Argument(help="Posts, one record a line.")],
    model: options.Model = "mnre",
    tagger: options.Tagger = None,
    detector: options.Detector = None,
    max_objects: Annotated[
        int, typer.Option(min=1, max=100, help="The most objects found in a picture.")
    ] = 20,
    schema: options.Schema = None,
    threshold: options.Threshold = None,
    types: options.Types = "soft",
    direction: options.Direction = "either",
    top_k: Annotated[int, typer.Option(min=0, help="Add the K best relations of each pair.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write triples here, as JSON lines; resumable.")
    ] = None,
    format: options.Format = "jsonl",
    images: options.Images = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
    table: Annotated[bool, typer.Option("--table", help="Print a table to read.")] = False,
) -> None:
    """Extract relations from posts; a post without entities has them found by the tagger, and one
    without objects by --detector.

    Without --out and --table, triples go to standard output as JSON lines. An interrupted run
    with --out goes on where it stopped when the same command is given again; a finished file is
    replaced.
    """
    import hashlib
    import sys
    from itertools import islice, tee

    from tqdm import tqdm

    from rukh.arguments import detection
    from rukh.arguments.tagger import fingerprint
    from rukh.cli.warnings import warn_captions, warn_images
    from rukh.data.readers import read, read_captions
    from rukh.extractor import CHUNK_SIZE, Extractor
    from rukh.hub import model_folder
    from rukh.utils.files import check_output, sha256
    from rukh.utils.resumable_output import ResumableOutput

    check_output(out, input, captions, boxes, schema)
    warn_images(images)
    told = read_captions(captions) if captions is not None else None
    # Reading the whole file first costs little and finds a bad line before hours of work.
    total = captioned = 0
    ids: set[int] = set()
    for post in read(input, format, images=images, captions=told, boxes=boxes):
        total += 1
        captioned += post.caption is not None
        ids.add(hash(post.id))
    if len(ids) < total:
        typer.echo(
            f"warning: {total - len(ids):,} of {total:,} posts repeat the id of another, so that "
            "their triples cannot be told apart by it",
            err=True,
        )
    extractor = Extractor.from_pretrained(
        model,
        tagger=tagger,
        schema=schema,
        threshold=threshold,
        type_constraints=types,
        directed=direction == "given",
        detector=detector,
        max_objects=max_objects,
    )
    warn_captions(captions, model, extractor, captioned)
    journal = None
    if out is not None:
        folder = model_folder(model)
        named = tagger or extractor.model.config.tagger
        known = None if detector is None else detection.fingerprint(detector)
        meanings = extractor.schema.model_dump_json().encode()
        journal = ResumableOutput(
            out,
            {
                "input": sha256(input),
                "captions": None if captions is None else sha256(captions),
                "model": [sha256(folder / name) for name in ("model.safetensors", "config.json")],
                "tagger": None if named is None else [named, fingerprint(named)],
                **({} if detector is None else {"detector": [detector, max_objects, known]}),
                # By its hash: the note is written anew at every step, and may speak of thousands.
                "schema": hashlib.sha256(meanings).hexdigest(),
                "options": [format, str(images), extractor.threshold, types, top_k]
                + ["given"] * (direction == "given"),
            },
        )
    done = journal.done if journal else 0
    remaining = islice(read(input, format, images=images, captions=told, boxes=boxes), done, None)
    posts, copies = tee(remaining)
    triples_told = 0
    stream = extractor.stream(posts, top_k=top_k)
    with tqdm(total=total, initial=done, unit="post", disable=None, file=sys.stderr) as progress:
        while answers := list(islice(stream, CHUNK_SIZE)):
            chunk = list(islice(copies, len(answers)))
            rows = [triple for triples in answers for triple in triples]
            lines = [row.model_dump_json() for row in rows]
            done += len(chunk)
            triples_told += sum(row.relation not in (None, extractor.schema.nota) for row in rows)
            if table:
                for post, triples in zip(chunk, answers, strict=True):
                    _print(post, triples, extractor)
            elif journal is None:
                sys.stdout.writelines(line + "\n" for line in lines)
            if journal is not None:
                journal.commit(lines, done)
            progress.update(len(chunk))
    if journal is not None:
        journal.finish()
    _summary(total, triples_told, extractor, out)


def _summary(posts: int, told: int, extractor: Extractor, out: Path | None) -> None:
    """One line to standard error, and one for whatever could not be used."""
    from itertools import islice

    from rukh.cli.warnings import NAMED

    where = f", written to {out}" if out else ""
    typer.echo(f"{posts} posts, {told} relations told{where}", err=True)
    features = extractor.features
    for problem, names in (
        ("that are missing", features.missing if features else {}),
        ("that cannot be read", features.broken if features else {}),
    ):
        if names:
            typer.echo(f"warning: pictures {problem}: {len(names)}", err=True)
            for name, why in islice(names.items(), NAMED):
                typer.echo(f"    {name[-200:]}: {why}", err=True)
            if len(names) > NAMED:
                typer.echo(f"    and {len(names) - NAMED} more", err=True)


def _print(post: Post, triples: list[Triple], extractor: Extractor) -> None:
    """One post and its answers, to be read by a person."""
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size((100, 24)).columns, 110)
    title = f"{post.id}  {post.text}" + (
        f"  [{post.image}]" if isinstance(post.image, Path) else ""
    )
    typer.echo(textwrap.fill(" ".join(title.split()), width, subsequent_indent="  "))
    for triple in triples:
        head, tail = _name(triple.head), _name(triple.tail)
        gate = "" if triple.gate is None else f"  picture trusted {triple.gate:.2f}"
        relation = triple.relation or "(none)"
        typer.echo(f"    {head}  --{relation}-->  {tail}   {triple.score:.2f}{gate}")
        if triple.description:
            why = f"because: {triple.description}"
            typer.echo(textwrap.fill(why, width, initial_indent=" " * 8, subsequent_indent=" " * 8))
    typer.echo("")


def _name(mention: Mention) -> str:
    """The words of an entity, or the label and box of an object."""
    from rukh.records import EntityMention

    if isinstance(mention, EntityMention):
        return mention.text
    label = mention.label or mention.type or mention.id
    return f"{label} at " + ", ".join(f"{edge:.2f}" for edge in mention.box)
