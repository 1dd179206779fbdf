"""Options that several commands share."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

if TYPE_CHECKING:
    from rukh.extractor import Extractor

logger = logging.getLogger(__name__)


def _check_images(folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        logger.warning("there is no folder %s, so all images are missing", folder)
    return folder


def check_captions(captions: Path | None, extractor: Extractor) -> None:
    """Log a warning if the model does not use captions, or was trained with those of another model.

    Args:
        captions: The caption file; its name should contain the name of the captioning model.
        extractor: The extractor.
    """
    config = extractor.model.config
    if captions is None:
        return
    if not config.pair.caption_words:
        logger.warning("the model does not use captions")
    elif config.caption_source and config.caption_source.lower() not in captions.name.lower():
        logger.warning(
            "the model was trained with captions by %s; with captions by another model, as %s "
            "may be, it may be less accurate than without captions",
            config.caption_source,
            captions.name,
        )


Model: TypeAlias = Annotated[str, typer.Option(help="A shipped model, or a folder.")]
Tagger: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Detects entities and assigns their types: a shipped tagger, a folder, spacy:NAME or "
        "hf:NAME; by default the model's own."
    ),
]
Detector: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Detects objects in the images of posts that give none: hf:NAME_OR_FOLDER, any "
        "Hugging Face object-detection model."
    ),
]
Schema: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The relations to choose from: a YAML file, or a shipped schema's name; by default "
        "the model's own."
    ),
]
Threshold: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Minimum probability of a prediction. Ignored by `evaluate` when the schema has no "
        "NOTA label.",
    ),
]
TypeConstraints: TypeAlias = Annotated[
    Literal["soft", "hard", "off"],
    typer.Option(
        help="`soft`: subtract a learned penalty for disallowed types; `hard`: exclude the "
        "relation if the type was given; `off`: ignore types.",
    ),
]
Format: TypeAlias = Annotated[
    str,
    typer.Option(
        "--format",
        help="Format of the data: jsonl, mnre, more, opennre, fewrel, redocred or conll04.",
    ),
]
Images: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        callback=_check_images,
        help="Folder of the images; by default the folder of the data file.",
    ),
]
Captions: TypeAlias = Annotated[
    Path | None, typer.Option(help="Captions by image: {'img_id', 'text'} per line.")
]
Boxes: TypeAlias = Annotated[
    Path | None, typer.Option(help="MORE's dictionary of boxes, if it is not beside the file.")
]
Json: TypeAlias = Annotated[
    Path | None, typer.Option(help="Write the result to this file as JSON; - is standard output.")
]
Encoder: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Text encoder for the similarity of relations; default all-MiniLM-L6-v2."),
]
