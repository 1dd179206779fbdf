"""Options that several commands share, so that they are named and explained alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

Model: TypeAlias = Annotated[str, typer.Option(help="A shipped model, or a folder.")]
Tagger: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="What types and finds entities: a shipped tagger, a folder, spacy:NAME or hf:NAME; "
        "by default the model's own."
    ),
]
Detector: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Finds objects in images of posts that give none: hf:NAME_OR_FOLDER, any Hugging "
        "Face object-detection model."
    ),
]
Schema: TypeAlias = Annotated[
    str | None, typer.Option(help="Relations to choose from; by default the model's own.")
]
Threshold: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Least probability at which a relation is told; of a schema without NOTA, `evaluate` "
        "tells the best whatever it is.",
    ),
]
Types: TypeAlias = Annotated[
    Literal["soft", "hard", "off"],
    typer.Option(
        help="How types that a relation does not allow count against it; hard: given ones shut it "
        "out.",
    ),
]
Direction: TypeAlias = Annotated[
    Literal["either", "given"],
    typer.Option(
        help="Whether a named pair's relation may hold from tail to head as well, or its first "
        "argument is known to be the head.",
    ),
]
Format: TypeAlias = Annotated[
    str,
    typer.Option(
        "--format",
        help="The data's format: jsonl, mnre, more, opennre, fewrel, redocred or conll04.",
    ),
]
Images: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder of the pictures, if not the file's own.")
]
Captions: TypeAlias = Annotated[
    Path | None, typer.Option(help="Captions to join, by picture: {'img_id', 'text'} a line.")
]
Boxes: TypeAlias = Annotated[
    Path | None, typer.Option(help="MORE's box dictionary, if not beside the file.")
]
Json: TypeAlias = Annotated[
    Path | None, typer.Option(help="Write the result as JSON here; - is standard output.")
]
Encoder: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The text encoder that says what lies near; all-MiniLM-L6-v2 by default."),
]
