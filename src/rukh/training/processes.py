"""The processes and devices of training.

``accelerate launch`` starts several processes on GPUs, and ``torchrun`` on GPUs or on the CPU.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rukh.errors import InputError, MissingDependency
from rukh.modeling.device import choose_device

Result = TypeVar("Result")
TIMEOUT = timedelta(days=1)
"""Maximum time that a process waits for another one, which may be encoding images."""


def start_processes(device: str | torch.device = "auto") -> tuple[Any, torch.device]:
    """Connect to the other processes, if there are any.

    From then on, processes other than the main one show no warnings and no progress.

    Args:
        device: Name of a device, as in :func:`rukh.modeling.device.choose_device`. With several
            processes, ``auto`` or ``cuda``: each process uses a GPU of its own.

    Returns:
        The ``accelerate.PartialState``, and the device of this process.

    Raises:
        InputError: There is no such device, or several processes cannot use it.
        MissingDependency: ``accelerate`` is not installed.
    """
    try:
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env
    except ImportError:
        raise MissingDependency("accelerate", "train") from None
    name = str(device)
    if name == "auto" and parse_flag_from_env("ACCELERATE_USE_CPU"):  # accelerate launch --cpu
        name = "cpu"
    chosen = choose_device(name)
    state = PartialState(cpu=chosen.type == "cpu", timeout=TIMEOUT)
    if state.num_processes == 1:
        return state, chosen
    if name not in {"auto", state.device.type}:
        problem = f"{state.num_processes} processes cannot use the device {name!r}"
        raise InputError(problem, field="device", fix="use auto")
    if not state.is_main_process:
        logging.disable(logging.WARNING)
    atexit.register(state.destroy_process_group)
    return state, chosen if chosen.type == "cpu" else state.device


def on_main_process(function: Callable[[], Result]) -> Result:
    """Call a function in the main process, and return its result in all, which wait for it."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    state = PartialState()
    results: list[Any] = [function() if state.is_main_process else None]
    if state.num_processes > 1:
        broadcast_object_list(results)
    result: Result = results[0]
    return result


def is_main_process() -> bool:
    """Whether this is the main process, or the only one. It does not need ``accelerate``."""
    distributed = torch.distributed
    several = distributed.is_available() and distributed.is_initialized()
    return not several or distributed.get_rank() == 0


def own_part(batch: Sequence[Any], state: Any) -> Sequence[Any]:
    """Return the items of a batch that this process computes; none if there are too few."""
    return batch[state.process_index :: state.num_processes]


def sum_gradients(parameters: Sequence[nn.Parameter], accelerator: Any) -> None:
    """Replace the gradients by their sums over all processes.

    ``DistributedDataParallel`` computes means, and needs to know in advance which parameters a
    batch uses.
    """
    if accelerator.num_processes == 1:
        return
    used = [parameter for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([parameter.grad.flatten() for parameter in used if parameter.grad is not None])
    sums: Tensor = accelerator.reduce(flat, "sum")
    for parameter, part in zip(used, torch.split(sums, [p.numel() for p in used]), strict=True):
        parameter.grad = part.view_as(parameter)
