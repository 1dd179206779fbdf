"""Caption files, as published for MNRE: ``{'img_id': ..., 'text': ...}``, one image a line."""

from __future__ import annotations

from pathlib import Path

from rukh.data.lines import lines
from rukh.errors import InputError
from rukh.utils.parsing import parse_json, parse_literal


def read_captions(path: Path) -> dict[str, str]:
    """Read captions by image name from lines of JSON or Python dict literals.

    Captions are stripped; an empty one counts as none when it is joined to a post. Captions of
    images that no post has, such as the placeholder ``inf.png``, are ignored.

    Raises:
        InputError: The file cannot be read, or a line is bad.
    """
    captions: dict[str, str] = {}
    try:
        with open(path, "rb") as stream:
            for number, line in lines(stream):
                try:
                    name, text = _parse(line)
                    if captions.setdefault(name, text) != text:
                        raise InputError(
                            f"image {name!r} has another caption in an earlier line",
                            field="img_id",
                            fix="keep one caption for each image",
                        )
                except InputError as error:
                    raise error.at(f"{path}:{number}") from None
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=str(path)) from None
    return captions


def _parse(line: str | InputError) -> tuple[str, str]:
    if isinstance(line, InputError):
        raise line
    try:
        record = parse_json(line)
    except InputError:
        record = parse_literal(line)
    if isinstance(record, dict):
        name, text = record.get("img_id"), record.get("text")
        if isinstance(name, str) and isinstance(text, str):
            return name, text.strip()
    raise InputError("not a record with the strings img_id and text")
