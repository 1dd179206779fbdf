"""Training loop of relation models and taggers, with early stopping and checkpoints.

An interrupted run that is resumed gives exactly the same result as an uninterrupted one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rukh.errors import InputError, MissingDependency
from rukh.modeling.adapters import trained_state
from rukh.records import Record
from rukh.training.checkpoints import load_checkpoint, save_checkpoint
from rukh.utils.files import atomic_open, lock_folder, read_json, write_json
from rukh.utils.progress import progress_bar

logger = logging.getLogger(__name__)


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
        precision: ``fp32``, or ``bf16`` to compute matrix products in bfloat16. ``bf16`` is about
            twice as fast on processors with AVX512-BF16 or AMX, but much slower on others. ``auto``
            uses ``bf16`` on processors with these instructions, else ``fp32``.
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
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    seed: int = Field(default=13, ge=0)

    def epoch_seed(self, epoch: int) -> int:
        """Return the random seed for the order of the data in an epoch."""
        return self.seed * 1000 + epoch


class TrainingTask(Protocol):
    """Interface of what the training loop trains: a model with its batches, loss and metrics."""

    pretrained_prefix: str
    """Prefix of the names of pretrained parameters, which are trained with ``learning_rate``."""

    @property
    def model(self) -> nn.Module:
        """The model, of which the parameters with ``requires_grad`` are trained."""

    def batches(self, epoch: int) -> Sequence[Any]:
        """Draw the batches of an epoch, which may depend on the seed and the epoch only."""

    def loss(self, batch: Any) -> Tensor:
        """Compute the scalar loss of a batch."""

    def validate(self) -> dict[str, float]:
        """Compute metrics on the dev set; the weights with the highest ``score`` are kept."""


def fit(
    task: TrainingTask, config: TrainingConfig, run: Path, identity: dict[str, Any]
) -> dict[str, float]:
    """Train a task in the folder ``run``, or resume the interrupted run in that folder.

    Afterwards, ``task.model`` and ``run/best.safetensors`` hold the weights of the best validation,
    and ``run/history.json`` holds the metrics of every validation.

    Args:
        identity: All other options that determine the result, as JSON data. A run can only be
            resumed with the same options.

    Returns:
        The metrics of the validation with the highest score; if scores are equal, of the last one,
        where the learning rate was lowest.

    Raises:
        InputError: The folder holds a different run, another process uses the folder, or the loss
            is not finite.
        MissingDependency: ``accelerate`` is not installed.
    """
    from safetensors.torch import load_file

    try:
        from accelerate import Accelerator
    except ImportError:
        raise MissingDependency("accelerate", "train") from None
    with lock_folder(run):
        _check_identity(run, identity | {"training": config.model_dump(mode="json")})
        # Training on a GPU is not supported yet: batches are built on the CPU.
        history = _train(task, config, run, Accelerator(cpu=True))
        write_json(history, run / "history.json")
        task.model.load_state_dict(load_file(run / "best.safetensors"), strict=False)
        task.model.eval()
    return max(reversed(history), key=lambda metrics: metrics["score"])


def _train(
    task: TrainingTask, config: TrainingConfig, run: Path, accelerator: Any
) -> list[dict[str, float]]:
    """Run the steps after those of the checkpoint, if any; return the metrics of validations."""
    from safetensors.torch import save
    from transformers import get_linear_schedule_with_warmup

    torch.manual_seed(config.seed)
    bfloat16 = config.precision == "bf16" or (config.precision == "auto" and supports_bfloat16())
    steps_per_epoch = len(task.batches(0))
    total = steps_per_epoch * config.epochs
    evals = config.evals_per_epoch
    eval_after = {round(steps_per_epoch * (i + 1) / evals) for i in range(evals)}

    optimizer = make_optimizer(task, config)
    weights = nn.ParameterList(p for p in task.model.parameters() if p.requires_grad)
    averages = None
    if config.ema_decay:
        # Only the trainable parameters are copied, not the frozen encoders.
        averages = AveragedModel(weights, avg_fn=partial(_update_average, config.ema_decay))
    state = load_checkpoint(run, task.model, optimizer, averages) or {"step": 0, "history": []}
    step: int = state["step"]
    history: list[dict[str, float]] = state["history"]
    # The schedule starts at its second value, because its first one is a learning rate of zero.
    warmup = math.ceil(total * config.warmup_ratio)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, total + 1, last_epoch=step)
    optimizer = accelerator.prepare(optimizer)

    def finished() -> bool:
        scores = [metrics["score"] for metrics in history]
        stale = len(scores) - 1 - scores.index(max(scores)) if scores else 0
        return step >= total or 0 < config.early_stopping_patience <= stale

    log = _tensorboard(run, step)
    progress = progress_bar(total=total, initial=step, unit="step", smoothing=0.05)
    batches: Sequence[Any] = ()
    task.model.train()
    while not finished():
        epoch, index = divmod(step, steps_per_epoch)
        if not batches or index == 0:
            batches = task.batches(epoch)
        # Autocast covers the loss only: validation runs in full precision.
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = task.loss(batches[index])
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(f"the loss is {value} at step {step + 1}", where=str(run))
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(weights.parameters(), config.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        step += 1
        if averages is not None:
            averages.update_parameters(weights)
        progress.update()
        progress.set_postfix({"loss": f"{value:.3f}"}, refresh=False)
        log("train/loss", value, step)
        log("train/gradient_norm", float(norm), step)
        if index + 1 in eval_after:
            task.model.eval()
            with _swapped(weights, averages), torch.no_grad():
                metrics = task.validate() | {"step": step}
                if metrics["score"] >= max((past["score"] for past in history), default=-math.inf):
                    best = {k: v.contiguous() for k, v in trained_state(task.model).items()}
                    with atomic_open(run / "best.safetensors", "wb") as stream:
                        stream.write(save(best))
            task.model.train()
            history.append(metrics)
            for key, metric in metrics.items():
                log(f"dev/{key}", metric, step)
            logger.info("dev set at step %d: F1 %.1f %%", step, 100 * metrics["score"])
        if finished() or step % config.save_steps == 0:
            state = {"step": step, "history": history}
            save_checkpoint(run, task.model, optimizer, averages, state)
    progress.close()
    return history


def make_optimizer(task: TrainingTask, config: TrainingConfig) -> torch.optim.AdamW:
    """Create AdamW for the trainable parameters, grouped by learning rate and weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in task.model.named_parameters():
        if parameter.requires_grad:
            pretrained = name.startswith(task.pretrained_prefix)
            rate = config.learning_rate if pretrained else config.head_learning_rate
            decay = config.weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        # A resumed schedule reads the peak learning rate from ``initial_lr``.
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    )


def supports_bfloat16() -> bool:
    """Whether this processor has instructions for matrix products in bfloat16."""
    read: Any = getattr(torch.cpu, "get_capabilities", dict)  # not in every supported version
    return any(read().get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _update_average(decay: float, average: Tensor, weight: Tensor, count: Tensor) -> Tensor:
    """Update a moving average. Its decay starts low, so that early weights are soon forgotten."""
    step = int(count) + 1
    return average.lerp(weight, 1 - min(decay, step / (step + 9)))


@contextmanager
def _swapped(weights: nn.ParameterList, averages: AveragedModel | None) -> Iterator[None]:
    """Swap the weights and their averages, if any, within the block."""

    def swap() -> None:
        if averages is not None:
            pairs = zip(weights.parameters(), averages.module.parameters(), strict=True)
            for weight, average in pairs:
                weight.data, average.data = average.data, weight.data

    swap()
    try:
        yield
    finally:
        swap()


def _check_identity(run: Path, identity: dict[str, Any]) -> None:
    """Write ``run.json``, or raise InputError if the folder holds a different run."""
    path = run / "run.json"
    if not path.exists():
        write_json(identity, path)
    elif (other := read_json(path)) != identity:
        changed = sorted(k for k in {*other, *identity} if other.get(k) != identity.get(k))
        raise InputError(
            f"the folder holds a run with a different configuration: {', '.join(changed)}",
            where=str(run),
            fix="choose another --out, or delete the folder to start again",
        )


def _tensorboard(run: Path, step: int) -> Callable[[str, float, int], None]:
    """Return a function that logs a scalar to TensorBoard, or that does nothing without it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return lambda name, value, step: None
    writer: Any = SummaryWriter(str(run / "tensorboard"), purge_step=step)
    return lambda name, value, step: writer.add_scalar(name, value, step)
