"""``rukh study audit``: find inputs that give the label away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rukh.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping


def audit(
    data: Annotated[Path, typer.Option(help="Labelled posts.")],
    format: options.Format = "jsonl",
    aux: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE[:row|image|crop]",
            help="An auxiliary input, and what its keys are if not guessed. Repeatable.",
        ),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Another split, for the overlap. Repeatable."),
    ] = None,
    nota: Annotated[
        str | None, typer.Option(help="The label of none-of-the-above, if not None, none or NA.")
    ] = None,
    boxes: options.Boxes = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds, parted by picture.")] = 5,
    permutations: Annotated[int, typer.Option(min=19, help="Shuffles for the null.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, shuffles and resampling.")] = 0,
    json: options.Json = None,
    report: Annotated[Path | None, typer.Option(help="Write a report as one HTML file.")] = None,
) -> None:
    """Find inputs that give the label away.

    Each auxiliary input, and what the data itself gives beside the text (the order of arguments,
    pairs a post, types, captions, ...), is asked alone: is the pair a relation, and which? It is
    called a leak, informative, or none; unknown where a file may not be that of the data, or the
    rows are too few to ask.
    """
    import shlex
    import sys

    from rukh.audit.audit import audit as run
    from rukh.audit.aux_inputs import parse_aux
    from rukh.audit.report import html
    from rukh.utils.files import atomic_open, check_outputs, write_json

    others = [_named(text) for text in other or ()]
    told = [parse_aux(text) for text in aux or ()]
    inputs = [one.path for one in told] + [path for _, path in others]
    check_outputs((json, report), data, boxes, *inputs)
    result = run(
        data,
        format,
        aux=told,
        others=dict(others),
        nota=nota,
        boxes=boxes,
        folds=folds,
        permutations=permutations,
        seed=seed,
        progress=lambda name: typer.echo(f"judging {name} ...", err=True),
    )
    if str(json) != "-":
        _print(result)
    for one in result["inputs"]:
        if one["verdict"] == "unknown":
            typer.echo(f"warning: {one['name']}: {'; '.join(one['why'])}", err=True)
    if json is not None:
        write_json(result, json)
    if report is not None:
        command = shlex.join(["rukh", *sys.argv[1:]])
        with atomic_open(report) as stream:
            stream.write(html(result, command))


def _named(text: str) -> tuple[str, Path]:
    from rukh.errors import InputError

    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise InputError(
            f"{text!r} is not NAME=FILE", field="--other", fix="write, say, val=val.txt"
        )
    return name, Path(path)


def _print(result: Mapping[str, Any]) -> None:
    """The verdicts and what they rest on, to be read by a person."""
    typer.echo(
        f"{result['rows']:,} pairs of {result['posts']:,} posts, "
        f"{100 * result['imbalance']['nota_share']:.1f} % {result['nota']!r}; "
        f"{result['seconds']} s"
    )
    for one in result["inputs"]:
        keyed = f"keyed by {one['keying']}" + (", guessed" if one["keying_guessed"] else "")
        note = (
            f"  ({keyed}; {one['keys_matched']:,} of its {one['keys']:,} keys belong to the data "
            f"and cover {100 * one['coverage']:.1f} % of rows)"
            if one["file"]
            else ""
        )
        typer.echo(f"\n{one['name']}: {one['verdict'].upper()}{note}")
        for question, answer in one["questions"].items():
            if answer is None:
                typer.echo(f"  {question:17} not asked: fewer than two labels of ten rows")
                continue
            figure, null = answer["balanced_accuracy"], answer["null"]
            typer.echo(
                f"  {question:17} balanced accuracy {100 * figure['value']:.1f} "
                f"[{100 * figure['low']:.1f}, {100 * figure['high']:.1f}], "
                f"shuffled {100 * null['mean']:.1f} (95 %: {100 * null['high']:.1f}), "
                f"accuracy {100 * answer['accuracy']['value']:.1f}, "
                f"majority {100 * answer['majority']:.1f}"
            )
        # A rule that may be no better than always saying the same is in the JSON alone.
        for rule in (rule for rule in one["rules"] if rule["low"] > rule["share"]):
            typer.echo(
                f"  {'LEAK ' if rule['leak'] else ''}rule: {rule['text']} -> "
                f"{'a relation' if rule['relation'] else 'none'}, precision "
                f"{rule['precision']:.3f} (at least {rule['low']:.3f}), covers "
                f"{100 * rule['coverage']:.1f} %"
            )
    repeats = result["repeats"]
    typer.echo(
        f"\nrepeated rows {repeats['duplicates']}, contradictory instances "
        f"{repeats['contradictions']} ({repeats['contradictions_across_pictures']} across "
        f"pictures), relations with fewer than ten rows {result['imbalance']['rare']}"
    )
    for row in result["overlaps"]:
        typer.echo(
            f"{row['first']} and {row['second']} share {row['shared']:,} {row['kind']}: "
            f"{row['first_rows']:,} and {row['second_rows']:,} rows"
        )
