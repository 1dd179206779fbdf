"""Format an audit as tables: Markdown for the terminal, or an HTML page without external files.

Columns are named as in the JSON. The tables contain numbers, labels, file names, and the words of
auxiliary inputs that occur in rules. They never contain texts of the data.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from rukh.utils.markdown import escape, markdown_table

_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 70rem; margin: 2rem auto }
table { border-collapse: collapse }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left }
.leak, .unknown { color: #b03030 } .informative { color: #3b7ab8 }
"""


def to_markdown(result: Mapping[str, Any]) -> str:
    """Format the result of :func:`rukh.audit.audit.audit` as Markdown."""
    parts = []
    for title, (header, *rows) in _tables(result).items():
        table = markdown_table(header, [[escape(cell) for cell in row] for row in rows])
        parts.append(f"## {title}\n\n{table}")
    return "\n\n".join(parts)


def to_html(result: Mapping[str, Any], command: str) -> str:
    """Format the result as an HTML page that shows the command; percentages are drawn as bars."""
    parts = [f"<h1>Leakage audit</h1>\n<p><code>{html.escape(command)}</code></p>"]
    for title, (header, *rows) in _tables(result).items():
        head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
        body = "".join(f"<tr>{''.join(map(_html_cell, row))}</tr>\n" for row in rows)
        parts.append(f"<h2>{html.escape(title)}</h2>\n<table><tr>{head}</tr>\n{body}</table>")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Leakage audit</title><style>{_STYLE}</style></head>\n<body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _html_cell(text: str) -> str:
    attribute = ""
    if text in ("leak", "informative", "unknown"):
        attribute = f' class="{text}"'
    elif match := re.match(r"[\d.]+(?= %)", text):
        bar = f"linear-gradient(90deg, #cde {match[0]}%, transparent 0)"
        attribute = f' style="background: {bar}"'
    return f"<td{attribute}>{html.escape(text)}</td>"


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
    best = [(one["name"], one["shares"]["bars"]) for one in inputs if one["shares"]]
    tables["The best condition"] = [{"name": name} | bar for name, bars in best for bar in bars]
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
