"""Model cards: what a saved model is, how it was made and measured, and what it cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rukh.relation_training import RelationTrainingConfig
    from rukh.tagger_training import TaggerConfig


def relation_card(config: RelationTrainingConfig, figures: dict[str, Any]) -> str:
    """The card of a relation model, in Markdown."""
    pair = config.pair
    captions = config.caption_source or "none"
    parts = [
        "# A rukh relation model",
        f"Relations of the schema `{config.relations}`, trained on `{config.data.train.name}` "
        f"({config.data.format}) with `{pair.text_encoder}` and `{pair.vision_encoder}`; markers "
        f"`{pair.markers}`, head `{config.relation.head}`, order `{config.order}`, seed "
        f"{config.training.seed}. Entity types: tagger `{config.tagger}`. Captions: {captions}.",
        "## Figures",
        _table(figures),
        "`fold` is a tenth of the training posts, kept apart by picture and sentence; the epoch, "
        "the temperature and the threshold were chosen on it. `val` was scored once, afterwards.",
    ]
    return "\n\n".join(parts) + "\n"


def tagger_card(config: TaggerConfig, figures: dict[str, Any]) -> str:
    """The card of a tagger, in Markdown."""
    train = ", ".join(f"`{path.name}`" for path in config.train)
    test = ", ".join(f"`{path.name}`" for path in config.test) or "nothing"
    parts = [
        "# A rukh tagger",
        f"Entity types {', '.join(config.types)}, trained on {train} with `{config.text_encoder}`, "
        f"seed {config.training.seed}. It never saw a relation label.",
        "## Figures",
        _table(figures),
        f"`fold` is a tenth of the training sentences; the epoch was chosen on it. `test` is "
        f"{test}, scored once.",
    ]
    return "\n\n".join(parts) + "\n"


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
