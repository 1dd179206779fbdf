"""Configuration files: YAML with overrides, read into one frozen, typed object.

Errors name the dotted key: ``train.yaml: training.epoch: no such key; did you mean 'epochs'?``
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from rukh.errors import InputError, shorten, suggestion
from rukh.records import field_path
from rukh.utils.files import file_errors, parse_yaml

Model = TypeVar("Model", bound=BaseModel)


def load_config(
    path: str | Path,
    model_class: type[Model],
    overrides: Iterable[str] = (),
    unset: str | None = None,
) -> Model:
    """Read a YAML file into ``model_class``, which should be frozen and forbid extra keys.

    Types are strict: ``true`` is not a number and ``"3"`` is not an integer. In strings,
    ``${RUKH_DATA}`` and ``${RUKH_DATA:-../data}`` are replaced by the environment variable; its
    name must start with ``RUKH_``. Relative paths are relative to the current directory.

    Args:
        overrides: ``key.sub=value`` each, the value in YAML; later ones replace earlier ones.
        unset: The value of variables that are not set and have no default. None: an error.

    Raises:
        InputError: The file cannot be read, a key or value is wrong, or a variable is not set.
    """
    where = str(path)
    with file_errors(path):
        data = parse_yaml(Path(path).read_text(encoding="utf-8"), where)
    if not isinstance(data, dict | None):
        raise InputError(f"not a mapping but {shorten(repr(data))}", where=where)
    data = data or {}
    _apply_overrides(data, overrides)
    try:
        data = _expand(data, "", unset)
        # As JSON, of which strict mode accepts a list for a tuple and a string for a path.
        return model_class.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise _explain(error, data, model_class).at(where) from None
    except InputError as error:
        raise error.at(where) from None


def _apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> None:
    """Set values by dotted keys; missing sections are added."""
    for override in overrides:
        key, equals, value = override.partition("=")
        *sections, last = parts = key.strip().split(".")
        if not equals or not all(parts):
            raise InputError(f"override {override!r} is not of the form key.sub=value")
        section = data
        for depth, name in enumerate(sections, 1):
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                raise InputError(
                    f"override {override!r} needs a section here, not {shorten(repr(section))}",
                    field=".".join(sections[:depth]),
                )
        section[last] = parse_yaml(value, f"override {override!r}")


def _expand(value: Any, field: str, unset: str | None) -> Any:
    """Replace the variables in all strings, and turn all keys into strings."""
    if isinstance(value, dict):
        return {str(k): _expand(v, f"{field}.{k}".lstrip("."), unset) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(item, f"{field}[{i}]", unset) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, has_default, default = match[1].partition(":-")
        if not re.fullmatch(r"RUKH_[A-Z0-9_]+", name) or not match[0].endswith("}"):
            raise InputError(
                f"cannot expand {match[0]!r}",
                field=field,
                fix="write ${RUKH_NAME} or ${RUKH_NAME:-default}; other variables are not read",
            )
        # An empty variable counts as not set, as in sh.
        expanded = os.environ.get(name) or (default if has_default else unset)
        if expanded is None:
            raise InputError(
                f"the environment variable {name} is not set",
                field=field,
                fix=f"set it, or give a default: ${{{name}:-default}}",
            )
        return expanded

    return re.sub(r"\$\{([^}]*)\}?", replace, value)


def _explain(error: ValidationError, data: Any, model_class: type[BaseModel]) -> InputError:
    """Describe one mistake: an unknown key first, as it may be why another is missing."""
    mistakes = error.errors(include_url=False)
    first = min(mistakes, key=lambda mistake: mistake["type"] != "extra_forbidden")
    # pydantic's path also has the names of union members, which are not keys of the file.
    path: list[int | str] = []
    value: Any = data
    for part in first["loc"]:
        is_key = isinstance(value, dict) and part in value
        if is_key or (isinstance(value, list) and isinstance(part, int)):
            value = value[part]
            path.append(part)
    fix = None
    if first["type"] == "extra_forbidden":
        problem = "no such key"
        fix = suggestion(str(path[-1]), _known_keys(model_class, first["loc"][:-1]))
    elif first["type"] == "missing":
        problem = "a value is needed"
        path.append(first["loc"][-1])
    else:
        problem = str(first["msg"]).removeprefix("Value error, ")
        if path and not isinstance(value, dict):  # a section's own message names its keys
            problem += f", not {shorten(repr(value))}"
    if more := len({mistake["loc"] for mistake in mistakes}) - 1:
        problem += f" (and {more} more)"
    return InputError(problem, field=field_path(path), fix=fix)


def _known_keys(model_class: type[BaseModel], path: Sequence[int | str]) -> set[str]:
    """The keys of the section at a path of pydantic, as they are written in the file."""
    classes = {model_class}
    for part in path:
        fields = [field for c in classes for key, field in _fields(c) if key == part]
        # Other parts are indices of lists, keys of mappings and tags of unions.
        classes = set().union(*(_classes_in(field.annotation) for field in fields)) or classes
    return {key for c in classes for key, _ in _fields(c)}


def _fields(model_class: type[BaseModel]) -> list[tuple[str, Any]]:
    return [(field.alias or name, field) for name, field in model_class.model_fields.items()]


def _classes_in(annotation: Any) -> set[type[BaseModel]]:
    """All configuration classes that occur in an annotation, such as ``tuple[Training, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set().union(*map(_classes_in, get_args(annotation)))
