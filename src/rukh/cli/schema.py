"""``rukh schema``: show and check schemas, and import catalogues of relations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rukh.cli import options
from rukh.cli.logs import print_result
from rukh.cli.table import terminal_width
from rukh.errors import InputError

if TYPE_CHECKING:
    from rukh.schema.schema import RelationSchema
    from rukh.schema.similarity import Embed

MAX_PER_RULE = 100
"""Maximum number of findings per rule that `lint` prints. Large schemas may have millions."""
ENCODER = "all-MiniLM-L6-v2"
"""The text encoder of most shipped models."""

app = typer.Typer(no_args_is_help=True, help="Show, check and import schemas.")


def load_embedder(name: str | None) -> tuple[Embed, Callable[[str], int]]:
    """Load a text encoder as two functions: embed texts, and count the tokens cut off a text."""
    from functools import partial

    import torch

    from rukh.modeling.relation_bank import embedding_cache
    from rukh.modeling.text_encoder import TextEncoder, encoder_key
    from rukh.utils.embedding import embed_texts

    name = name or ENCODER
    encoder = TextEncoder.load(name).eval()
    embed = partial(
        embed_texts,
        embed=torch.no_grad()(encoder.embed_sentences),
        cache=embedding_cache(encoder_key(name)),
    )

    def excess_tokens(text: str) -> int:
        return max(0, len(encoder.tokenize(text).ids) + 2 - encoder.max_sentence_length)

    return embed, excess_tokens


@app.command("list")
def list_(json: options.Json = None) -> None:
    """List the shipped schemas, with their number of relations and what they are."""
    from rukh.schema.schema import RelationSchema, first_sentence, shipped_schemas
    from rukh.utils.files import write_json

    rows = []
    for name, text in shipped_schemas().items():
        relations, about = len(RelationSchema.load(name).names), first_sentence(text)
        if json is None:
            typer.echo(f"{name:10} {relations:4} relations  {about}")
        rows.append({"name": name, "relations": relations, "about": about})
    if json is not None:
        write_json(rows, json)


@app.command()
def show(
    schema: Annotated[str, typer.Argument(help="A YAML file or a shipped schema.")],
    table: Annotated[
        bool, typer.Option("--table", help="Print a readable table in place of the YAML.")
    ] = False,
    json: options.Json = None,
) -> None:
    """Print a schema as YAML, to read it or to start your own from it."""
    from rukh.schema.schema import RelationSchema, read_source
    from rukh.utils.files import check_outputs, write_json

    check_outputs([json], schema)
    relations = RelationSchema.load(schema, require_descriptions=False)
    if json is not None:
        write_json(relations.model_dump(mode="json"), json)
    elif table:
        _print_table(relations)
    else:
        typer.echo(read_source(schema), nl=False)


def _print_table(schema: RelationSchema) -> None:
    """Print each relation with its types and its first description."""
    import textwrap

    width = terminal_width()
    for relation in schema.relations:
        head, tail = ("/".join(types) or "any" for types in (relation.head, relation.tail))
        note = ", none of the above" if relation.name == schema.nota else ""
        note += ", symmetric" if relation.symmetric else ""
        if inverse := schema.inverse_of(relation.name):
            note += f", inverse: {inverse}" if inverse != relation.name else ""
        typer.echo(f"{relation.name}  ({head} -> {tail}{note})")
        for text in relation.descriptions[:1]:
            typer.echo(textwrap.indent(textwrap.fill(str(text), width - 4), " " * 4))


@app.command()
def lint(
    schema: Annotated[str, typer.Argument(help="A YAML file or a shipped schema.")],
    near: Annotated[
        float, typer.Option(min=-1, max=1, help="Minimum cosine of near-duplicates.")
    ] = 0.9,
    encoder: options.Encoder = None,
    json: options.Json = None,
) -> None:
    """Find duplicates, contradictory types, truncated texts and drafts.

    The exit code is 1 if there are errors. Warnings do not change it.
    """
    from rukh.schema.lint import lint as find
    from rukh.schema.schema import RelationSchema

    relations = RelationSchema.load(schema, require_descriptions=False)
    embed, excess_tokens = load_embedder(encoder)
    findings = find(relations, embed, excess_tokens=excess_tokens, near=near)
    errors = sum(finding.level == "error" for finding in findings)
    lines, counts = [], Counter[str]()
    for finding in findings:
        counts[finding.rule] += 1
        if counts[finding.rule] <= MAX_PER_RULE:
            names = ", ".join(finding.relations)
            lines.append(f"{finding.level}: {names}: {finding.message} [{finding.rule}]")
            lines += [f"    {text}" for text in finding.texts]
    for rule, count in (counts - Counter(dict.fromkeys(counts, MAX_PER_RULE))).items():
        lines.append(f"{count:,} more [{rule}]; --json FILE writes all")
    summary = {"schema": schema, "errors": errors, "warnings": len(findings) - errors}
    lines.append("{schema}: errors {errors}, warnings {warnings}".format(**summary))
    rows = [finding.model_dump(mode="json") for finding in findings]
    print_result("\n".join(lines), summary | {"findings": rows}, json)
    if errors:
        raise typer.Exit(1)


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help='JSON: {"P17": ["country", "description"]}.')
    ],
    out: Annotated[Path, typer.Option(help="The YAML file to write.")],
) -> None:
    """Build a closed schema from a catalogue of relations, such as FewRel's pid2name.json."""
    from rukh.schema.importing import import_schema
    from rukh.utils.files import atomic_open, check_outputs

    check_outputs([out], file)
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out.name!r} does not end in .yaml", where=str(out), field="--out")
    schema = import_schema(file, out.stem)
    text = schema.to_yaml()
    if out.exists() and out.read_bytes() not in (b"", text.encode()):
        raise InputError("the file exists and may have edits", where=str(out), fix="name another")
    with atomic_open(out) as stream:
        stream.write(text)
    by_name = sum(relation.descriptions[-1] in relation.name for relation in schema.relations)
    typer.echo(f"{len(schema.names):,} relations written to {out}, {by_name:,} by their name only")
