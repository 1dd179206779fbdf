"""Which weights are trained, and loading of stored weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rukh.errors import InputError, WeightsError
from rukh.modeling.adapters import (
    add_lora,
    load_trained_state,
    read_state,
    trained_state,
    tune_top_layers,
)
from rukh.modeling.text_encoder import TextEncoder

IDS = torch.tensor([[2, 40, 50, 60, 3]])


def encode(encoder: TextEncoder) -> torch.Tensor:
    with torch.no_grad():
        states: torch.Tensor = encoder.eval()(encoder.embed_tokens(IDS), IDS > 0)
    return states


@pytest.mark.parametrize(("layers", "tuned"), [(0, set()), (1, {1}), (2, {0, 1}), (9, {0, 1})])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "mpnet"])
def test_only_the_top_layers_are_trained(
    encoder_folder: Callable[..., str], kind: str, layers: int, tuned: set[int]
) -> None:
    model = TextEncoder.load(encoder_folder(kind)).model
    tune_top_layers(model, layers)
    for name, parameter in model.named_parameters():
        match = re.search(r"layer\.(\d)\.", name)
        assert parameter.requires_grad == (match is not None and int(match[1]) in tuned), name
    assert set(trained_state(model)) == {n for n, p in model.named_parameters() if p.requires_grad}


def test_a_model_without_layers() -> None:
    tune_top_layers(torch.nn.Linear(2, 2), 0)
    with pytest.raises(InputError):
        tune_top_layers(torch.nn.Linear(2, 2), 1)


def test_low_rank_adapters_are_merged_on_loading(tiny_text: str) -> None:
    tuned = TextEncoder.load(tiny_text)
    before = encode(tuned)
    add_lora(tuned.model, 4)
    torch.testing.assert_close(encode(tuned), before)  # they start at zero
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trained_state(tuned).values():
            parameter.normal_(std=0.1)
    state = trained_state(tuned)
    # Two factors for each of six linear layers in each of two layers, and nothing else.
    assert len(state) == 2 * 2 * 6 and all("lora" in name for name in state)
    after = encode(tuned)
    assert (after - before).abs().max() > 0.1
    plain = TextEncoder.load(tiny_text)
    load_trained_state(plain, state)
    assert not any("lora" in name for name, _ in plain.named_parameters())
    torch.testing.assert_close(encode(plain), after, atol=1e-5, rtol=1e-5)
    resumed = TextEncoder.load(tiny_text)
    add_lora(resumed.model, 4)
    load_trained_state(resumed, state)
    torch.testing.assert_close(encode(resumed), after)


def test_a_state_that_does_not_fit(tiny_text: str) -> None:
    encoder = TextEncoder.load(tiny_text)
    name, weight = next(iter(encoder.named_parameters()))
    add_lora(encoder.model, 4)
    state = trained_state(encoder)
    first = next(key for key in state if "lora_B" in key)
    states: list[tuple[dict[str, Any], str]] = [
        ({"model.nowhere": weight.detach()}, "model.nowhere"),
        ({name: weight[:1].detach()}, r"\(1, 32\)"),
        ({"model.x.lora_A.default.weight": weight.detach()}, "model.x"),
        ({key: value for key, value in state.items() if key != first}, "low-rank"),
        (state | {first: torch.zeros(7, 4)}, "low-rank"),
        (state | {first: torch.zeros(7)}, "low-rank"),
    ]
    for broken, message in states:
        with pytest.raises(WeightsError, match=message):
            load_trained_state(TextEncoder.load(tiny_text), broken)


def test_damaged_files(tmp_path: Any) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"junk")
    for name in ("missing", "damaged"):
        with pytest.raises(WeightsError, match=name):
            read_state(tmp_path / f"{name}.safetensors")
