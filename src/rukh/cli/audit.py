"""``rukh audit``: find inputs that reveal the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rukh.cli import options
from rukh.cli.logs import print_result, print_status


def audit(
    data: Annotated[Path, typer.Option(help="File of labelled posts.")],
    format: options.Format = "jsonl",
    aux: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE[:row|image|crop]",
            help="An auxiliary input. The kind of its keys is guessed if not given. Repeatable.",
        ),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Another split to check for overlap. Repeatable."),
    ] = None,
    nota: Annotated[str | None, typer.Option(help="The none-of-the-above label.")] = None,
    boxes: options.Boxes = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of cross-validation folds.")] = 5,
    permutations: Annotated[int, typer.Option(min=19, help="Permutations for the null.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    json: options.Json = None,
    report: Annotated[Path | None, typer.Option(help="Write a report in Markdown.")] = None,
) -> None:
    """Find inputs that reveal the labels.

    From each auxiliary input alone, and from each property of the data other than the text (order
    of arguments, types, captions, ...), the audit predicts whether a pair is related, and by which
    relation. The verdict on each input is `leak`, `informative` (it helps, as an honest input may),
    `none`, or `unknown` if there are too few pairs or its file does not seem to belong to the data.
    """
    import shlex
    import sys

    from rukh.audit.audit import audit as run
    from rukh.audit.inputs import KEYINGS, AuxFile
    from rukh.audit.report import markdown
    from rukh.utils.files import atomic_open, check_outputs

    others = [_parse_named(text, "--other") for text in other or ()]
    files = []
    for name, path in (_parse_named(text, "--aux") for text in aux or ()):
        file, _, keying = str(path).rpartition(":")
        named = keying in KEYINGS and not path.exists()
        files.append(AuxFile(name, Path(file), keying) if named else AuxFile(name, path))
    inputs = [file.path for file in files] + [path for _, path in others]
    check_outputs((json, report), data, boxes, *inputs)
    result = run(
        data,
        format,
        aux=files,
        others=others,
        nota=nota,
        boxes=boxes,
        folds=folds,
        permutations=permutations,
        seed=seed,
        progress=lambda name: print_status(f"examining {name} ..."),
    )
    print_result(markdown(result), result, json)
    if report is not None:
        with atomic_open(report) as stream:
            stream.write(markdown(result, shlex.join(["rukh", *sys.argv[1:]])) + "\n")


def _parse_named(text: str, option: str) -> tuple[str, Path]:
    from rukh.errors import InputError

    name, _, path = text.partition("=")
    if not (name and path):
        raise InputError(f"{text!r} is not NAME=FILE", field=option, fix="write it like a=a.json")
    return name, Path(path)
