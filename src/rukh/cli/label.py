"""``rukh label``: label posts with a language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rukh.cli import options
from rukh.cli.logs import print_result, print_status
from rukh.errors import InputError

if TYPE_CHECKING:
    from rukh.llm.endpoint import Endpoint
    from rukh.llm.label import Totals
    from rukh.records import Post

CHUNK = 32
"""Number of posts between two commits of the output."""


def label(
    input: Annotated[Path, typer.Argument(help="File of posts.")],
    schema: Annotated[str, typer.Option(help="A YAML file or a shipped schema.")],
    out: Annotated[
        Path | None, typer.Option(help="File of labelled posts to write, as JSON lines.")
    ] = None,
    llm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A model of the endpoint. Repeatable: what more than half of the models state is "
            "kept. Default: RUKH_LLM_MODEL.",
        ),
    ] = None,
    prompts: Annotated[
        int,
        typer.Option(
            min=1, max=5, help="Number of prompts with which each model votes, instead of one."
        ),
    ] = 1,
    sample: options.Sample = None,
    parallel: options.Parallel = 4,
    price: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="IN OUT", help="Price of a million tokens in and out, to print the cost."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the prompt of the first post, and send none.")
    ] = False,
    fresh: options.Fresh = False,
    temperature: options.Temperature = 0,
    model: options.Model = "open",
    tagger: options.Tagger = None,
    format: options.InputFormat = None,
    json: options.Json = None,
) -> None:
    """Label posts with a language model: which relations of the schema hold in each.

    Any OpenAI-compatible endpoint can be used. Set RUKH_LLM_BASE_URL, RUKH_LLM_MODEL and, if the
    endpoint needs a key, RUKH_LLM_API_KEY.

    The tagger detects entities in posts without any; the language model is asked about these.
    Labels that posts have are replaced. Posts without a usable answer are left out. Answers are
    cached, and the same command resumes an interrupted run.
    """
    import os

    from rukh.data.format import Source
    from rukh.data.jsonl import JsonlFormat
    from rukh.data.readers import read
    from rukh.extractor import Extractor
    from rukh.llm.endpoint import Endpoint, from_environment
    from rukh.llm.label import Annotator, Totals, conversation, given_entities, label_posts
    from rukh.utils.cache import content_key
    from rukh.utils.files import check_new, check_outputs
    from rukh.utils.resumable_output import ResumableOutput

    if out is None and not dry_run:
        raise InputError("no file to write", field="--out", fix="name one, or give --dry-run")
    check_new(out, "labels by a person")
    check_outputs([out, json], input, schema)
    names = llm or [os.environ.get("RUKH_LLM_MODEL", "")]
    if not dry_run:
        settings = [
            from_environment({**os.environ, "RUKH_LLM_MODEL": name}, temperature=temperature)
            for name in names
        ]
        endpoints = [Endpoint(config, key, fresh=fresh) for config, key in settings]
    extractor = Extractor.from_pretrained(model, tagger=tagger, schema=schema)
    posts = options.draw([*read(input, format)], sample)
    posts = [post.model_copy(update={"pairs": None}) for post in posts]

    def with_entities(some: Sequence[Post]) -> list[Post]:
        return extractor.assign_types(extractor.detect_entities(some))

    if out is None or dry_run:
        for post in with_entities(posts[:1]):
            for message in conversation(post.text, extractor.schema, given_entities(post)):
                typer.echo(f"--- {message['role']}\n{message['content']}\n")
        return
    annotators = [Annotator(one, prompt) for one in endpoints for prompt in range(prompts)]
    identity = {
        "input": [input, format, sample],
        "schema": content_key(extractor.schema.model_dump_json()),
        "entities": [extractor.model.identity, tagger],
        "questions": [names, prompts, temperature],
    }
    totals, to_lines = Totals(), JsonlFormat(Source(out))
    output = ResumableOutput(out, identity)
    if output.done:
        print_status(f"continuing after {output.done:,} posts; the counts are of the others")

    def label_chunk(some: Sequence[Post]) -> list[str]:
        chunk = with_entities(some)
        labelled = label_posts(chunk, extractor.schema, annotators, totals, parallel=parallel)
        return [line for post in labelled for line in to_lines.dump(post)]

    try:
        output.write_chunks(posts, CHUNK, label_chunk, "post")
    finally:
        for endpoint in endpoints:
            print_status(f"{endpoint.config.model}: {endpoint.tell_totals()}")
        if price is not None:
            print_status(f"cost: {_cost(endpoints, price):.2f}")
    result = {**vars(totals), "agreement": totals.agreement, "written": output.count}
    print_result(f"{_tell(totals)}; {output.count:,} posts written to {out}", result, json)


def _cost(endpoints: Sequence[Endpoint], price: tuple[float, float]) -> float:
    """Compute the cost of all tokens, given the price of a million tokens in and out."""
    used = [(one.totals["tokens_in"], one.totals["tokens_out"]) for one in endpoints]
    return sum(p * tokens for some in used for p, tokens in zip(price, some, strict=True)) / 1e6


def _tell(totals: Totals) -> str:
    """Say in a line what was labelled and what was not."""
    parts = [f"{totals.posts:,} posts labelled, {totals.silent:,} of them without a triple"]
    parts.append(f"{totals.triples:,} triples")
    if totals.unanswered:
        parts.append(f"{totals.unanswered:,} posts without a usable answer")
    if totals.skipped:
        parts.append(f"{totals.skipped:,} posts with too many entities")
    dropped = [f"{count:,} {reason}" for reason, count in totals.dropped.items() if count]
    if dropped:
        parts.append("statements not kept: " + ", ".join(dropped))
    if totals.agreement is not None:
        parts.append(f"agreement {totals.agreement:.2f}")
    return "; ".join(parts)
