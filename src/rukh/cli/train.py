"""``rukh train``: train what a YAML configuration describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rukh.cli import options
from rukh.cli.logs import print_status
from rukh.errors import InputError, suggestion


def train(
    config: Annotated[Path | None, typer.Argument(help="A YAML file; see configs/.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to it, as key.sub=value.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the model; by default runs/<config's name>.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="MODEL", help="The model that --few-shot adapts."),
    ] = None,
    few_shot: Annotated[
        Path | None, typer.Option(help="Labelled posts: about five examples per new relation.")
    ] = None,
    format: options.Format = "jsonl",
    schema: options.Schema = None,
    images: options.Images = None,
    json: options.Json = None,
) -> None:
    """Train a model from a YAML configuration, or adapt a model to new relations.

    Checkpoints are kept in OUT.run; the same command resumes an interrupted run. The finished model
    is written to OUT.

    With --few-shot, no weights are trained: the relations of --schema are learned from a few
    examples and from the training pairs that the model --from remembers. Relations without an
    example are not added.
    """
    if few_shot is not None or source is not None:
        _adapt(config, source, few_shot, format, schema, images, out, json)
        return
    if config is None:
        raise InputError("no configuration", fix="name a YAML file, such as configs/mnre.yaml")
    from pydantic import BaseModel

    from rukh.config import load_config
    from rukh.utils.files import check_outputs, write_json

    class Task(BaseModel):
        task: str

    changes = overrides or []
    task = load_config(config, Task, changes).task
    out = (out or Path("runs") / config.stem).absolute()
    _check_out(out, replaces="config.json")
    check_outputs([json], config)
    if task == "relations":
        from rukh.training.relation_task import RelationTrainingConfig, train_relations

        metrics = train_relations(load_config(config, RelationTrainingConfig, changes), out)
    elif task == "tagger":
        from rukh.training.tagger_task import TaggerConfig, train_tagger

        metrics = train_tagger(load_config(config, TaggerConfig, changes), out)
    else:
        raise InputError(
            f"no task {task!r}",
            where=str(config),
            field="task",
            fix=suggestion(task, ["relations", "tagger"]),
        )
    if json is not None:
        write_json(metrics, json)
    print_status(f"model written to {out}")


def _adapt(
    config: Path | None,
    source: str | None,
    few_shot: Path | None,
    format: str,
    schema: str | None,
    images: Path | None,
    out: Path | None,
    json: Path | None,
) -> None:
    if source is None or few_shot is None or schema is None or out is None:
        raise InputError("an option is missing", fix="give --from, --few-shot, --schema and --out")
    if config is not None:
        raise InputError(f"{config} and --few-shot exclude each other", fix="give one of them")
    from rukh.data.readers import read_posts
    from rukh.schema.schema import RelationSchema
    from rukh.training.few_shot import adapt
    from rukh.utils.files import check_outputs, write_json

    out = out.absolute()
    check_outputs([json], few_shot)
    _check_out(out)
    posts = read_posts(few_shot, format, images=images)
    counts = adapt(source, RelationSchema.load(schema), posts, out)
    if json is not None:
        write_json({"examples": counts}, json)
    added = ", ".join(f"{name} ({count})" for name, count in counts.items() if count)
    print_status(f"model written to {out}; examples: {added}")
    if others := [name for name, count in counts.items() if not count]:
        print_status(f"not added, without an example: {', '.join(others)}")


def _check_out(out: Path, replaces: str | None = None) -> None:
    """Check that a folder is new or empty, or has the file that marks what may be replaced."""
    if out.is_dir() and (not any(out.iterdir()) or (replaces and (out / replaces).is_file())):
        return
    if out.exists():
        raise InputError("contains other files", where=str(out), fix="give --out a new folder")
