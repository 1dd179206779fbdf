"""``rukh train``: train what a YAML configuration describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rukh.cli import options
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
        str | None, typer.Option("--from", metavar="MODEL", help="With --few-shot: whom to adapt.")
    ] = None,
    few_shot: Annotated[
        Path | None, typer.Option(help="Examples of new relations, a handful each.")
    ] = None,
    format: options.Format = "jsonl",
    schema: options.Schema = None,
    images: options.Images = None,
    json: options.Json = None,
) -> None:
    """Train a model from a YAML configuration, or adapt one to new relations by a few examples.

    The run is kept in OUT.run, with checkpoints: an interrupted one goes on where it stopped when
    the same command is given again. The finished model is written to OUT.

    With --few-shot no weight is trained: the examples of FILE, of relations that --schema
    describes, say where their pairs lie, and what the model remembers says where they do not.
    Relations of the schema without an example stay unknown.
    """
    if few_shot is not None or source is not None:
        _adapt(config, source, few_shot, format, schema, images, out, json)
        return
    if config is None:
        raise InputError("nothing to train", fix="name a YAML file, such as configs/mnre.yaml")
    from pydantic import BaseModel

    from rukh.config import load_config
    from rukh.utils.files import check_output, write_json

    class Task(BaseModel):
        task: str

    out = (out or Path("runs") / config.stem).absolute()
    changes = overrides or []
    task = load_config(config, Task, changes).task
    _check_free(out)
    check_output(json, config)
    if task == "relations":
        from rukh.training.relation_task import RelationTrainingConfig, train_relations

        figures = train_relations(load_config(config, RelationTrainingConfig, changes), out)
    elif task == "tagger":
        from rukh.training.tagger_task import TaggerConfig, train_tagger

        figures = train_tagger(load_config(config, TaggerConfig, changes), out)
    else:
        raise InputError(
            f"no task {task!r}",
            where=str(config),
            field="task",
            fix=suggestion(task, ["relations", "tagger"]),
        )
    if json is not None:
        write_json(figures, json)
    typer.echo(f"the model is in {out}", err=True)


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
    told = {"--from": source, "--few-shot": few_shot, "--schema": schema, "--out": out}
    if lacking := [name for name, value in told.items() if value is None]:
        raise InputError(f"adapting a model needs {', '.join(lacking)} as well")
    if config is not None:
        raise InputError(f"{config} and --few-shot exclude each other: nothing is trained")
    from rukh.data.readers import group_posts, read
    from rukh.schema.schema import RelationSchema
    from rukh.training.few_shot import adapt
    from rukh.utils.files import check_output, write_json

    assert source is not None and few_shot is not None and schema is not None and out is not None
    out = out.absolute()
    check_output(json, few_shot)
    if out.exists() and not _empty(out):
        raise InputError(
            "is there already, and may know other examples",
            where=str(out),
            fix="give --out a new folder; to add to this model, name it as --from",
        )
    posts = group_posts(read(few_shot, format, images=images))
    examples = adapt(source, RelationSchema.load(schema), posts, out)
    if json is not None:
        write_json({"examples": examples}, json)
    shown = ", ".join(f"{name} ({count})" for name, count in examples.items() if count)
    typer.echo(f"the model is in {out}; examples: {shown}", err=True)
    if unshown := [name for name, count in examples.items() if not count]:
        typer.echo(f"no example of: {', '.join(unshown)}; the model does not know these", err=True)


def _check_free(out: Path) -> None:
    """The finished model replaces the folder with all that is in it: said before any work."""
    if out.exists() and not (out / "config.json").is_file() and not _empty(out):
        raise InputError(
            "holds something other than a model", where=str(out), fix="give --out a new folder"
        )


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
