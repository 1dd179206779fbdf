"""Model cards, which describe the usage, the training, the metrics and the limits of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rukh.evaluation.report import training_summary
from rukh.modeling.card import HEAD, RELATION_SUMMARY, RELATION_USAGE
from rukh.utils.markdown import escape, markdown_table, percent

TEMPLATE = (
    HEAD
    + """
## Training

{settings}

## Figures

{metrics}

{explanation}

{notes}
"""
)
_PARAMETERS = ("temperature", "type_penalty", "threshold")
"""Metrics that are not shares: what was fitted on the dev set."""
TAGGER_USAGE = """from rukh.arguments.tagger import load_tagger

print(load_tagger("{name}").detect_entities(["Ann Lee was born in Rome."]))"""


def relation_card(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> str:
    """Write the model card of a relation model, in Markdown.

    Args:
        config: The training configuration, as JSON data with the keys of the configuration file.
        metrics: The metrics that :func:`rukh.training.relation_task.train_relations` returns.
        name: Name of the model.
    """
    corpora = [config["data"], *config["extra_corpora"]]
    schemas = [Path(config["schema"]).stem]
    schemas += [Path(one["schema"] or one["train"]).stem for one in config["extra_corpora"]]
    settings = {
        "training data": ", ".join(f"{Path(c['train']).name} ({c['format']})" for c in corpora),
        "schema": ", ".join(dict.fromkeys(schemas)),
    }
    for key in (
        "default_schema",
        "tagger",
        "caption_source",
        "direction_mode",
        "pair",
        "relation",
        "training",
    ):
        settings[key] = config[key]
    return TEMPLATE.format(
        name=name,
        summary=RELATION_SUMMARY,
        usage=RELATION_USAGE.format(name=name),
        settings=markdown_table(("setting", "value"), _rows(settings)),
        metrics=_figures(metrics),
        explanation=f"`dev` is the dev set: {100 * config['data']['dev_fraction']:g} % of the "
        "training posts, without a text or image in common with the others. The epoch was chosen "
        "and the model calibrated on it. `val` decided nothing.",
        notes=config["card_notes"].strip(),
    )


def tagger_card(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> str:
    """Write the model card of a tagger, in Markdown; see :func:`relation_card`."""
    settings = {
        key: ", ".join(Path(corpus["path"]).name for corpus in config[key])
        for key in ("train", "test")
    }
    keys = ("types", "text_encoder", "lora_rank", "trainable_layers", "case_dropout", "training")
    for key in keys:
        settings[key] = config[key]
    return TEMPLATE.format(
        name=name,
        summary="An entity tagger for rukh. It detects entities in text, and assigns types to "
        "given ones. It was not trained on relation labels.",
        usage=TAGGER_USAGE.format(name=name),
        settings=markdown_table(("setting", "value"), _rows(settings)),
        metrics=_figures(metrics),
        explanation="`dev` is a tenth of the training sentences, on which the epoch was chosen. "
        "`test` was evaluated once, after training.",
        notes=config["card_notes"].strip(),
    )


def _figures(metrics: Mapping[str, Any]) -> str:
    """Format the metrics in words and as a table, in which all shares are in per cent."""
    rows = []
    for key, value in _leaves(metrics):
        if isinstance(value, list):
            value = " to ".join(map(percent, value)) + " %"
        elif isinstance(value, float) and not key.endswith(_PARAMETERS):
            value = f"{percent(value)} %"
        rows.append((key, _cell(value)))
    words = "\n".join(f"- {line}" for line in training_summary(metrics).splitlines())
    return f"{words}\n\n{markdown_table(('metric', 'value'), rows)}"


def _rows(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((key, _cell(value)) for key, value in _leaves(values))


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(value)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield keys and values; the keys of nested mappings are joined by dots."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
