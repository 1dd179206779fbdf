"""Choose which weights of a pretrained encoder are trained, and store and load them.

An encoder can be frozen, trained in its top layers, or extended with low-rank adapters (LoRA, Hu et
al., 2022) from ``peft``. Only weights that differ from the pretrained ones are stored. Loading
merges the adapters into the pretrained weights, so inference does not need ``peft`` and is as fast.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rukh.errors import InputError, MissingDependency, WeightsError

_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
_LORA = re.compile(r"^(?P<module>.*)\.lora_(?P<side>[AB])\.default\.weight$")


def tune_top_layers(model: nn.Module, layers: int) -> None:
    """Freeze a transformer, in place, except for its top ``layers`` layers.

    Raises:
        InputError: The model has no numbered layers, and ``layers`` is not 0.
    """
    parameters = [(_LAYER.search(name), parameter) for name, parameter in model.named_parameters()]
    depth = 1 + max((int(match[1]) for match, _ in parameters if match), default=-1)
    if layers and not depth:
        raise InputError("this text encoder has no numbered layers to train")
    for match, parameter in parameters:
        parameter.requires_grad = match is not None and int(match[1]) >= depth - layers


def add_lora(model: Any, rank: int) -> None:
    """Freeze a model, in place, and add trainable low-rank adapters to all its linear layers."""
    try:
        import peft
    except ImportError:
        raise MissingDependency("peft", "train") from None
    model.requires_grad_(False)
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    # With alpha = rank the scale is 1, and loading can add the product to the weight as it is.
    config = peft.LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=linear)
    peft.inject_adapter_in_model(config, model)


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the trainable parameters, which are to be stored, by name."""
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def read_state(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read weights from {file}: {error}") from None


@torch.no_grad()
def load_trained_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load stored parameters into a module that already holds the pretrained weights.

    Unless the module has adapters itself, the product of each pair of low-rank factors is added to
    the weight that the factors belong to.

    Raises:
        WeightsError: A name or shape does not match the module, as in the state of another model.
    """
    own = dict(module.named_parameters())
    factors: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        match = _LORA.match(name)
        if match and name not in own:
            factors.setdefault(match["module"], {})[match["side"]] = value.float()
        elif name not in own or own[name].shape != value.shape:
            raise WeightsError(
                f"the weights {name!r} of shape {tuple(value.shape)} do not fit the model; "
                "they belong to another configuration"
            )
        else:
            own[name].copy_(value)
    for name, pair in factors.items():
        weight = own.get(f"{name}.weight")
        try:
            product = pair["B"] @ pair["A"]
        except (KeyError, RuntimeError):  # one factor is missing, or the ranks differ
            product = None
        if weight is None or product is None or product.shape != weight.shape:
            raise WeightsError(f"the low-rank weights of {name!r} do not fit the model")
        weight.add_(product)
