"""What a user is told of a caption file that a model cannot make the best of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rukh.extraction import Extractor


def warn(
    captions: Path | None, name: str | Path, extractor: Extractor, captioned: int | None = None
) -> None:
    """Say on standard error that captions are not read, are of no picture, or of another source.

    Args:
        captions: The caption file, or None: nothing is said.
        name: What the user calls the model.
        captioned: How many posts have a caption, where that is known.
    """
    if captions is None:
        return
    config = extractor.model.config
    if not config.pair.caption_words:
        typer.echo(f"warning: model {name} reads no captions", err=True)
    elif captioned == 0:
        typer.echo(f"warning: no caption of {captions} is of a picture of these posts", err=True)
    elif config.captions is not None and config.captions.lower() not in captions.name.lower():
        typer.echo(
            f"warning: model {name} was trained with captions by {config.captions}; if those of "
            f"{captions.name} are by another, it may do worse than without",
            err=True,
        )
