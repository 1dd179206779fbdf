"""Caption files, as published for MNRE: ``{'img_id': ..., 'text': ...}``, one picture a line."""

from __future__ import annotations

from pathlib import Path

from rukh.data.lines import from_json, from_literal, lines
from rukh.errors import InputError


def read_captions(path: Path) -> dict[str, str]:
    """Captions by picture name, from dict literals or JSON lines, stripped.

    Pictures that nothing asks for, such as the placeholder ``inf.png``, do no harm; an empty
    caption counts as none when it is joined to a post.

    Raises:
        InputError: The first bad line, with its number.
    """
    captions: dict[str, str] = {}
    try:
        with open(path, "rb") as stream:
            for number, line in lines(stream):
                try:
                    name, text = _parse(line)
                    if captions.setdefault(name, text) != text:
                        raise InputError(
                            f"picture {name!r} has another caption in an earlier line",
                            field="img_id",
                            fix="keep one caption a picture",
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
        record = from_json(line)
    except InputError:
        record = from_literal(line)
    if isinstance(record, dict):
        name, text = record.get("img_id"), record.get("text")
        if isinstance(name, str) and isinstance(text, str):
            return name, text.strip()
    raise InputError("not a record with the strings img_id and text")
