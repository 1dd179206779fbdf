"""``rukh train``: train a model from a YAML configuration."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from rukh.cli import options
from rukh.cli.logs import print_status
from rukh.errors import InputError


def train(
    config: Annotated[Path | None, typer.Argument(help="A YAML file, see configs/.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the configuration, as key.sub=value.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the model. Default: runs/<config's name>.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="The model to teach new relations, as in --model of `rukh extract`.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="File of posts that are labelled with new relations.")
    ] = None,
    format: options.Format = "jsonl",
    schema: options.Schema = None,
    images: options.Images = None,
    device: options.Device = "auto",
    json: options.Json = None,
) -> None:
    """Train a model from a YAML configuration, or teach a model the relations of a few examples.

    Checkpoints are kept in OUT.run; the same command resumes an interrupted run. The finished model
    is written to OUT.

    With --from, --data, --schema and --out, no weights are trained: a copy of the model learns the
    relations of the schema from their descriptions and from the labelled posts. Pairs that are
    labelled null are unrelated.
    """
    from rukh.evaluation.report import training_summary
    from rukh.training.processes import is_main_process
    from rukh.utils.files import check_empty, check_outputs, write_json

    check_outputs([json], config, data)
    result: Any
    if data is None and source is None:
        if config is None:
            raise InputError("no configuration", fix="name a YAML file, such as configs/mnre.yaml")
        out = (out or Path("runs") / config.stem).absolute()
        result = _train(config, overrides or [], out, device)
        print_status(training_summary(result))
    elif config is not None:
        raise InputError(f"{config} and --from cannot be combined", fix="give one of them")
    elif not (source and data and schema and out):
        raise InputError("an option is missing", fix="give --from, --data, --schema and --out")
    else:
        from rukh.data.readers import read_posts
        from rukh.schema.schema import RelationSchema
        from rukh.training.few_shot import adapt

        check_empty(out)
        posts = read_posts(data, format, images=images)
        counts = adapt(source, RelationSchema.load(schema), posts, out.absolute(), device=device)
        result = {"examples": counts}
        print_status("examples: " + ", ".join(f"{name} ({n})" for name, n in counts.items()))
    if json is not None and is_main_process():
        write_json(result, json)
    print_status(f"model written to {out}")


def _train(config: Path, changes: list[str], out: Path, device: str) -> Any:
    """Train the configured task, and return its metrics."""
    if logging.getLogger("rukh").isEnabledFor(logging.WARNING):  # not with --quiet
        logging.getLogger("rukh.training").setLevel(logging.INFO)  # the dev set's scores

    from rukh.training.trainer import Trainer, read_training_config

    return Trainer(read_training_config(config, changes), out, device=device).train()
