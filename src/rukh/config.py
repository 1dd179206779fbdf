"""Read configuration files, YAML with overrides, into an immutable, typed object.

Errors name the dotted key: ``train.yaml: training.epoch: no such field; did you mean 'epochs'?``
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from rukh.errors import InputError, shorten, suggestion
from rukh.records import field_path, first_problem, path_in_data
from rukh.utils.files import file_errors, parse_yaml

Model = TypeVar("Model", bound=BaseModel)


def load_config(
    path: str | Path,
    model_class: type[Model],
    overrides: Iterable[str] = (),
    unset: str | None = None,
) -> Model:
    """Read a YAML file into ``model_class``, which should be immutable and forbid extra keys.

    Types are strict: ``true`` is not a number and ``"3"`` is not an integer. In strings,
    ``${RUKH_DATA}`` and ``${RUKH_DATA:-default}`` are replaced by the value of the environment
    variable; only names with ``RUKH_`` are allowed. Relative paths start at the current directory.

    Args:
        overrides: Strings ``key.sub=value`` with a YAML value; later ones replace earlier ones.
        unset: Value of variables that are not set and have no default. None: raise an error.

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
        return parse_config(data, model_class, unset)
    except InputError as error:
        raise error.at(where) from None


def parse_config(
    data: Mapping[str, Any], model_class: type[Model], unset: str | None = None
) -> Model:
    """Like :func:`load_config`, of the contents of a file. Raises InputError."""
    data = _expand(dict(data), "", unset)
    try:
        # Validate as JSON: strict mode then accepts a list as a tuple and a string as a path.
        return model_class.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise _explain(error, data, model_class) from None


def _apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> None:
    """Set values by dotted keys, in place. Missing sections are added."""
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
    """Replace the variables in all strings, and convert all keys to strings."""
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
                fix="write ${RUKH_NAME} or ${RUKH_NAME:-default}, with any name after RUKH_",
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
    """Describe the first mistake. An unknown key gets a suggestion."""
    first, problem = first_problem(error)
    path = path_in_data(first, data)
    fix = None
    if first["type"] == "extra_forbidden":
        fix = suggestion(str(path[-1]), _known_keys(model_class, first["loc"][:-1]))
    return InputError(problem, field=field_path(path), fix=fix)


def _known_keys(model_class: type[BaseModel], path: Sequence[int | str]) -> set[str]:
    """Return the keys of the section at a pydantic path, as they are written in the file."""
    classes = {model_class}
    for part in path:
        fields = [field for c in classes for key, field in _fields(c) if key == part]
        # Parts that match no field are list indices, mapping keys or union tags.
        classes = set().union(*(_classes_in(field.annotation) for field in fields)) or classes
    return {key for c in classes for key, _ in _fields(c)}


def _fields(model_class: type[BaseModel]) -> list[tuple[str, Any]]:
    return [(field.alias or name, field) for name, field in model_class.model_fields.items()]


def _classes_in(annotation: Any) -> set[type[BaseModel]]:
    """Return all configuration classes in an annotation, such as ``tuple[Training, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set().union(*map(_classes_in, get_args(annotation)))
