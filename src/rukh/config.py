"""Configurations: a YAML file, changed by overrides, read into one frozen, typed object.

The classes stand in the modules that use them; this one only reads. Every mistake fails with the
dotted key it stands at: ``train.yaml: training.epoch: no such key; did you mean 'epochs'?``
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from rukh.errors import InputError, suggestion
from rukh.utils.files import parse_yaml

Model = TypeVar("Model", bound=BaseModel)


def load_config(
    path: str | Path,
    model_class: type[Model],
    overrides: Iterable[str] = (),
    unset: str | None = None,
) -> Model:
    """Read a YAML file into ``model_class``, which should be frozen and forbid extra keys.

    Values keep their YAML types: ``true`` is no number and ``"3"`` no integer. In strings,
    ``${RUKH_DATA}`` and ``${RUKH_DATA:-../data}`` are expanded (only variables whose name begins
    with ``RUKH_``). Relative paths stay relative to the current directory, not to the file.

    Args:
        overrides: ``key.sub=value`` each; see :func:`apply_overrides`.
        unset: What a variable without a value or default stands for, where no file is to be read.

    Raises:
        InputError: The file cannot be read or is no YAML mapping, a key is unknown, missing or
            stands twice, a value has the wrong type, or a variable is not set.
    """
    where = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=where) from None
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", where=where) from None
    data = parse_yaml(text, where)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InputError(f"a configuration is a mapping, not {_show(data)}", where=where)
    data = apply_overrides(data, overrides)
    try:
        data = _expand(data, "", os.environ, unset)
        # As JSON, because pydantic's strict mode then still takes a list for a tuple and a string
        # for a path. What JSON lacks (a YAML date) becomes the string it was written as.
        return model_class.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise _explain(error, data, model_class).at(where) from None
    except InputError as error:
        raise error.at(where) from None


def apply_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of ``data`` with values set by dotted keys; absent sections are made.

    Args:
        overrides: ``key.sub=value`` each, the value in YAML; the last one of a key holds.

    Raises:
        InputError: No ``=``, an empty part of the key, a value where a section is needed, or a
            value that is not YAML.

    Example:
        >>> apply_overrides({"training": {"epochs": 9, "seed": 1}}, ["training.epochs=3"])
        {'training': {'epochs': 3, 'seed': 1}}
    """
    changed = copy.deepcopy(dict(data))
    for override in overrides:
        key, equals, value = override.partition("=")
        *sections, last = parts = key.strip().split(".")
        if not equals or not all(parts):
            raise InputError(f"override {override!r} is not of the form key.sub=value")
        section = changed
        for depth, name in enumerate(sections):
            below = section.get(name)
            if below is None:
                below = section[name] = {}
            if not isinstance(below, dict):
                raise InputError(
                    f"override {override!r} needs a section, but this is {_show(below)}",
                    field=".".join(sections[: depth + 1]),
                )
            section = below
        section[last] = parse_yaml(value, f"override {override!r}")
    return changed


def _expand(value: Any, field: str, variables: Mapping[str, str], unset: str | None) -> Any:
    """``value`` with the variables in its strings replaced, and with strings for keys."""
    if isinstance(value, dict):
        return {
            str(k): _expand(v, f"{field}.{k}".lstrip("."), variables, unset)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_expand(v, f"{field}[{i}]", variables, unset) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, marked, default = match[1].partition(":-")
        if not re.fullmatch(r"RUKH_[A-Z0-9_]+", name) or not match[0].endswith("}"):
            raise InputError(
                f"cannot expand {match[0]!r}",
                field=field,
                fix="write ${RUKH_NAME} or ${RUKH_NAME:-default}; other variables are not read",
            )
        found = variables.get(name) or (default if marked else unset)  # empty is unset, as in sh
        if found is None:
            raise InputError(
                f"the environment variable {name} is not set",
                field=field,
                fix=f"set it, or give a default: ${{{name}:-default}}",
            )
        return found

    return re.sub(r"\$\{([^}]*)\}?", replace, value)


def _explain(error: ValidationError, data: Any, model_class: type[BaseModel]) -> InputError:
    """One line for the first mistake; an unknown key first, as it may be why another is missing."""
    mistakes = error.errors(include_url=False)
    first = min(mistakes, key=lambda mistake: mistake["type"] != "extra_forbidden")
    # pydantic names the member of a union in the path, which is no key of the file.
    path: list[int | str] = []
    value = data
    for part in first["loc"]:
        inside = isinstance(value, list) if isinstance(part, int) else isinstance(value, dict)
        if inside and (isinstance(part, int) or part in value):
            value = value[part]
            path.append(part)
    if first["type"] == "missing":
        path.append(first["loc"][-1])
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")

    if first["type"] == "extra_forbidden":
        problem = "no such key"
        fix = suggestion(str(path[-1]), _known_keys(model_class, first["loc"][:-1]))
    elif first["type"] == "missing":
        problem, fix = "a value is needed", None
    else:
        problem, fix = str(first["msg"]).removeprefix("Value error, "), None
        if field and not isinstance(value, dict):  # a section's own message names its keys
            problem += f", not {_show(value)}"
    more = len({mistake["loc"] for mistake in mistakes}) - 1
    return InputError(
        problem + (f" (and {more} more)" if more else ""), field=field or None, fix=fix
    )


def _known_keys(model_class: type[BaseModel], path: Sequence[int | str]) -> set[str]:
    """The keys of the section at ``path``, a pydantic error location."""
    classes = {model_class}
    for part in path:
        below = [f.annotation for c in classes for n, f in c.model_fields.items() if n == part]
        # A part that is no field is a list's index, a mapping's key or the tag of a union.
        classes = set().union(*map(_classes_in, below)) or classes
    return {name for found in classes for name in found.model_fields}


def _classes_in(annotation: Any) -> set[type[BaseModel]]:
    """All configuration classes that an annotation mentions, such as ``tuple[Training, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set().union(*map(_classes_in, get_args(annotation)))


def _show(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
