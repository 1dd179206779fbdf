"""``rukh schema``: import schemas, review drafts, find what is wrong, and draw them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rukh.cli import options

if TYPE_CHECKING:
    from rukh.schema.similarity import Embed

SHOWN = 100
"""Findings of one rule that `lint` prints; thousands of relations alike have millions of pairs."""

ENCODER = "all-MiniLM-L6-v2"
"""The text encoder of most shipped models."""

app = typer.Typer(no_args_is_help=True, help="Import, review, check and draw schemas.")


def load_embedder(name: str | None) -> tuple[Embed, Callable[[str], int]]:
    """Functions of a text encoder: texts to vectors, and how many tokens of a text it truncates."""
    from functools import partial

    import torch

    from rukh.modeling.text_encoder import TextEncoder
    from rukh.utils.embedding import embed_texts

    encoder = TextEncoder.load(name or ENCODER).eval()

    def excess_tokens(text: str) -> int:
        return max(0, len(encoder.tokenize(text).ids) + 2 - encoder.max_sentence_length)

    return partial(embed_texts, embed=torch.no_grad()(encoder.embed_sentences)), excess_tokens


@app.command()
def lint(
    schema: Annotated[str, typer.Argument(help="A YAML file, or a shipped schema's name.")],
    near: Annotated[
        float, typer.Option(min=-1, max=1, help="Least cosine of a near-duplicate.")
    ] = 0.9,
    encoder: options.Encoder = None,
    json: options.Json = None,
) -> None:
    """Find duplicates, contradictory types, cut-off texts and drafts; exit 1 if there are errors.

    Warnings alone leave the exit code at 0.
    """
    from rukh.schema.lint import lint as work
    from rukh.schema.schema import RelationSchema
    from rukh.utils.files import write_json

    known = RelationSchema.load(schema, require_descriptions=False)
    embed, excess_tokens = load_embedder(encoder)
    found = work(known, embed, excess_tokens=excess_tokens, near=near)
    errors = sum(one.level == "error" for one in found)
    quiet, told = str(json) == "-", Counter[str]()
    for one in found:
        told[one.rule] += 1
        if told[one.rule] > SHOWN:
            continue
        lines = [f"{one.level}: {', '.join(one.relations)}: {one.message} [{one.rule}]"]
        lines += [f"    {text}" for text in one.texts]
        typer.echo("\n".join(lines), err=quiet)
    for rule, count in told.items():
        if count > SHOWN:
            more = f"{count - SHOWN:,} more [{rule}]; --json FILE holds them all"
            typer.echo(more, err=quiet)
    typer.echo(f"{schema}: {errors} errors, {len(found) - errors} warnings", err=quiet)
    if json is not None:
        findings = [one.model_dump(mode="json") for one in found]
        counts = {"errors": errors, "warnings": len(found) - errors}
        write_json({"schema": schema, **counts, "findings": findings}, json)
    if errors:
        raise typer.Exit(1)


@app.command("map")
def map_(
    schema: Annotated[str, typer.Argument(help="A YAML file, or a shipped schema's name.")],
    out: Annotated[Path, typer.Option(help="A .png, .svg or .json file to write.")],
    encoder: options.Encoder = None,
) -> None:
    """Draw where relations lie in the encoder's space, and say which are most alike."""
    from rukh.errors import InputError
    from rukh.schema.map import FORMATS, save, schema_map
    from rukh.schema.schema import RelationSchema
    from rukh.utils.files import check_outputs

    if out.suffix.lower() not in FORMATS:
        raise InputError(f"is no {', '.join(FORMATS)} file", where=str(out), field="--out")
    check_outputs([out])
    data = schema_map(RelationSchema.load(schema), load_embedder(encoder)[0])
    save(data, out)
    for one in data["relations"]:
        near = ", ".join(f"{n['name']} {n['cosine']:.2f}" for n in one["nearest"])
        typer.echo(f"{one['name']}: {near or 'alone'}")
    typer.echo(f"map written to {out}")


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help='JSON, {"P17": ["country", "description"]}.')
    ],
    out: Annotated[Path, typer.Option(help="The YAML file to write, whole or not at all.")],
) -> None:
    """Make a closed schema of a catalogue of relations, such as FewRel's pid2name.json."""
    from rukh.errors import InputError
    from rukh.schema.importing import import_schema
    from rukh.utils.files import atomic_open, check_outputs

    check_outputs([out])
    if out.suffix not in (".yaml", ".yml"):
        raise InputError("is no .yaml file", where=str(out), field="--out")
    schema = import_schema(file, out.stem)
    text = schema.to_yaml()
    if out.exists() and out.read_bytes() not in (b"", text.encode()):
        raise InputError(
            "is there already, and may hold edited work", where=str(out), fix="name a new --out"
        )
    with atomic_open(out) as stream:
        stream.write(text)
    bare = sum(relation.descriptions[-1] in relation.name for relation in schema.relations)
    typer.echo(f"{len(schema.names):,} relations written to {out}, {bare:,} of them by name alone")
