"""Caption files, as published for MNRE: ``{'img_id': ..., 'text': ...}``, one image per line."""

from __future__ import annotations

from pathlib import Path

from rukh.data.lines import lines
from rukh.errors import InputError
from rukh.utils.files import file_errors, open_input
from rukh.utils.parsing import expect, parse_json, parse_literal


def read_captions(path: Path) -> dict[str, str]:
    """Read captions, by image name, from lines that are JSON objects or Python dict literals.

    Raises:
        InputError: The file cannot be read, or a line is invalid.
    """
    captions: dict[str, str] = {}
    with file_errors(path), open_input(path) as stream:
        for number, line in lines(stream):
            try:
                name, text = _parse(line)
                if captions.setdefault(name, text) != text:
                    raise InputError(f"image {name!r} has two captions", field="img_id")
            except InputError as error:
                raise error.at(f"{path}:{number}") from None
    return captions


def _parse(line: str | InputError) -> tuple[str, str]:
    if isinstance(line, InputError):
        raise line
    try:
        record = parse_json(line)
    except InputError:
        record = parse_literal(line)
    expect(record, dict, "a record with img_id and text")
    name, text = (expect(record.get(key), str, "a string", key) for key in ("img_id", "text"))
    return name, text.strip()
