"""`python -m research.zero_shot SPLITS`: train without some relations, and test on just these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from research.command import Finished, Work, collect, command_line, main, show, work_folder
from research.zero_shot import splits as study
from rukh.cli import options
from rukh.config import load_config
from rukh.utils.files import check_outputs


def zero_shot(
    splits: Annotated[Path, typer.Argument(help="A YAML file, such as splits.yaml here.")],
    finished: Finished = False,
    work: Work = None,
    json: options.Json = None,
) -> None:
    """Train without some relations, and test on just these.

    Every finished split is kept as a small file and is not trained again. An interrupted split
    resumes from its checkpoint when the same command is given again.
    """
    check_outputs([json], splits)

    def line(result: Mapping[str, Any]) -> str:
        return f"{result['split']}: {100 * result['described']['macro_f1']:.1f}"

    config = load_config(splits, study.ZeroShotConfig)
    runs = study.run(config, work_folder(work, splits), finished)
    results = collect(runs, line, config.results)
    rows = study.summary(results)
    show(study.table(rows), {"splits": results, "summary": rows}, json)


app = command_line(zero_shot)
if __name__ == "__main__":
    main(app)
