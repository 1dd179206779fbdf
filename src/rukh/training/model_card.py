"""Model cards: what a saved model is, how to use it, how it was trained, its figures and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rukh.utils.markdown import escape, markdown_table

TEMPLATE = """# {name}

{summary}

## How to use

```python
{usage}
```

`{name}` is the name of a shipped model, or the path of this folder.

## Training

{settings}

## Figures

{metrics}

{explanation}

{notes}
"""
RELATION_USAGE = """from rukh import Extractor, Post

extractor = Extractor.from_pretrained("{name}")
for triple in extractor.extract([Post(id="1", text="Ann Lee was born in Rome.")]):
    print(triple.head.text, triple.relation, triple.tail.text, triple.score)"""
TAGGER_USAGE = """from rukh.arguments.tagger import load_tagger

print(load_tagger("{name}").detect_entities(["Ann Lee was born in Rome."]))"""


def relation_card(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> str:
    """Write the model card of a relation model, in Markdown.

    Args:
        config: Its training configuration, as JSON data with the keys of the file.
        metrics: What :func:`rukh.training.relation_task.train_relations` returns.
        name: The model's name.
    """
    pair, data, relation = config["pair"], config["data"], config["relation"]
    corpora = [data, *config["extra_corpora"]]
    schemas = [Path(one["schema"]).stem for one in (config, *config["extra_corpora"])]
    settings = {
        "schema": ", ".join(dict.fromkeys(schemas)),
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
    return TEMPLATE.format(
        name=name,
        summary="A relation extraction model for rukh. It predicts the relation between two "
        "arguments of a post, entities of the text or objects of the image, by retrieving the "
        "relation whose description is nearest to the pair.",
        usage=RELATION_USAGE.format(name=name),
        settings=_settings(settings),
        metrics=_metrics(metrics),
        explanation=f"`dev` is the dev set: {100 * data['dev_fraction']:g} % of the training "
        "posts, without a text or image in common with the others. The epoch was chosen and the "
        "model calibrated on it. `val` was evaluated once, after training.",
        notes=config["card_notes"].strip(),
    )


def tagger_card(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> str:
    """Write the model card of a tagger, in Markdown; see :func:`relation_card`."""
    settings = {
        "entity types": ", ".join(config["types"]),
        "training data": ", ".join(Path(path).name for path in config["train"]),
        "test data": ", ".join(Path(path).name for path in config["test"]) or "none",
        "text encoder": config["text_encoder"],
        "seed": config["training"]["seed"],
    }
    return TEMPLATE.format(
        name=name,
        summary="An entity tagger for rukh. It detects entities in text, and assigns types to "
        "given ones. It was not trained on relation labels.",
        usage=TAGGER_USAGE.format(name=name),
        settings=_settings(settings),
        metrics=_metrics(metrics),
        explanation="`dev` is a tenth of the training sentences, on which the epoch was chosen. "
        "`test` was evaluated once, after training.",
        notes=config["card_notes"].strip(),
    )


def _settings(settings: Mapping[str, Any]) -> str:
    return markdown_table(("setting", "value"), [(k, escape(v)) for k, v in settings.items()])


def _metrics(metrics: Mapping[str, Any]) -> str:
    def rows(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in section.items():
            if isinstance(value, Mapping):
                yield from rows(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", f"{value:.4f}" if isinstance(value, float) else str(value)

    return markdown_table(("metric", "value"), rows(metrics, ""))
