"""Model cards: what a saved model is, how it was made and measured, and what it cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def relation_card(config: dict[str, Any], figures: dict[str, Any]) -> str:
    """The card of a relation model, in Markdown, from its training configuration."""
    pair, data = config["pair"], config["data"]
    corpora = [(Path(one["train"]).name, one["format"]) for one in (data, *config["mix"])]
    told = ", ".join(f"`{name}` ({format_})" for name, format_ in corpora)
    schemas = dict.fromkeys(Path(o["relations"]).stem for o in (config, *config["mix"]))
    known = ", ".join(f"`{name}`" for name in schemas)
    vision = pair["vision_encoder"]
    sight = ", without pictures" if vision is None else f" and `{vision}`"
    parts = [
        "# A rukh relation model",
        f"Relations of the schema {known}, trained on {told} with `{pair['text_encoder']}`{sight}; "
        "markers "
        f"`{pair['markers']}`, head `{config['relation']['head']}`, order `{config['order']}`, "
        f"seed {config['training']['seed']}. Entity types: tagger `{config['tagger']}`. Captions: "
        f"{config['caption_source'] or 'none'}.",
        "## Figures",
        _table(figures),
        f"`fold` is {100 * data['fold']:g} % of the training posts, kept apart by picture and "
        "sentence; the epoch, the temperature and the threshold were chosen on it. `val` decided "
        "nothing in training; it was scored when that was over."
        + (" `left_out` is the part that was left out of training." if data["part"] else ""),
    ]
    return _join(parts, config)


def tagger_card(config: dict[str, Any], figures: dict[str, Any]) -> str:
    """The card of a tagger, in Markdown, from its training configuration."""
    train = ", ".join(f"`{Path(path).name}`" for path in config["train"])
    test = ", ".join(f"`{Path(path).name}`" for path in config["test"]) or "nothing"
    parts = [
        "# A rukh tagger",
        f"Entity types {', '.join(config['types'])}, trained on {train} with "
        f"`{config['text_encoder']}`, seed {config['training']['seed']}. It never saw a relation "
        "label.",
        "## Figures",
        _table(figures),
        f"`fold` is a tenth of the training sentences; the epoch was chosen on it. `test` is "
        f"{test}, scored once.",
    ]
    return _join(parts, config)


def _join(parts: list[str], config: dict[str, Any]) -> str:
    return "\n\n".join([*parts, config["notes"].strip()]).strip() + "\n"


def _table(figures: dict[str, Any]) -> str:
    """Figures as a Markdown table, nested ones under dotted names."""
    rows = ["| figure | value |", "| --- | --- |"]

    def add(data: dict[str, Any], prefix: str) -> None:
        for key, value in data.items():
            if isinstance(value, dict):
                add(value, f"{prefix}{key}.")
            else:
                shown = f"{value:.4f}" if isinstance(value, float) else str(value)
                rows.append(f"| {prefix}{key} | {shown} |")

    add(figures, "")
    return "\n".join(rows)
