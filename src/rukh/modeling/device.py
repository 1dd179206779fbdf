"""The devices that models run on, and how tensors get there."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from rukh.errors import InputError

Component = TypeVar("Component")


def available_devices() -> list[str]:
    """Return the names of the devices of this machine, the fastest first: CUDA, MPS, CPU."""
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [*names, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device with this name; ``auto`` is the first of :func:`available_devices`.

    Raises:
        InputError: This machine has no such device.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    present = available_devices()
    wanted = {"auto": present[0], "cuda": "cuda:0"}.get(str(name), str(name))
    if wanted not in present:
        fix = f"use auto, or one of these: {', '.join(present)}"
        raise InputError(f"there is no device {str(name)!r}", field="device", fix=fix)
    return torch.device(wanted)


def move(component: Component, device: torch.device) -> Component:
    """Move a tagger or a detector to a device, in place, if it has the method ``to(device)``."""
    if hasattr(component, "to"):
        component.to(device)
    return component


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor in the CPU's memory to a device, without waiting for what the device does."""
    # A copy to a GPU from memory that is not pinned waits for all earlier work of the GPU.
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)
