"""The audit for people: one HTML page with its charts in it, which loads nothing.

The page shows figures, labels, file names, and single words or word pairs of auxiliary inputs where
a rule is made of them; never a text of the data. All of it is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from rukh.audit.audit import LEAK
from rukh.audit.charts import NONE, RELATION, Bar, Line, bars, intervals
from rukh.audit.rules import COVERAGE, PRECISION

_LABELS = 40
_STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 60rem; margin: 2rem auto }
table { border-collapse: collapse; margin: .8rem 0 }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums }
.leak, .unknown { color: #b03030; font-weight: bold }
.informative { color: #3b7ab8; font-weight: bold }
code { overflow-wrap: anywhere } svg { max-width: 100%; height: auto } h2 { margin-top: 2.2rem }
"""


def html(result: Mapping[str, Any], command: str | None = None) -> str:
    """The page.

    Args:
        result: What :func:`rukh.audit.audit.audit` returned, or the same read back from JSON.
        command: The command that made it, shown so that it can be typed again.
    """
    inputs = result["inputs"]
    counts = ", ".join(
        f"{result[key]:,} {name}"
        for key, name in (("rows", "pairs"), ("posts", "posts"), ("pictures", "pictures"))
    )
    blocks = [
        f"<h1>Leakage audit of {escape(str(result['data']))}</h1>",
        f"<p>{counts}; none-of-the-above is called {_code(result['nota'])}.</p>",
        f"<p>Made by {_code(command)}.</p>" if command else "",
        "<h2>Verdicts</h2>",
        _table(
            ("input", "verdict", "covers", "why"),
            [
                (
                    escape(one["name"]),
                    f'<span class="{escape(one["verdict"])}">{escape(one["verdict"])}</span>',
                    _percent(one["coverage"]),
                    "<br>".join(map(escape, one["why"])) or "not above its shuffled self",
                )
                for one in inputs
            ],
        ),
        _method(result),
        "<h2>How well each input alone predicts</h2>",
        *(_question(inputs, name) for name in inputs[0]["questions"]),
        *map(_input, inputs),
        "<h2>Overlap of splits</h2>",
        _overlaps(result["overlaps"]),
        "<h2>Repeats and contradictions</h2>",
        _table(
            ("what", "count"),
            [(escape(key.replace("_", " ")), f"{n:,}") for key, n in result["repeats"].items()],
        ),
        "<h2>Labels</h2>",
        _labels(result),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Leakage audit</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(filter(None, blocks))
        + "\n</body></html>\n"
    )


def _method(result: Mapping[str, Any]) -> str:
    return (
        "<p>An input is a <b>leak</b> where the lower bound of its balanced accuracy is "
        f"{LEAK:.2f} or more, or a rule of precision {PRECISION:.2f} or more covers "
        f"{_percent(COVERAGE)} of rows or more; <b>informative</b> where the lower bound lies "
        "above what 95 % of its shuffles reach; else <b>none</b>; and short of a leak "
        "<b>unknown</b> where its row numbers are not those of the data, or rows are too few to be "
        f"asked. Everything is measured out of fold: {result['folds']} folds over "
        f"{result['groups']:,} groups of rows that share no picture and no text. Intervals are "
        "95 %, bootstrapped over the same groups; they do not hold what another split into folds "
        "would change. The null is "
        f"{result['permutations']} shuffles of the input between its units. "
        f"Seed {result['seed']}, {result['seconds']} s.</p>"
    )


def _question(inputs: Sequence[Mapping[str, Any]], name: str) -> str:
    lines, rows = [], []
    for one in inputs:
        answer = one["questions"][name]
        if answer is None:
            continue
        figure, null = answer["balanced_accuracy"], answer["null"]
        lines.append(
            Line(
                one["name"],
                figure["value"],
                figure["low"],
                figure["high"],
                (null["mean"], null["high"]),
                marked=one["verdict"] == "leak",
            )
        )
        rows.append(
            (
                escape(one["name"]),
                *map(_interval, (answer[key] for key in _MEASURES)),
                f"{_percent(null['mean'])}, {_percent(null['high'])}",
                f"{null['p']:.3f}",
                _percent(answer["majority"]),
            )
        )
    heading = f"<h3>{escape(name.capitalize())}?</h3>"
    if not lines:
        return heading + "<p>Not asked: fewer than two labels have ten rows.</p>"
    title = f"Balanced accuracy, {name}: interval, and in grey the shuffled input's mean to 95 %"
    header = ("input", *_MEASURES.values(), "shuffled: mean, 95 %", "p", "majority's accuracy")
    return (
        heading + f"<p>{escape(title)}.</p>" + intervals(lines, title, LEAK) + _table(header, rows)
    )


_MEASURES = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
}


def _input(one: Mapping[str, Any]) -> str:
    keyed = f"one value a {escape(one['keying'])}"
    if one["file"]:
        guess = ", guessed from its keys" if one["keying_guessed"] else ""
        keyed = (
            f"{_code(one['file'])}, keyed by {escape(one['keying'])}{guess}; "
            f"{one['keys_matched']:,} of its {one['keys']:,} keys belong to the data"
        )
    blocks = [
        f"<h2>{escape(one['name'])}</h2>",
        f"<p>{keyed}; {one['conditions']:,} conditions were looked at.</p>",
    ]
    if one["rules"]:
        blocks.append(
            _table(
                ("rule", "says", "precision", "at least", "covers", "share of all", "folds", ""),
                [
                    (
                        escape(rule["text"]),
                        "a relation" if rule["relation"] else "none",
                        f"{rule['precision']:.3f}",
                        f"{rule['low']:.3f}",
                        _percent(rule["coverage"]),
                        _percent(rule["share"]),
                        str(rule["folds"]),
                        '<span class="leak">leak</span>' if rule["leak"] else "",
                    )
                    for rule in one["rules"]
                ],
            )
        )
    shares = one["shares"]
    if shares:
        title = f"{shares['trait']}: relations (blue) and none (yellow) by its values, all rows"
        lines = []
        for bar in shares["bars"]:
            both = bar["relation"] + bar["none"]
            parts = ((bar["relation"], RELATION), (bar["none"], NONE))
            note = f"{_percent(bar['relation'] / both)} of {both:,}"
            lines.append(Bar(bar["value"], parts, note))
        blocks.append(f"<p>{escape(title)}.</p>{bars(lines, title)}")
    return "\n".join(blocks)


def _overlaps(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>No other split was given.</p>"
    return _table(
        ("splits", "what", "shared", "rows of the first", "rows of the second"),
        [
            (
                escape(f"{row['first']}, {row['second']}"),
                escape(row["kind"]),
                f"{row['shared']:,}",
                f"{row['first_rows']:,} ({_percent(row['first_share'])})",
                f"{row['second_rows']:,} ({_percent(row['second_share'])})",
            )
            for row in rows
        ],
    )


def _labels(result: Mapping[str, Any]) -> str:
    found = result["imbalance"]
    lines = [
        Bar(
            row["label"],
            ((row["rows"], NONE if row["label"] == result["nota"] else RELATION),),
            f"{row['rows']:,} ({_percent(row['share'])})",
        )
        for row in found["labels"][:_LABELS]
    ]
    more = len(found["labels"]) - len(lines)
    return (
        f"<p>The commonest relation has {found['ratio']:.0f} times the rows of the rarest; "
        f"{found['rare']} have fewer than ten; evenness {found['evenness']:.2f} of 1."
        + (f" The {more} rarest are not drawn." if more else "")
        + f"</p>{bars(lines, 'Rows by label')}"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells hold markup already, a cell that begins with a digit is set to the right."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=n' if cell[:1].isdigit() else ''}>{cell}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(figure: Mapping[str, float]) -> str:
    return " ".join(
        (
            f"{100 * figure['value']:.1f}",
            f"[{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]",
        )
    )


def _code(text: object) -> str:
    return f"<code>{escape(str(text))}</code>"
