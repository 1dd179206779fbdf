"""``rukh describe``: a schema in, the same schema with drafted descriptions out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rukh.cli import options
from rukh.errors import InputError

if TYPE_CHECKING:
    from rukh.llm.endpoint import Endpoint


def describe(
    schema: Annotated[
        str, typer.Argument(help="A YAML file, or a shipped schema's name; may lack descriptions.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The draft to write, whole or not at all; must be new.")
    ] = None,
    relation: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Describe this relation alone. Repeatable."),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also add to relations that have descriptions.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be asked, and ask nothing.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask again, whatever was answered before.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="Of sampling; 0 by default.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=64, max=16384, help="The most of one answer; 1024 by default.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.01, max=3600, help="Seconds a request; 120 by default.")
    ] = None,
    retries: Annotated[
        int | None, typer.Option(min=0, max=20, help="Of failed requests; 5 by default.")
    ] = None,
    attempts: Annotated[
        int | None, typer.Option(min=1, max=10, help="At a usable answer; 4 by default.")
    ] = None,
    price_in: Annotated[
        float | None, typer.Option(min=0, help="Of a million tokens asked, to tell the cost.")
    ] = None,
    price_out: Annotated[
        float | None, typer.Option(min=0, help="Of a million tokens answered.")
    ] = None,
    encoder: options.Encoder = None,
    json: options.Json = None,
) -> None:
    """Have a language model draft the descriptions that a schema lacks, five a relation.

    The endpoint is any that speaks OpenAI's protocol: RUKH_LLM_BASE_URL, RUKH_LLM_MODEL and, where
    it wants one, RUKH_LLM_API_KEY. An interrupted run goes on where it stopped.
    """
    import os
    from datetime import date

    from rukh.cli.schema import load_embedder
    from rukh.llm import describe as work
    from rukh.llm.endpoint import Endpoint
    from rukh.llm.endpoint_config import from_environment
    from rukh.schema.schema import RelationSchema
    from rukh.utils.files import atomic_open, check_outputs, write_json

    known = RelationSchema.load(schema, require_descriptions=False)
    names = work.chosen(known, relation or (), again=all_)
    asked = work.prompts(known, names, load_embedder(encoder)[0])
    if dry_run:
        for name, messages in asked.items():
            for message in messages:
                typer.echo(f"--- {name}: {message['role']}\n{message['content']}\n")
        return
    if out is None:
        raise InputError("no file to write", field="--out", fix="name one, or give --dry-run")
    if out.exists() or out.is_symlink():
        raise InputError(
            "is there already, and may hold reviewed work", where=str(out), fix="name a new --out"
        )
    check_outputs((out, json))
    config, key = from_environment(
        os.environ,
        temperature=temperature,
        max_tokens=max_tokens,
        timeout=timeout,
        retries=retries,
        attempts=attempts,
        price_in=price_in,
        price_out=price_out,
    )
    endpoint = Endpoint(config, key, fresh=fresh)
    quiet = str(json) == "-"
    try:
        made = work.describe(
            known,
            asked,
            endpoint,
            date.today(),
            lambda name, what: typer.echo(f"{name}: {what}", err=True),
        )
    finally:
        typer.echo(_totals(endpoint), err=True)
    with atomic_open(out) as stream:
        stream.write(
            f"# Drafts by {config.model!r}, {date.today()}, read by nobody yet:"
            f"\n# rukh schema review {out.name}\n{made.to_yaml()}"
        )
    if not quiet:
        typer.echo(f"{len(names)} relations described in {out}; next: rukh schema review {out}")
    if json is not None:
        totals = vars(endpoint.totals) | {"cost": endpoint.totals.cost(config)}
        write_json({"model": config.model, "relations": names, "out": str(out), **totals}, json)


def _totals(endpoint: Endpoint) -> str:
    totals, cost = endpoint.totals, endpoint.totals.cost(endpoint.config)
    parts = [
        f"{totals.requests} answers, {totals.cached} kept from before",
        f"{totals.tokens_in:,} tokens asked, {totals.tokens_out:,} answered",
    ]
    if totals.uncounted:
        parts.append(f"{totals.uncounted} answers without a count")
    if cost is not None:
        parts.append(f"cost {cost:.4f}")
    return "; ".join(parts)
