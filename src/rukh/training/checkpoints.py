"""Checkpoints from which training goes on bit for bit, in safetensors and JSON only.

A checkpoint is one folder, ``<run>/checkpoint``, replaced as a whole: trained weights, AdamW's
moments, the random generator's state, and where in the data the run stood.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rukh.errors import InputError
from rukh.modeling.adapters import trained_state
from rukh.utils.files import atomic_folder, read_json, write_json


def save_checkpoint(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write ``<run>/checkpoint``; a kill at any moment leaves the old one or the new one."""
    from safetensors.torch import save_file

    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    tensors: dict[str, Tensor] = {"rng": torch.get_rng_state()}
    tensors |= {f"model.{name}": value for name, value in trained_state(model).items()}
    for parameter, slots in optimizer.state.items():
        for slot, value in slots.items():
            tensors[f"optimizer.{slot}.{names[id(parameter)]}"] = value
    with atomic_folder(run / "checkpoint") as folder:
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "state.safetensors")
        write_json(state, folder / "state.json")


def load_checkpoint(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Put the run's checkpoint back in place; returns its state, or None where there is none."""
    from safetensors.torch import load_file

    folder = run / "checkpoint"
    if not folder.exists():
        # A kill between the two renames of a replacement leaves the older folder under its
        # temporary name: it is whole.
        left = sorted(run.glob(".checkpoint.*.old"))
        if not left:
            return None
        folder = left[-1]
    state: dict[str, Any] = read_json(folder / "state.json")
    tensors = load_file(folder / "state.safetensors")
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    stored = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    if own.keys() != stored.keys() or any(own[k].shape != v.shape for k, v in stored.items()):
        raise InputError(
            "the checkpoint belongs to another configuration",
            where=str(folder),
            fix="give another --out, or remove the folder to start afresh",
        )
    with torch.no_grad():
        for name, value in stored.items():
            own[name].copy_(value)
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, slot, name = key.split(".", 2)
            optimizer.state[own[name]][slot] = value
    torch.set_rng_state(tensors["rng"])
    return state
