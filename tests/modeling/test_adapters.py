"""What of an encoder is trained, and that stored weights come back as what they were."""

from __future__ import annotations

import re

import pytest
import torch

from rukh.errors import WeightsError
from rukh.modeling.adapters import add_lora, load_trained_state, trained_state, tune_top_layers
from rukh.modeling.text_encoder import TextEncoder

IDS = torch.tensor([[2, 40, 50, 60, 3]])


def read(encoder: TextEncoder) -> torch.Tensor:
    with torch.no_grad():
        states: torch.Tensor = encoder.eval()(encoder.embed(IDS), torch.ones_like(IDS).bool())
    return states


@pytest.mark.parametrize(("layers", "tuned"), [(0, set()), (1, {1}), (2, {0, 1}), (9, {0, 1})])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "mpnet"])
def test_only_the_top_layers_are_tuned(encoder_folder, kind, layers, tuned) -> None:  # type: ignore[no-untyped-def]
    model = TextEncoder.load(encoder_folder(kind)).model
    tune_top_layers(model, layers)
    numbers = {name: re.search(r"layer\.(\d)\.", name) for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        match = numbers[name]
        assert parameter.requires_grad == (match is not None and int(match[1]) in tuned), name
    assert set(trained_state(model)) == {n for n, p in model.named_parameters() if p.requires_grad}


def test_low_rank_adapters_come_back_without_adapters(tiny_text: str) -> None:
    tuned = TextEncoder.load(tiny_text)
    before = read(tuned)
    add_lora(tuned.model, 4)
    torch.testing.assert_close(read(tuned), before)  # they start from zero
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trained_state(tuned).values():
            parameter.normal_(std=0.1)
    state = trained_state(tuned)
    # Every linear layer of two layers, and nothing else.
    assert len(state) == 2 * 2 * 6 and all("lora" in name for name in state)
    after = read(tuned)
    assert (after - before).abs().max() > 0.1
    plain = TextEncoder.load(tiny_text)
    load_trained_state(plain, state)
    assert not any("lora" in name for name, _ in plain.named_parameters())
    torch.testing.assert_close(read(plain), after, atol=1e-5, rtol=1e-5)
    again = TextEncoder.load(tiny_text)
    add_lora(again.model, 4)
    load_trained_state(again, state)
    torch.testing.assert_close(read(again), after)


def test_another_models_state_is_refused(tiny_text: str) -> None:
    encoder = TextEncoder.load(tiny_text)
    name, weight = next(iter(encoder.named_parameters()))
    for state, message in (
        ({"model.nowhere": weight}, "do not fit the model at 'model.nowhere'"),
        ({name: weight[:1].detach()}, re.escape(f"at {name!r}, (1, 32)")),
        ({"model.x.lora_A.default.weight": weight.detach()}, "low-rank weights for 'model.x'"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_trained_state(TextEncoder.load(tiny_text), state)


def test_half_an_adapter_or_one_of_another_width_is_refused(tiny_text: str) -> None:
    tuned = TextEncoder.load(tiny_text)
    add_lora(tuned.model, 4)
    state = trained_state(tuned)
    first = next(name for name in state if "lora_B" in name)
    without = {k: v for k, v in state.items() if k != first}
    for broken in (without, state | {first: torch.zeros(7, 4)}, state | {first: torch.zeros(7)}):
        with pytest.raises(WeightsError, match="low-rank weights for"):
            load_trained_state(TextEncoder.load(tiny_text), broken)
