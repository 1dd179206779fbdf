"""Model cards: what a saved model is, how it was trained and evaluated, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rukh.utils.markdown import escape, markdown_table

RELATION_USAGE = """from rukh import Extractor, Post

extractor = Extractor.from_pretrained({name!r})
for triple in extractor.extract([Post(id="1", text="Ann Lee was born in Rome.")]):
    print(triple.head.text, triple.relation, triple.tail.text, triple.score)"""
TAGGER_USAGE = """from rukh.arguments.tagger import load_tagger

print(load_tagger({name!r}).detect_entities(["Ann Lee was born in Rome."]))"""


def relation_card(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> str:
    """The model card of a relation model, in Markdown.

    Args:
        config: Its training configuration, as JSON data with the keys of the file.
        metrics: What :func:`rukh.training.relation_task.train_relations` returns.
        name: The model's name.
    """
    pair, data, relation = config["pair"], config["data"], config["relation"]
    corpora = [data, *config["extra_corpora"]]
    schemas = dict.fromkeys(Path(one["schema"]).stem for one in (config, *config["extra_corpora"]))
    settings = {
        "schema": ", ".join(schemas),
        "training data": ", ".join(f"{Path(c['train']).name} ({c['format']})" for c in corpora),
        "text encoder": pair["text_encoder"],
        "vision encoder": pair["vision_encoder"] or "none: images are ignored",
        "scorer": relation["scorer"],
        "relation encoder": relation["encoder"],
        "markers": pair["markers"],
        "direction mode": config["direction_mode"],
        "tagger": config["tagger"] or "none",
        "captions": config["caption_source"] or "none",
        "seed": config["training"]["seed"],
    }
    explanation = (
        f"`dev` is the dev set, {100 * data['dev_fraction']:g} % of the training posts; they share "
        "no text and no image with the others; the epoch was chosen and the model calibrated on "
        "it. `val` was evaluated once, after training."
    )
    summary = (
        "A relation extraction model for rukh. It predicts the "
        "relation between two arguments of a post, entities of the text or objects of the image, "
        "by retrieving the relation whose description is nearest to the pair."
    )
    return _card(
        name, summary, RELATION_USAGE, settings, metrics, explanation, config["card_notes"]
    )


def tagger_card(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> str:
    """The model card of a tagger, in Markdown; see :func:`relation_card`."""
    settings = {
        "entity types": ", ".join(config["types"]),
        "training data": ", ".join(Path(path).name for path in config["train"]),
        "test data": ", ".join(Path(path).name for path in config["test"]) or "none",
        "text encoder": config["text_encoder"],
        "seed": config["training"]["seed"],
    }
    summary = (
        "An entity tagger for rukh. It detects entities in text, "
        "and assigns types to given ones. It was not trained on relation labels."
    )
    explanation = (
        "`dev` is a tenth of the training sentences, on which the epoch was chosen. `test` was "
        "evaluated once, after training."
    )
    return _card(name, summary, TAGGER_USAGE, settings, metrics, explanation, config["card_notes"])


def _card(
    name: str,
    summary: str,
    usage: str,
    settings: Mapping[str, Any],
    metrics: Mapping[str, Any],
    explanation: str,
    notes: str,
) -> str:
    parts = [
        f"# {name}",
        summary,
        f"## How to use\n\n```python\n{usage.format(name=name)}\n```",
        "The name is that of a shipped model, or the path of this folder.",
        "## Training",
        markdown_table(("setting", "value"), [(k, escape(v)) for k, v in settings.items()]),
        "## Figures",
        markdown_table(("metric", "value"), _rows(metrics)),
        explanation,
        notes.strip(),
    ]
    return "\n\n".join(parts).strip() + "\n"


def _rows(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The metrics, nested ones under dotted names."""
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", f"{value:.4f}" if isinstance(value, float) else str(value)
