"""`python -m research.llm_baseline`: measure a language model as rukh is measured, end to end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from corpora.inline import field_schema, read_all

from research.command import command_line, main, show
from research.llm_baseline import study
from rukh.cli import options
from rukh.data.readers import read_posts
from rukh.errors import InputError
from rukh.evaluation.end_to_end import gold_facts, labelled_posts
from rukh.extractor import Extractor
from rukh.llm.endpoint import Endpoint, from_environment
from rukh.records import Post
from rukh.schema.schema import RelationSchema
from rukh.utils.files import check_outputs


def llm_baseline(
    data: Annotated[
        Path, typer.Option(help="Posts that list all their entities and relations.")
    ] = Path("corpora/development/development.txt"),
    format: Annotated[
        str | None,
        typer.Option(help="A format of rukh. Default: jsonl, or that of corpora/ for .txt."),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(help="A YAML file or a shipped schema. Posts of corpora/ have their own."),
    ] = None,
    entities: Annotated[
        study.Setting, typer.Option(help="`raw`: from the text alone; `given`: also the entities.")
    ] = "raw",
    model: Annotated[
        list[str] | None,
        typer.Option(help="Also measure this model of rukh, shipped or a folder. Repeatable."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N records.")] = None,
    json: options.Json = None,
) -> None:
    """Measure a language model as `rukh evaluate --end-to-end` measures rukh.

    Set RUKH_LLM_BASE_URL, RUKH_LLM_MODEL and, if the endpoint needs a key, RUKH_LLM_API_KEY.
    Answers are cached, so that the same command resumes an interrupted run.
    """
    check_outputs([json], data, schema)
    endpoint = Endpoint(*from_environment(os.environ))
    posts, relations = read(data, format, schema, limit)
    posts = labelled_posts(posts, relations)
    extractors = {
        name: Extractor.from_pretrained(name, schema=relations)
        for name in dict.fromkeys(model or [])
    }
    # The quick ones first: an error of theirs shows before hours of the language model.
    rows = [study.measure_model(name, one, posts, entities) for name, one in extractors.items()]
    baseline = study.measure_language_model(endpoint, posts, relations, entities)
    if unanswered := len(baseline["unanswered"]):
        typer.echo(f"warning: {unanswered} posts have no usable answer, so no triples", err=True)
    rows = [baseline, *rows]
    gold = [gold_facts(post, relations) for post in posts]
    result = {
        "data": str(data),
        "schema": relations.name,
        "entities": entities,
        "posts": len(posts),
        "silent_posts": sum(not facts for facts in gold),
        "gold_triples": sum(map(len, gold)),
        "systems": rows,
    }
    show(study.table(rows), result, json)


def read(
    data: Path, format: str | None, schema: str | None, limit: int | None
) -> tuple[list[Post], RelationSchema]:
    """Read posts and their schema, which need not be named for posts in the inline form."""
    relations = None if schema is None else RelationSchema.load(schema)
    if format is None and data.suffix == ".txt":
        relations = relations or field_schema(data)
        return read_all(data, relations)[:limit], relations
    if relations is None:
        raise InputError("the posts have no schema of their own", field="--schema", fix="name one")
    return read_posts(data, format or "jsonl", limit=limit), relations


app = command_line(llm_baseline)
if __name__ == "__main__":
    main(app)
