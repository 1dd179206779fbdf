"""`python -m research.ablation GRID`: train and compare the cells of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from research.ablation import grid as study
from research.command import Finished, Work, collect, command_line, main, show, work_folder
from rukh.cli import options
from rukh.config import load_config
from rukh.utils.files import check_outputs


def ablation(
    grid: Annotated[Path, typer.Argument(help="A YAML file, such as mnre-ablation.yaml here.")],
    only: Annotated[
        list[str] | None, typer.Option(metavar="CELL", help="Run only this cell. Repeatable.")
    ] = None,
    finished: Finished = False,
    work: Work = None,
    json: options.Json = None,
) -> None:
    """Train a configuration again and again, each time with one thing changed, and compare.

    Every finished cell is kept as a small file and is not trained again. An interrupted cell
    resumes from its checkpoint when the same command is given again.
    """
    check_outputs([json], grid)

    def line(result: Mapping[str, Any]) -> str:
        f1 = result["val"]["micro_f1_order_free"]
        return f"{result['cell']}, seed {result['seed']}: {100 * f1:.1f}"

    config = load_config(grid, study.AblationConfig)
    runs = study.run(config, work_folder(work, grid), only or (), finished)
    rows = study.compare(collect(runs, line, config.results), config.reference)
    show(study.table(rows), rows, json)
    for remark in study.remarks(rows):
        typer.echo(f"note: {remark}", err=True)


app = command_line(ablation)
if __name__ == "__main__":
    main(app)
