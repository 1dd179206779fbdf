"""Format an audit as tables in Markdown.

Columns are named as in the JSON. The tables contain numbers, labels, file names, and the words of
auxiliary inputs that occur in rules. They never contain texts of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rukh.utils.markdown import escape, markdown_table


def markdown(result: Mapping[str, Any], command: str | None = None) -> str:
    """Format the result of :func:`rukh.audit.audit.audit`, with the command that produced it."""
    blocks = [] if command is None else [f"# Leakage audit\n\nMade by\n\n    {command}"]
    for title, (header, *rows) in _tables(result).items():
        table = markdown_table(header, [[escape(cell) for cell in row] for row in rows])
        blocks.append(f"## {title}\n\n{table}")
    return "\n\n".join(blocks)


def _tables(result: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Return all tables by title. A table is a list of rows, the header first."""
    inputs = result["inputs"]
    shown = ("name", "verdict", "keying", "keys", "keys_matched", "coverage", "why")
    tables = {"Verdicts": [{key: one[key] for key in shown} for one in inputs]}
    for question in inputs[0]["questions"]:
        answers = [{"name": one["name"]} | (one["questions"][question] or {}) for one in inputs]
        tables[f"Each input alone: {question}"] = answers
    rules = [{"name": one["name"]} | rule for one in inputs for rule in one["rules"]]
    # Rules that may be no better than a constant prediction are only in the JSON.
    tables["Rules"] = [rule for rule in rules if rule["low"] > rule["share"]]
    tables |= {"Overlap of splits": result["overlaps"], "Repeats": [result["repeats"]]}
    tables["Labels"] = result["imbalance"]["labels"]
    tables["Data"] = [{k: v for k, v in result.items() if isinstance(v, int | str)}]
    cells = {}
    for title, rows in tables.items():
        keys = list(dict.fromkeys(key for row in rows for key in row))
        cells[title] = [[key.replace("_", " ") for key in keys]]
        cells[title] += [[_cell(row.get(key, "")) for key in keys] for row in rows]
    return {title: rows for title, rows in cells.items() if len(rows) > 1}


def _cell(value: Any) -> str:
    """Format a string, a count, a fraction in per cent, or a number with its interval."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{100 * value:.1f} %"
    if isinstance(value, list):
        return "; ".join(value)
    if isinstance(value, dict) and "value" in value:
        return f"{_cell(value['value'])} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(figure)}" for key, figure in value.items())
    return str(value)
