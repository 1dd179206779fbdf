"""`python -m research.few_shot`: what a few examples of each relation add to its descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from research.command import command_line, main
from research.few_shot.study import prepare, study
from rukh.cli import options
from rukh.cli.logs import print_result
from rukh.data.readers import read_posts
from rukh.schema.schema import RelationSchema
from rukh.utils.files import check_outputs
from rukh.utils.markdown import markdown_table, percent
from rukh.utils.progress import progress_bar

KEYS = ("f1", "best_f1", "calibration_error")


def few_shot(
    data: Annotated[Path, typer.Option(help="MNRE's training file.")],
    model: options.Model = "open",
    examples: Annotated[
        list[int] | None, typer.Option(help="Examples per relation. Default: 1, 5, 20 and 100.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of draws.")] = 3,
    relations: Annotated[int, typer.Option(min=2, help="The most frequent relations.")] = 10,
    tests: Annotated[int, typer.Option(min=10, help="Number of posts to test on.")] = 400,
    json: options.Json = None,
) -> None:
    """Teach a model relations of MNRE by examples, and measure it on other posts."""
    check_outputs([json], data)
    numbers = examples or [1, 5, 20, 100]
    prepared = prepare(read_posts(data, "mnre"), RelationSchema.load("mnre"), relations, tests)
    results = study(model, prepared, numbers, range(1, seeds + 1))
    total = 1 + seeds * len(numbers)
    rows: list[dict[str, Any]] = list(progress_bar(results, total=total, unit="model"))
    table = []
    for number in (0, *numbers):
        own = [row for row in rows if row["examples"] == number]
        means = (sum(row[key] for row in own) / len(own) for key in KEYS)
        lowest = min(row["best_f1"] for row in own)
        table.append([str(number), *map(percent, means), percent(lowest)])
    header = ["examples per relation", "F1", "best F1", "calibration error", "lowest best F1"]
    print_result(markdown_table(header, table), {"model": model, "results": rows}, json)


app = command_line(few_shot)
if __name__ == "__main__":
    main(app)
