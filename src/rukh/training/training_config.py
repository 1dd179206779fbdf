"""The options of the training loop, and whether this machine supports them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from pydantic import Field

from rukh.errors import InputError
from rukh.records import Record
from rukh.training.tracking import installed_trackers

Precision: TypeAlias = Literal["fp32", "bf16", "fp16", "auto"]


class TrainingConfig(Record):
    """The section ``training`` of a configuration file.

    Attributes:
        epochs: Maximum number of passes over the training data.
        batch_size: Number of sequences per step, usually one per post (for a tagger: sentence).
        learning_rate: Peak learning rate of pretrained weights.
        head_learning_rate: Peak learning rate of new weights.
        weight_decay: Weight decay of AdamW for matrices; biases and norms are not decayed.
        warmup_ratio: Fraction of all steps in which the learning rate rises linearly. In the other
            steps it decays linearly to zero.
        max_grad_norm: Maximum norm of the gradients; larger gradients are scaled down to it.
        ema_decay: Decay of an exponential moving average of the weights. If it is above 0, the
            average is validated and saved instead of the weights.
        early_stopping_patience: Number of validations without improvement after which training
            stops; 0 disables early stopping.
        evals_per_epoch: Number of validations per epoch.
        save_steps: Number of steps between two checkpoints.
        precision: ``fp32``, or ``bf16`` to compute matrix products in bfloat16, or ``fp16`` for
            older GPUs. ``bf16`` is much slower on processors without AVX512-BF16 or AMX. ``auto``
            uses ``bf16`` on processors and GPUs that have instructions for it, else ``fp32``.
        trackers: Trackers of ``accelerate`` that log the losses and the metrics. The default is
            left out if its package is not installed.
        seed: Random seed of the order of the data, dropout and new weights.
    """

    epochs: int = Field(default=4, ge=1, le=1000)
    batch_size: int = Field(default=32, ge=1, le=4096)
    learning_rate: float = Field(default=5e-5, gt=0)
    head_learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    early_stopping_patience: int = Field(default=0, ge=0)
    evals_per_epoch: int = Field(default=1, ge=1, le=100)
    save_steps: int = Field(default=100, ge=1)
    precision: Precision = "fp32"
    trackers: tuple[str, ...] = ("tensorboard",)
    seed: int = Field(default=13, ge=0)

    def epoch_seed(self, epoch: int) -> int:
        """Return the random seed for the order of the data in an epoch."""
        return self.seed * 1000 + epoch

    def step_seed(self, step: int) -> int:
        """Return the random seed for dropout and other random numbers of a step."""
        return self.seed * 1_000_000_007 + step


def check_options(config: TrainingConfig, device: torch.device) -> list[str]:
    """Check the precision and the trackers; return the trackers that are installed.

    Raises:
        InputError: The device does not support the precision, there is no such tracker, or a
            tracker that was asked for is not installed.
    """
    autocast_dtype(config.precision, device)
    return installed_trackers(config.trackers, "trackers" in config.model_fields_set)


def autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type of the matrix products in training.

    Raises:
        InputError: The device does not support the precision.
    """
    if precision == "fp16" and device.type != "cuda":
        problem = f"fp16 needs a GPU with CUDA; the device is {device}"
        raise InputError(problem, field="training.precision", fix="use auto")
    if precision == "auto":
        precision = "bf16" if supports_bfloat16(device) else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def supports_bfloat16(device: torch.device) -> bool:
    """Whether a CPU or a GPU with CUDA has instructions for matrix products in bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    read: Any = getattr(torch.cpu, "get_capabilities", dict)  # not in every supported version
    names = ("avx512_bf16", "amx_bf16")
    return device.type == "cpu" and any(read().get(name, False) for name in names)
