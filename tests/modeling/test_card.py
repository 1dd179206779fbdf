"""The name of a model in its card."""

from __future__ import annotations

from rukh.modeling.card import HEAD, hub_card, minimal_card, rename_card
from rukh.training.model_card import TAGGER_USAGE, TEMPLATE


def test_a_card_gets_the_name_of_its_model_everywhere() -> None:
    usage = TAGGER_USAGE.format(name="mine")
    card = HEAD.format(name="mine", summary="It is mine.", usage=usage)
    assert TEMPLATE.startswith(HEAD)
    renamed = rename_card(card, "org/other")
    assert renamed.count("org/other") == card.count("mine") - 1 == 3 and "It is mine." in renamed
    assert rename_card(renamed, "mine") == card


def test_a_card_written_by_hand_is_kept() -> None:
    for card in ("", "# mine\n\nA model.\n", "---\nlicense: mit\n---\n# mine\n"):
        assert rename_card(card, "other") == card


def test_the_hub_gets_metadata_once() -> None:
    card = hub_card(minimal_card("mine"), "org/mine")
    assert card.startswith("---\nlibrary_name: rukh\n") and card.count("org/mine") == 3
    assert hub_card(card, "org/mine") == card
