"""``rukh describe``: draft the descriptions of a schema's relations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rukh.cli import options
from rukh.cli.logs import print_result, print_status
from rukh.errors import InputError


def describe(
    schema: Annotated[
        str, typer.Argument(help="A YAML file or a shipped schema. Descriptions may be missing.")
    ],
    out: Annotated[Path | None, typer.Option(help="The file to write. It must not exist.")] = None,
    relation: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Describe only this relation. Repeatable."),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also describe relations that have descriptions.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the prompts without sending them.")
    ] = False,
    fresh: options.Fresh = False,
    temperature: options.Temperature = 0,
    encoder: options.Encoder = None,
    json: options.Json = None,
) -> None:
    """Draft the missing descriptions of relations with a language model, five per relation.

    Any OpenAI-compatible endpoint can be used. Set RUKH_LLM_BASE_URL, RUKH_LLM_MODEL and, if the
    endpoint needs a key, RUKH_LLM_API_KEY. Answers are cached, so that the same command resumes an
    interrupted run.
    """
    import os
    from datetime import date

    from rukh.cli.schema import load_embedder
    from rukh.llm import describe as drafts
    from rukh.llm.endpoint import Endpoint, from_environment
    from rukh.schema.schema import RelationSchema
    from rukh.utils.files import atomic_open, check_new, check_outputs

    relations = RelationSchema.load(schema, require_descriptions=False)
    names = drafts.select_relations(relations, relation or (), all_relations=all_)
    conversations = drafts.prompts(relations, names, load_embedder(encoder)[0])
    if dry_run:
        for name, messages in conversations.items():
            for message in messages:
                typer.echo(f"--- {name}: {message['role']}\n{message['content']}\n")
        return
    if out is None:
        raise InputError("no file to write", field="--out", fix="name one, or give --dry-run")
    check_new(out, "verified descriptions")
    check_outputs((out, json))
    config, key = from_environment(os.environ, temperature=temperature)
    endpoint, today = Endpoint(config, key, fresh=fresh), date.today()
    try:
        described = drafts.describe(relations, conversations, endpoint, today)
    finally:
        print_status(endpoint.tell_totals())
    with atomic_open(out) as stream:
        stream.write(f"# Drafts by {config.model!r}, {today}, not verified.\n")
        stream.write(described.to_yaml())
    done = f"{len(names)} relations described in {out}; next: rukh schema lint {out}"
    summary = {"model": config.model, "relations": names, "out": str(out)}
    print_result(done, summary | endpoint.totals, json)
