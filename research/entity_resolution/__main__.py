"""Print precision and recall of entity resolution: ``python -m research.entity_resolution``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from research.command import command_line, main
from research.entity_resolution.measure import measure
from rukh.cli.logs import print_result
from rukh.graph.names import MIN_SPELLING
from rukh.utils.markdown import markdown_table, percent

THRESHOLDS = (0.7, 0.75, 0.8, MIN_SPELLING, 0.9, 0.95, 1.0)


def study(
    half: Annotated[str, typer.Option(help="dev, which decided, or test.")] = "test",
    errors: Annotated[bool, typer.Option("--errors", help="List the wrong decisions.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the result to this JSON file.")] = None,
) -> None:
    """Measure merges on the labelled pairs, for each minimum similarity of misspelt words."""
    rows, result = [], []
    for threshold in THRESHOLDS:
        counts, wrong = measure(half, threshold)
        mark = " (default)" if threshold == MIN_SPELLING else ""
        rows.append(
            (f"{threshold}{mark}", percent(counts.precision), percent(counts.recall), *counts)
        )
        result.append({"threshold": threshold, **counts._asdict()})
        if errors and mark:
            for pair in wrong:
                print(f"{'missed' if pair['same'] else 'wrong'}: {pair['a']} {pair['b']}")
    header = ("minimum similarity", "precision", "recall", "right", "wrong", "missed")
    print_result(markdown_table(header, rows), {"half": half, "rows": result}, json)


app = command_line(study)
if __name__ == "__main__":
    main(app)
