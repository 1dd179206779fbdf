"""`python -m research.development`: calibrate a model for new relations on the development set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer
from corpora.inline import field_schema, read_all

from research.command import command_line, main
from research.zero_shot.unseen import fit_unseen, gold_logits
from rukh.cli import options
from rukh.data.corpus import list_all_pairs
from rukh.evaluation.end_to_end import evaluate_end_to_end
from rukh.extractor import Extractor
from rukh.modeling.directions import column_mask
from rukh.records import Post
from rukh.utils.files import parse_yaml, write_json
from rukh.utils.markdown import markdown_table, percent

DEVELOPMENT = Path(__file__).parents[2] / "corpora/development/development.txt"
UNSEEN = DEVELOPMENT.with_name("unseen.yaml")


class Fitted(NamedTuple):
    """The values of ``unseen_calibration`` in a configuration."""

    temperature: float
    shift: float


def development(
    model: options.Model = "open",
    tagger: options.Tagger = None,
    json: options.Json = None,
) -> None:
    """Fit the calibration of relations that a model did not see in training.

    Temperature and shift are fitted to the pairs of given entities. The table shows the figures of
    raw text with them, by threshold.
    """
    schema = field_schema(DEVELOPMENT)
    posts = read_all(DEVELOPMENT, schema)
    extractor = Extractor.from_pretrained(model, tagger=tagger, schema=schema)
    fitted = fit(extractor, posts)
    names = {"unseen_temperature": fitted.temperature, "unseen_shift": fitted.shift}
    extractor.model.config = extractor.model.config.model_copy(update=names)
    figures, _ = evaluate_end_to_end(extractor, posts)
    rows = [
        [f"{given['threshold']:.2f}", *(percent(one[key]) for one in (given, raw) for key in KEYS)]
        for given, raw in zip(figures["given"]["curve"], figures["raw"]["curve"], strict=True)
    ]
    unseen = {str(name) for name in parse_yaml(UNSEEN.read_text(encoding="utf-8"), str(UNSEEN))}
    groups = {
        "30 relations": schema.names,
        "15 with a counterpart in training": [n for n in schema.names if n not in unseen],
        "15 without": [n for n in schema.names if n in unseen],
    }
    parts = [
        [name, *(cell for part in ("given", "raw") for cell in total(figures[part], some))]
        for name, some in groups.items()
    ]
    header = [f"{part} {key}" for part in ("given", "raw") for key in KEYS]
    typer.echo(f"unseen_calibration: [{fitted.temperature:.4f}, {fitted.shift:.2f}]")
    typer.echo(f"calibration error {percent(figures['expected_calibration_error'])}\n")
    typer.echo(markdown_table(["threshold", *header], rows))
    header = [f"{part} {key}" for part in ("given", "raw") for key in KEYS[:3]]
    typer.echo(f"\nAt the threshold {extractor.threshold:.2f}:\n")
    typer.echo(markdown_table(["", *header], parts))
    if json is not None:
        write_json({"model": model, **fitted._asdict(), **figures}, json)


KEYS = ("f1", "precision", "recall", "silent_answered")


def total(figures: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Compute F1, precision and recall over some relations, in per cent."""
    rows = [row for row in figures["per_relation"] if row["relation"] in names]
    predicted, gold = (sum(row[key] for row in rows) for key in ("predicted", "gold"))
    correct = sum(row["recall"] * row["gold"] for row in rows)
    ratios = (2 * correct / (predicted + gold), correct / max(1, predicted), correct / gold)
    return [percent(ratio) for ratio in ratios]


def fit(extractor: Extractor, posts: list[Post]) -> Fitted:
    """Fit temperature and shift to all pairs of given entities. Posts list every relation."""
    bank, mode = extractor.bank, extractor.model.config.direction_mode
    complete = [list_all_pairs(post, extractor.schema.nota) for post in posts]
    logits, target = gold_logits(extractor, complete)
    seen = column_mask(extractor.model.schema.names, bank, mode)
    return Fitted(*fit_unseen(bank.without_background(logits), target, seen))


app = command_line(development)
if __name__ == "__main__":
    main(app)
