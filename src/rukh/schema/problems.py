"""Problems of a schema, in words of YAML and with the lines of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from rukh import errors
from rukh.errors import MAX_LISTED, InputError, format_value, suggestion
from rukh.records import field_path, path_in_data

if TYPE_CHECKING:
    import yaml

Path: TypeAlias = tuple[int | str, ...]
"""Where something is in a schema, such as ``("relations", 0, "head")``."""


class Problem(NamedTuple):
    """What is wrong at a place of a schema."""

    path: Path
    text: str


EXPECTED = errors.EXPECTED | {
    "date": "a date, such as 2026-11-25",
    "dict": "a mapping, such as {PER: person}",
    "literal": "draft or verified",
    "model": "a mapping with `name`",
}
"""What a field must be, by the first word of pydantic's type of error."""
FIELDS = {
    "": ("name", "nota", "types", "relations"),
    "relations": (
        "name",
        "id",
        "same_as",
        "descriptions",
        "head",
        "tail",
        "symmetric",
        "inverse",
        "functional",
        "alias",
    ),
    "descriptions": ("text", "status", "author", "date"),
}
"""The fields of a schema, of each of its relations, and of each description."""
FIXED = {
    "invalid_key": "must be text; write it in quotes",
    "missing": "a value is needed",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most 1,000 characters",
    "too_short": "must not be empty",
}
"""What is wrong, by pydantic's type of error."""


def contradictions(problems: Iterable[Problem]) -> PydanticCustomError:
    """Make the error that a validator raises for several problems; see :func:`explain`."""
    listed = list(problems)
    # The text is no template, as names of relations may have braces.
    text = "; ".join(problem.text for problem in listed)
    return PydanticCustomError("schema", "{text}", {"text": text, "problems": listed})


def explain(
    error: ValidationError,
    data: object,
    where: str | None,
    text: str | None,
) -> InputError:
    """Convert pydantic's error to one that lists all problems, one per line.

    Args:
        data: The schema as plain data.
        where: The file.
        text: The YAML, to find the lines of the problems. None: no lines are given.
    """
    root = _compose(text) if text is not None else None
    found = sorted(
        ((_line(root, problem.path), problem) for problem in _problems(error, data)),
        key=lambda one: one[0],
    )
    errors = [
        InputError(
            problem.text,
            where=f"{where}:{line}" if where and line else where,
            field=field_path(problem.path),
        )
        for line, problem in found
    ]
    first, *others = errors
    lines = [first.problem, *(f"  {other}" for other in others[: MAX_LISTED - 1])]
    if more := len(errors) - len(lines):
        lines.append(f"  and {more:,} more")
    return InputError("\n".join(lines), where=first.where, field=first.field)


def _problems(error: ValidationError, data: object) -> Iterator[Problem]:
    # An unknown field comes first: it is often a misspelt one, which is then also missing.
    errors = error.errors(include_url=False)
    for one in sorted(errors, key=lambda one: one["type"] != "extra_forbidden"):
        if one["type"] == "schema":
            yield from one["ctx"]["problems"]
        # A list whose items are all invalid counts as empty.
        elif one["type"] != "too_short" or not one["input"]:
            yield Problem(path_in_data(one, data), _words(one))


def _words(error: ErrorDetails) -> str:
    """Say what is wrong, in words of YAML."""
    kind, field = error["type"], error["loc"][-1] if error["loc"] else ""
    if kind == "extra_forbidden":
        within = [part for part in error["loc"][:-1] if isinstance(part, str)]
        if within[-1:] == ["descriptions"] and " " in str(field):
            return "YAML takes what stands before ': ' for a field; write the text in quotes"
        return f"no such field; {suggestion(str(field), FIELDS[within[-1] if within else ''])}"
    if kind in FIXED:
        return FIXED[kind]
    expected = EXPECTED.get(kind.partition("_")[0])
    if expected is None:
        return error["msg"].removeprefix("Value error, ")
    if kind.startswith("tuple"):
        expected += {
            "head": ", such as [PER, ORG]",
            "tail": ", such as [PER, ORG]",
            "same_as": ", such as [P463]",
            "descriptions": " of texts",
            "relations": " of relations, each with `name`",
        }.get(str(field), "")
    elif not error["loc"]:
        expected = "a mapping with `name` and `relations`"
    if error["input"] is None:
        return f"must be {expected}, but has no value"
    problem = f"must be {expected}, not {format_value(error['input'])}"
    if kind.startswith("string") and isinstance(error["input"], bool | int | float):
        problem += "; write it in quotes"
    return problem


def _compose(text: str) -> yaml.Node | None:
    import yaml

    safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    node: yaml.Node | None = yaml.compose(text, safe)
    return node


def _line(node: Any, path: Path) -> int:
    """Return the line, from 1, of the part of a document that is nearest to a path; 0: unknown."""
    line = 0 if node is None else node.start_mark.line + 1
    for part in path:
        if isinstance(part, int) and getattr(node, "id", None) == "sequence":
            node = node.value[part]
            line = node.start_mark.line + 1
            continue
        pairs = node.value if getattr(node, "id", None) == "mapping" else ()
        pair = next(((key, value) for key, value in pairs if key.value == str(part)), None)
        if pair is None:
            break
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line
