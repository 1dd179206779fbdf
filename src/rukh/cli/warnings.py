"""What a user is told of pictures, captions and types that a model cannot make the best of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rukh.extractor import Extractor

NAMED = 10
"""The most things that a warning names."""


def warn_images(folder: Path | None) -> None:
    """Say on standard error that a folder of pictures is not there, so that all are missing."""
    if folder is not None and not folder.is_dir():
        typer.echo(f"warning: there is no folder {folder}, so no picture is seen", err=True)


def warn_captions(
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
    elif (
        config.caption_source is not None
        and config.caption_source.lower() not in captions.name.lower()
    ):
        typer.echo(
            f"warning: model {name} was trained with captions by {config.caption_source}; if those of "
            f"{captions.name} are by another, it may do worse than without",
            err=True,
        )
