"""Training checkpoints, stored as safetensors and JSON.

A checkpoint holds the trained weights, their moving average, the state of the optimizer, and the
history. A resumed run gives exactly the result of an uninterrupted one.
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
    run: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: nn.Module | None,
    state: dict[str, Any],
) -> None:
    """Write ``<run>/checkpoint``, so that a killed process leaves the old or the new version."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": value for name, value in trained_state(model).items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    if averages is not None:
        tensors |= {f"averages.{name}": value for name, value in averages.state_dict().items()}
    with atomic_folder(run / "checkpoint") as folder:
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "state.safetensors")
        write_json(state, folder / "state.json")


def load_checkpoint(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, averages: nn.Module | None
) -> dict[str, Any] | None:
    """Restore ``<run>/checkpoint``; return its ``state``, or None if there is no checkpoint.

    Raises:
        InputError: The checkpoint belongs to a model with different trainable parameters.
    """
    from safetensors.torch import load_file

    folder = run / "checkpoint"
    if not folder.exists():
        # If the process was killed between the two renames of atomic_folder, the complete previous
        # checkpoint is still there under its temporary name.
        previous = sorted(run.glob(".checkpoint.*.old"))
        if not previous:
            return None
        folder = previous[-1]
    state: dict[str, Any] = read_json(folder / "state.json")
    tensors = load_file(folder / "state.safetensors")

    def stored(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    weights, own = stored("model."), trained_state(model)
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in weights.items()}:
        raise InputError(
            "the checkpoint belongs to a model with different trainable parameters",
            where=str(folder),
            fix="choose another --out, or delete the folder to start again",
        )
    model.load_state_dict(weights, strict=False)
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in stored("optimizer.").items():
        index, slot = key.split(".")
        slots.setdefault(int(index), {})[slot] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    if averages is not None:
        averages.load_state_dict(stored("averages."))
    return state
