"""Options that several commands share."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, TypeVar

import typer

if TYPE_CHECKING:
    from rukh.extractor import Extractor

logger = logging.getLogger(__name__)
T = TypeVar("T")


def _check_images(folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        logger.warning("there is no folder %s, so all images are missing", folder)
    return folder


def check_captions(captions: Path | None, extractor: Extractor) -> None:
    """Log a warning if the model was trained without captions or with another captioning model.

    The captioning model is recognized by its name in the name of the caption file.
    """
    config = extractor.model.config
    source = config.caption_source or ""
    if captions is not None and not config.pair.caption_words:
        logger.warning("the model does not use captions")
    elif captions is not None and source.lower() not in captions.name.lower():
        problem = "the model is trained with captions by %s; those in %s may be worse than none"
        logger.warning(problem, source, captions.name)


def warn_repeated_ids(num_posts: int, num_ids: int) -> None:
    """Log a warning if there are fewer distinct ids than posts."""
    if repeated := num_posts - num_ids:
        problem = "%d of %d posts have the id of another post, so their triples are ambiguous"
        logger.warning(problem, repeated, num_posts)


def draw(items: Sequence[T], sample: int | None) -> list[T]:
    """Return the items, or as many as ``sample`` says, drawn at random, in their order."""
    if sample is None or sample >= len(items):
        return list(items)
    return [items[i] for i in sorted(random.Random(0).sample(range(len(items)), sample))]


Model: TypeAlias = Annotated[
    str, typer.Option(help="A shipped model, a folder, or OWNER/NAME on the hub.")
]
Tagger: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Tagger that detects entities and assigns types: a shipped one, a folder, "
        "gliner:NAME, hf:NAME or spacy:NAME. Default: the model's own."
    ),
]
Detector: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="hf:NAME",
        help="A Hugging Face model that detects objects in the images of posts that list none.",
    ),
]
Device: TypeAlias = Annotated[
    str,
    typer.Option(help="cpu, cuda, cuda:1 or mps; auto: the first of CUDA, MPS and CPU present."),
]
Schema: TypeAlias = Annotated[
    str | None,
    typer.Option(help="A YAML file or a shipped schema. Default: that of the model."),
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
        "relation if the type was given; `off`: ignore types."
    ),
]
Directed: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--directed/--undirected",
        help="Whether listed pairs are ordered from head to tail. If so, no relation in the "
        "reverse direction is predicted.",
    ),
]
Format: TypeAlias = Annotated[
    str, typer.Option(help="Format: jsonl, mnre, more, opennre, fewrel, redocred or conll04.")
]
InputFormat: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Format: csv, parquet or one of the others, see docs/formats.md. Default: by the "
        "ending of the file's name, else jsonl."
    ),
]
Images: TypeAlias = Annotated[
    Path | None,
    typer.Option(callback=_check_images, help="Folder of the images. Default: the data's folder."),
]
Captions: TypeAlias = Annotated[
    Path | None, typer.Option(help="Captions of images, {'img_id', 'text'} on each line.")
]
Boxes: TypeAlias = Annotated[
    Path | None, typer.Option(help="MORE's dictionary of boxes, if it is not beside the data.")
]
Json: TypeAlias = Annotated[
    Path | None, typer.Option(help="Write the result to this JSON file (-: standard output).")
]
Encoder: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Text encoder for relation similarity. Default: all-MiniLM-L6-v2."),
]
Sample: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Take only this many, drawn at random.")
]
Parallel: TypeAlias = Annotated[
    int, typer.Option(min=1, max=64, help="Number of requests to send at the same time.")
]
Fresh: TypeAlias = Annotated[bool, typer.Option("--fresh", help="Ignore cached answers.")]
Temperature: TypeAlias = Annotated[float, typer.Option(min=0, max=2, help="Sampling temperature.")]
