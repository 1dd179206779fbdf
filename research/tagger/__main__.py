"""`python -m research.tagger`: measure a tagger on tagged sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from research.command import command_line, main
from rukh.arguments.label_map import normalize_label
from rukh.arguments.tagger import load_tagger
from rukh.cli import options
from rukh.data.conll import read_tagged
from rukh.errors import InputError
from rukh.evaluation.tagger import evaluate_tagger
from rukh.utils.files import check_outputs, write_json


def tagger(
    data: Annotated[Path, typer.Option(help="Tagged sentences: a token, a tab, a BIO label.")],
    name: Annotated[
        str,
        typer.Option("--tagger", help="A shipped tagger, a folder, spacy:NAME, or hf:NAME."),
    ] = "tagger",
    json: options.Json = None,
) -> None:
    """Measure a tagger: the entities it detects, and the types it assigns to given spans."""
    check_outputs([json], data)
    examples = list(read_tagged(data, normalize_label))
    if not any(spans for _, spans in examples):
        raise InputError("holds no entity", where=str(data))
    result = {"data": str(data), "tagger": name, **evaluate_tagger(load_tagger(name), examples)}
    if str(json) != "-":
        types = ", ".join(f"{key} {100 * value:.1f}" for key, value in result["types"].items())
        typer.echo(
            f"{result['entities']:,} entities of {result['sentences']:,} sentences\n"
            f"span F1         {100 * result['span_f1']:.1f} "
            f"(precision {100 * result['span_precision']:.1f}, "
            f"recall {100 * result['span_recall']:.1f}; {types})\n"
            f"typing accuracy {100 * result['typing_accuracy']:.1f} of given spans"
        )
    if json is not None:
        write_json(result, json)


app = command_line(tagger)
if __name__ == "__main__":
    main(app)
