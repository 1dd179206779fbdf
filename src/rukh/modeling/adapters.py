"""What of a pretrained encoder is trained, and what of it is stored.

An encoder is frozen, tuned in its top layers, or given low-rank adapters (LoRA, Hu et al., 2022,
through ``peft``). Only what differs from the base is stored; loading adds the low-rank products
to the base weights, so that a shipped model needs neither ``peft`` nor a slower forward pass.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rukh.errors import InputError, MissingDependency, WeightsError

_LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks|_blocks)\.(\d+)\.")
_LORA = re.compile(r"^(?P<module>.*)\.lora_(?P<side>[AB])\.default\.weight$")


def tune_top_layers(model: nn.Module, layers: int) -> None:
    """Freeze a transformer, or a network of blocks, but for its last ``layers`` layers.

    Raises:
        InputError: It has no numbered layers, and some are to be tuned.
    """
    found = [(_LAYER.search(name), parameter) for name, parameter in model.named_parameters()]
    depth = 1 + max((int(match[1]) for match, _ in found if match), default=-1)
    if layers and not depth:
        raise InputError("this encoder has no numbered layers, so that none can be tuned")
    for match, parameter in found:
        parameter.requires_grad = match is not None and int(match[1]) >= depth - layers


def add_lora(model: Any, rank: int) -> None:
    """Freeze a model and add trainable low-rank adapters to all its linear layers, in place."""
    try:
        import peft
    except ImportError:
        raise MissingDependency("peft", "train") from None
    for parameter in model.parameters():
        parameter.requires_grad = False
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    peft.inject_adapter_in_model(
        # Scale 1, so that a stored product can be added to the base as it is.
        peft.LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=linear),
        model,
    )


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters that training may have changed: what has to be stored beside the base."""
    return {
        name: parameter.detach()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises WeightsError where it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read weights from {file}: {error}") from None


def load_trained_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Put a stored state into a freshly built module whose base weights are already in place.

    Low-rank pairs are multiplied out and added to the base, unless the module itself has adapters.

    Raises:
        WeightsError: A name is unknown or a shape differs: the state is another model's.
    """
    own = dict(module.named_parameters())
    pairs: dict[str, dict[str, Tensor]] = {}
    with torch.no_grad():
        for name, value in state.items():
            match = _LORA.match(name)
            if match and name not in own:
                pairs.setdefault(match["module"], {})[match["side"]] = value.float()
            elif name not in own or own[name].shape != value.shape:
                raise WeightsError(
                    f"weights do not fit the model at {name!r}, {tuple(value.shape)}: "
                    "they belong to another configuration"
                )
            else:
                own[name].copy_(value)
        for name, pair in pairs.items():
            weight = own.get(f"{name}.weight")
            try:
                product = pair["B"] @ pair["A"]
            except (KeyError, RuntimeError):  # one half, or of different ranks
                product = None
            if weight is None or product is None or product.shape != weight.shape:
                raise WeightsError(f"low-rank weights for {name!r} fit no layer of the model")
            weight.add_(product)
