"""Logs of training: TensorBoard, Weights & Biases and the other trackers of ``accelerate``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rukh.errors import InputError, suggestion

LOG_STEPS = 10
"""Number of steps whose losses are read together, so that a GPU is not awaited in each step."""


def installed_trackers(names: Sequence[str], required: bool) -> list[str]:
    """Return those of the named trackers of ``accelerate`` whose packages are installed.

    Args:
        names: The trackers.
        required: Whether a package that is not installed is an error.

    Raises:
        InputError: There is no such tracker, or a required package is not installed.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import LoggerType

    missing = {*LoggerType.list()} - {str(tracker) for tracker in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            problem, fix = f"no tracker {name!r}", suggestion(name, LOGGER_TYPE_TO_CLASS)
            raise InputError(problem, field="training.trackers", fix=fix)
        if required and name in missing:
            problem, fix = f"{name} is not installed", f"run: pip install {name.replace('_', '-')}"
            raise InputError(problem, field="training.trackers", fix=fix)
    return [name for name in names if name not in missing]


def open_trackers(accelerator: Any, run: Path, step: int, options: dict[str, Any]) -> None:
    """Open the trackers of an ``accelerate.Accelerator``.

    Args:
        accelerator: The accelerator, of which the trackers log from now on.
        run: Folder of the run, for what is stored on this machine.
        step: Number of the steps that were logged before the run was interrupted.
        options: All options of the run, to be logged.
    """
    settings = {"tensorboard": {"purge_step": step}, "wandb": {"name": run.stem, "dir": str(run)}}
    accelerator.init_trackers("rukh", init_kwargs=settings)
    for tracker in accelerator.trackers:
        if tracker.name != "tensorboard":  # which takes no nested options
            tracker.store_init_configuration(options)


class StepLog:
    """Logs the loss and the gradient norm of each step to the trackers and the progress bar.

    Args:
        accelerator: The ``accelerate.Accelerator`` with the trackers.
        progress: The progress bar.
        where: Name of the run, for errors.
    """

    def __init__(self, accelerator: Any, progress: Any, where: str) -> None:
        self._accelerator, self._progress, self._where = accelerator, progress, where
        self._pending: list[tuple[int, Tensor]] = []

    def add(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Add a step.

        Args:
            step: Number of the step.
            loss: This process's part of the loss, a scalar.
            norm: Norm of the gradients of all processes, a scalar.
        """
        self._progress.update()
        self._pending.append((step, torch.stack([loss.detach(), norm])))
        if len(self._pending) == LOG_STEPS:
            self.flush()

    def flush(self) -> None:
        """Read and log the steps that were added.

        Raises:
            InputError: The loss of a step is not finite.
        """
        if not self._pending:
            return
        steps, values = zip(*self._pending, strict=True)
        self._pending = []
        losses, norms = torch.stack(values).unbind(1)
        losses = self._accelerator.reduce(losses, "sum")
        for step, loss, norm in zip(steps, *torch.stack([losses, norms]).tolist(), strict=True):
            if not math.isfinite(loss):
                raise InputError(f"the loss is {loss} at step {step}", where=self._where)
            self._accelerator.log({"train/loss": loss, "train/gradient_norm": norm}, step=step)
        self._progress.set_postfix({"loss": f"{loss:.3f}"}, refresh=False)
