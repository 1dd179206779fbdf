"""``rukh train``: train what a YAML configuration describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rukh.commands import options


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file; see configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to it, as key.sub=value.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the model; by default runs/<config's name>.")
    ] = None,
    json: options.Json = None,
) -> None:
    """Train a model from a YAML configuration.

    The run is kept in OUT.run, with checkpoints: an interrupted one goes on where it stopped when
    the same command is given again. The finished model is written to OUT.
    """
    from pydantic import BaseModel

    from rukh.config import load_config
    from rukh.errors import InputError, suggestion
    from rukh.files import write_json

    class Task(BaseModel):
        task: str

    out = (out or Path("runs") / config.stem).absolute()
    changes = overrides or []
    task = load_config(config, Task, changes).task
    if out.exists() and not (out / "config.json").is_file() and not _empty(out):
        # Said before the training: the finished model replaces the folder with all that is in it.
        raise InputError(
            "holds something other than a model", where=str(out), fix="give --out a new folder"
        )
    if task == "relations":
        from rukh.relation_training import RelationTrainingConfig, train_relations

        figures = train_relations(load_config(config, RelationTrainingConfig, changes), out)
    elif task == "tagger":
        from rukh.tagger_training import TaggerConfig, train_tagger

        figures = train_tagger(load_config(config, TaggerConfig, changes), out)
    else:
        raise InputError(
            f"no task {task!r}",
            where=str(config),
            field="task",
            fix=f"run: rukh study ablation {config}"
            if task == "ablation"
            else suggestion(task, ["relations", "tagger"]),
        )
    if json is not None:
        write_json(figures, json)
    typer.echo(f"the model is in {out}", err=True)


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
