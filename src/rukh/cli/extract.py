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
    input: Annotated[Path, typer.Argument(help="File of posts (-: standard input).")],
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
        Path | None,
        typer.Option(help="Write the triples as JSON lines to this file (-: standard output)."),
    ] = None,
    format: options.Format = "jsonl",
    images: options.Images = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
    device: options.Device = "auto",
    table: Annotated[bool, typer.Option("--table", help="Print a readable table.")] = False,
) -> None:
    """Extract relations from posts.

    The tagger detects entities in posts without any. With --detector, objects are detected, too.

    If neither --out nor --table is given, the triples are printed as JSON lines. With --out, the
    same command resumes an interrupted run, and replaces a finished file. A run that reads standard
    input or a pipe cannot be resumed. Files whose names end in .gz are read and written compressed.
    """
    import sys
    from contextlib import ExitStack, closing
    from itertools import islice, tee

    from rukh.data.captions import read_captions
    from rukh.data.readers import read
    from rukh.extractor import CHUNK_SIZE, Extractor
    from rukh.hub import model_folder
    from rukh.registry import fingerprint
    from rukh.utils.cache import content_key
    from rukh.utils.files import atomic_open, check_outputs, is_standard_output, is_stream
    from rukh.utils.progress import progress_bar
    from rukh.utils.resumable_output import ResumableOutput

    check_outputs([out], input, captions, boxes, schema)
    if out is not None and is_standard_output(out):
        if table:
            problem = "--table and --out - both write to standard output"
            raise InputError(problem, fix="name a file, or leave one of them out")
        out = None
    streams = [path for path in (input, captions, boxes) if path is not None and is_stream(path)]
    texts = None if captions is None else read_captions(captions)

    def read_input() -> Iterator[Post]:
        return read(input, format, images=images, captions=texts, boxes=boxes)

    check, total = _Check(), None
    if not streams:
        # Reading the whole file first takes little time and finds a bad line before hours of work.
        for _ in check.watch(read_input()):
            pass
        check.warn(captions)
        total = check.total
    extractor = Extractor.from_pretrained(
        model,
        tagger=tagger,
        schema=schema,
        threshold=threshold,
        type_constraints=type_constraints,
        directed=bool(directed),
        detector=detector,
        max_objects=max_objects,
        device=device,
    )
    options.check_captions(captions, extractor)
    output = lines_out = None
    done = relations = 0
    with ExitStack() as stack:
        if out is None:
            lines_out = None if table else sys.stdout
        elif streams or is_stream(out):
            if not is_stream(out):
                print_status(f"{streams[0]} can be read only once: this run cannot be resumed")
            lines_out = stack.enter_context(atomic_open(out))
        else:
            folder, tagger = model_folder(model), tagger or extractor.model.config.tagger
            weights = [folder / "config.json", folder / "model.safetensors"]
            identity = {
                "files": [input, captions, boxes, *weights],
                "tagger": tagger and [tagger, fingerprint("taggers", tagger)],
                "detector": detector
                and [detector, max_objects, fingerprint("detectors", detector)],
                "schema": content_key(extractor.schema.model_dump_json()),
                "decision": [extractor.threshold, type_constraints, directed, top_k],
                "input": [format, str(images)],
            }
            output = stack.enter_context(closing(ResumableOutput(out, identity)))
            done, relations = output.done, output.count
        source = check.watch(read_input()) if streams else islice(read_input(), done, None)
        posts, copies = tee(source)
        results = zip(extractor.stream(posts, top_k=top_k), copies, strict=False)
        progress = stack.enter_context(progress_bar(total=total, initial=done, unit="post"))
        while chunk := list(islice(results, CHUNK_SIZE)):
            lines = [triple.model_dump_json() for triples, _ in chunk for triple in triples]
            done += len(chunk)
            for triples, post in chunk:
                relations += sum(t.relation not in (None, extractor.schema.nota) for t in triples)
                if table:
                    _print_table(post, triples)
            if output is not None:
                output.commit(lines, done, relations)
            elif lines_out is not None:
                lines_out.writelines(line + "\n" for line in lines)
                lines_out.flush()
            progress.update(len(chunk))
        if output is not None:
            output.finish()
    if streams:
        check.warn(captions)
    where = f", written to {out}" if out else ""
    print_status(f"{done:,} posts, {relations:,} relations{where}")


class _Check:
    """Checks and counts posts as they are read, for warnings at the end.

    Attributes:
        total: Number of posts so far.
    """

    def __init__(self) -> None:
        self.total = self._captioned = 0
        self._ids: set[int] = set()

    def watch(self, posts: Iterable[Post]) -> Iterator[Post]:
        """Yield the posts.

        Raises:
            InputError: A post without a list of pairs has too many arguments.
        """
        from rukh.records import check_pair_count

        for post in posts:
            if post.pairs is None:
                check_pair_count(post)
            self.total += 1
            self._captioned += post.caption is not None
            self._ids.add(hash(post.id))
            yield post

    def warn(self, captions: Path | None) -> None:
        """Log a warning if ids are repeated or captions match no post."""
        options.warn_repeated_ids(self.total, len(self._ids))
        if captions is not None and not self._captioned:
            logger.warning("no caption in %s belongs to an image of these posts", captions)


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
