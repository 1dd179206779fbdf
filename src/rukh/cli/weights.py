"""``rukh weights``: list, install and fetch pretrained weights."""

from __future__ import annotations

from typing import Annotated

import typer

from rukh.cli import options
from rukh.errors import InputError, WeightsError, suggestion

app = typer.Typer(no_args_is_help=True, help="List, install and fetch pretrained weights.")


@app.command("list")
def list_(json: options.Json = None) -> None:
    """List the weights that rukh knows by name, with their state, folder and licence."""
    from rukh.hub import WEIGHT_PACKAGES, installed
    from rukh.utils.files import write_json

    rows = []
    for weights in WEIGHT_PACKAGES:
        try:
            path = installed(weights)
            state = "installed" if path else "missing"
        except WeightsError:
            path, state = None, "damaged"
        if json is None:
            columns = f"{weights.name:20} {weights.kind:8} {state:10} {weights.licence:34}"
            typer.echo(f"{columns} {path or weights.install_hint}")
        row = {name: getattr(weights, name) for name in ("name", "kind", "licence", "packages")}
        rows.append(row | {"state": state, "path": path and str(path)})
    if json is not None:
        write_json(rows, json)


@app.command()
def install(name: Annotated[str, typer.Argument(help="A name from `rukh weights list`.")]) -> None:
    """Install weights with pip, without dependencies."""
    from rukh import hub

    weights = hub.find_package(name)
    if weights is None:
        names = [weights.name for weights in hub.WEIGHT_PACKAGES]
        raise InputError(f"no weights named {name!r}", fix=suggestion(name, names))
    typer.echo(f"licence of the weights: {weights.licence}", err=True)
    typer.echo(hub.install(weights))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name on the Hugging Face hub.")],
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit.")] = None,
) -> None:
    """Download a model from the Hugging Face hub.

    Other commands contact the hub only for a relation model OWNER/NAME, which --model, --from or
    start_from names.
    """
    from rukh import hub

    typer.echo(hub.fetch(name, revision))
