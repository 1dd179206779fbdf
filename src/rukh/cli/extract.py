"""``rukh extract``: extract relations from posts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from rukh.cli import options
from rukh.cli.logs import print_status
from rukh.cli.table import print_post
from rukh.errors import InputError

if TYPE_CHECKING:
    from rukh.extractor import PostTriples
    from rukh.records import Post

logger = logging.getLogger(__name__)

Records: TypeAlias = "Iterator[tuple[int, Post | InputError]]"
Refuse: TypeAlias = Callable[[int, InputError], None]


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
    across_windows: Annotated[
        bool,
        typer.Option(
            "--across-windows",
            help="In long texts, predict also pairs that are far from each other. Slow.",
        ),
    ] = False,
    top_k: Annotated[
        int, typer.Option(min=0, help="Add the K most probable relations to each triple.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the triples to this file (-: standard output), as a table if its name "
            "ends in .csv, .tsv or .parquet, else as JSON lines."
        ),
    ] = None,
    format: options.InputFormat = None,
    text_column: Annotated[str, typer.Option(help="Column of a table with the texts.")] = "text",
    id_column: Annotated[
        str | None,
        typer.Option(help="Column of a table with the ids. Default: id, else the row number."),
    ] = None,
    images: options.Images = None,
    captions: options.Captions = None,
    boxes: options.Boxes = None,
    on_error: Annotated[
        Literal["stop", "skip"],
        typer.Option(
            help="What to do with an invalid line. `skip`: write it to OUT.errors.jsonl (without "
            "--out: report it), and go on."
        ),
    ] = "stop",
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Add to each triple its reason: the words of the post that carried the decision. "
            "Slow.",
        ),
    ] = False,
    show_entities: Annotated[
        bool,
        typer.Option(
            "--show-entities",
            help="Before the triples of each post, write its entities and objects.",
        ),
    ] = False,
    device: options.Device = "auto",
    table: Annotated[bool, typer.Option("--table", help="Print a readable table.")] = False,
) -> None:
    """Extract relations from posts.

    The tagger detects entities in posts without any. With --detector, objects are detected, too.

    If neither --out nor --table is given, the triples are printed as JSON lines. With --out, the
    same command resumes an interrupted run, and replaces a finished file. A run that reads standard
    input or a pipe, or writes Parquet, cannot be resumed. Files whose names end in .gz are read and
    written compressed.
    """
    import sys
    from contextlib import ExitStack, closing
    from itertools import islice

    from rukh.arguments.candidates import MAX_ARGUMENTS_FOR_ALL_PAIRS
    from rukh.data.captions import read_captions
    from rukh.data.format import suffix
    from rukh.data.readers import scan
    from rukh.data.triples import ParquetTriples, TripleLines, arguments_row
    from rukh.explain import add_reasons
    from rukh.extractor import CHUNK_SIZE, Extractor
    from rukh.hub import model_folder
    from rukh.registry import fingerprint
    from rukh.utils.cache import content_key
    from rukh.utils.files import atomic_open, check_outputs, is_standard_output, is_stream
    from rukh.utils.progress import progress_bar
    from rukh.utils.resumable_output import ResumableOutput

    if out is not None and is_standard_output(out):
        if table:
            problem = "--table and --out - both write to standard output"
            raise InputError(problem, fix="name a file, or leave one of them out")
        out = None
    errors = None
    if on_error == "skip" and out is not None and not is_stream(out):
        errors = out.with_name(f"{out.name}.errors.jsonl")
    check_outputs([out, errors], input, captions, boxes, schema)
    to_lines = TripleLines(out or "-")
    to_parquet = out is not None and suffix(out) == ".parquet"
    if to_lines.table or to_parquet:
        extra = {"--top-k": top_k, "--show-entities": show_entities, "--explain": explain}
        for option, given in extra.items():
            if given:
                problem = f"a table has no place for what {option} adds"
                raise InputError(problem, where=str(out), fix="name a file that ends in .jsonl")
    streams = [path for path in (input, captions, boxes) if path is not None and is_stream(path)]
    texts = None if captions is None else read_captions(captions)
    folder = model_folder(model)  # once, so that the hub is asked once
    extractor = Extractor.from_pretrained(
        folder,
        tagger=tagger,
        schema=schema,
        threshold=threshold,
        type_constraints=type_constraints,
        directed=bool(directed),
        across_windows=across_windows,
        detector=detector,
        max_objects=max_objects,
        device=device,
    )
    options.check_captions(captions, extractor)

    def records() -> Records:
        for number, result in scan(
            input,
            format,
            images=images,
            captions=texts,
            boxes=boxes,
            text_column=text_column,
            id_column=id_column,
        ):
            try:
                if (
                    not isinstance(result, InputError)
                    and result.pairs is None
                    and len(result.arguments) > MAX_ARGUMENTS_FOR_ALL_PAIRS
                ):
                    extractor.candidate_parts(result)  # raises if there are too many pairs
            except InputError as error:
                result = error
            yield number, result

    check, total = _Check(), None
    if not streams:
        # Reading the whole file first takes little time and finds a bad line before hours of work.
        with _refusals(on_error, errors) as refuse:
            for _ in progress_bar(check.watch(records(), refuse), desc="checking", delay=2):
                pass
        check.warn(captions)
        total = check.total
    output = parquet = None
    stream: IO[Any] | None = None
    done = relations = 0
    with ExitStack() as stack:
        if out is None:
            stream = None if table else sys.stdout
        elif to_parquet or streams or is_stream(out):
            if not is_stream(out):
                reason = f"{streams[0]} can be read only once" if streams else f"{out} is Parquet"
                print_status(f"{reason}: this run cannot be resumed")
            stream = stack.enter_context(atomic_open(out, "wb" if to_parquet else "w"))
            if to_parquet:
                parquet = stack.enter_context(closing(ParquetTriples(stream)))
        else:
            tagger = tagger or extractor.model.config.tagger
            weights = [folder / "config.json", folder / "model.safetensors"]
            decision = [extractor.threshold, type_constraints, directed, across_windows, top_k]
            decision.append(explain)
            identity = {
                "files": [input, captions, boxes, *weights],
                "tagger": tagger and [tagger, fingerprint("taggers", tagger)],
                "detector": detector
                and [detector, max_objects, fingerprint("detectors", detector)],
                "schema": content_key(extractor.schema.model_dump_json()),
                "decision": decision,
                "input": [format, str(images), text_column, id_column],
                "output": show_entities,
            }
            output = ResumableOutput(out, identity, to_lines.header)
            stack.enter_context(closing(output))
            done, relations = output.done, output.count
            if done:
                print_status(f"continuing after {done:,} posts; warnings count the others only")
        if streams:
            posts = check.watch(records(), stack.enter_context(_refusals(on_error, errors)))
        else:
            again = (post for _, post in records() if not isinstance(post, InputError))
            posts = islice(again, done, None)

        def lines(chunk: list[PostTriples]) -> Iterator[str]:
            for post, triples in chunk:
                if show_entities:
                    yield json.dumps(arguments_row(post), ensure_ascii=False)
                yield from to_lines(triples)

        if stream is not None and to_lines.header is not None:
            stream.write(to_lines.header + "\n")
        results = extractor.stream_posts(posts, top_k=top_k)
        if explain:
            results = add_reasons(extractor, results)
        progress = stack.enter_context(progress_bar(total=total, initial=done, unit="post"))
        while chunk := list(islice(results, CHUNK_SIZE)):
            done += len(chunk)
            for post, triples in chunk:
                relations += sum(t.relation not in (None, extractor.schema.nota) for t in triples)
                if table:
                    print_post(post, triples, show_entities=show_entities)
            if output is not None:
                output.commit(lines(chunk), done, relations)
            elif parquet is not None:
                parquet.write(triple for _, triples in chunk for triple in triples)
            elif stream is not None:
                stream.writelines(line + "\n" for line in lines(chunk))
                stream.flush()
            progress.update(len(chunk))
        if output is not None:
            output.finish()
    if streams:
        check.warn(captions)
    where = f", written to {out}" if out else ""
    refused = f"; {check.refused:,} refused" if check.refused else ""
    listed = f", see {errors}" if check.refused and errors else ""
    print_status(f"{done:,} posts, {relations:,} relations{where}{refused}{listed}")


@contextmanager
def _refusals(on_error: str, errors: Path | None) -> Iterator[Refuse]:
    """Yield a function that raises the error of a line, writes it to a file, or reports it."""
    from rukh.utils.files import atomic_open

    def stop(line: int, error: InputError) -> None:
        raise error

    if on_error == "stop":
        yield stop
    elif errors is None:
        yield lambda line, error: logger.error("%s", error)
    else:
        with atomic_open(errors) as stream:

            def write(line: int, error: InputError) -> None:
                stream.write(json.dumps(error.to_dict(line), ensure_ascii=False) + "\n")

            yield write


class _Check:
    """Counts posts and refused records as they are read, for warnings at the end.

    Attributes:
        total, refused: Number of posts and of refused records so far.
    """

    def __init__(self) -> None:
        self.total = self.refused = self._captioned = 0
        self._ids: set[int] = set()

    def watch(self, records: Records, refuse: Refuse) -> Iterator[Post]:
        """Yield the posts, and call ``refuse`` with the number and the error of other records."""
        for number, result in records:
            if isinstance(result, InputError):
                refuse(number, result)
                self.refused += 1
                continue
            self.total += 1
            self._captioned += result.caption is not None
            self._ids.add(hash(result.id))
            yield result

    def warn(self, captions: Path | None) -> None:
        """Log a warning if ids are repeated or captions match no post."""
        options.warn_repeated_ids(self.total, len(self._ids))
        if captions is not None and not self._captioned:
            logger.warning("no caption in %s belongs to an image of these posts", captions)
