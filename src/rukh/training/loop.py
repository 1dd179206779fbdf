"""Training loop of relation models and taggers, with early stopping and checkpoints.

An interrupted run that is resumed gives exactly the same result as an uninterrupted one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rukh.errors import InputError
from rukh.modeling.adapters import trained_state
from rukh.training.checkpoints import load_checkpoint, save_checkpoint
from rukh.training.losses import LossTerm
from rukh.training.processes import on_main_process, own_part, sum_gradients
from rukh.training.tracking import StepLog, open_trackers
from rukh.training.training_config import TrainingConfig, autocast_dtype, check_options
from rukh.utils.files import atomic_open, lock_folder, read_json, write_json
from rukh.utils.progress import progress_bar

logger = logging.getLogger(__name__)


class TrainingTask(Protocol):
    """Interface of what the training loop trains: a model with its batches, loss and metrics."""

    pretrained_prefix: str
    """Prefix of the names of pretrained parameters, which are trained with ``learning_rate``."""

    @property
    def model(self) -> nn.Module:
        """The model, of which the parameters with ``requires_grad`` are trained."""

    def batches(self, epoch: int) -> Sequence[Any]:
        """Draw the batches of an epoch, which may depend on the seed and the epoch only.

        A batch is a sequence of items.
        """

    def loss(self, batch: Any) -> Sequence[LossTerm]:
        """Compute the terms of the loss of a batch, or of a part of it, on the model's device.

        All batches and parts give gradients to the same parameters.
        """

    def validate(self) -> dict[str, float]:
        """Compute metrics on the dev set; the weights with the highest ``score`` are kept."""


def fit(
    task: TrainingTask, config: TrainingConfig, run: Path, identity: dict[str, Any]
) -> dict[str, float]:
    """Train a task in the folder ``run``, or resume the interrupted run in that folder.

    Afterwards, ``task.model`` and ``run/best.safetensors`` hold the weights of the best validation,
    and ``run/history.json`` holds the metrics of every validation. With several processes, each
    computes a part of every batch, and only the main process validates and writes files.

    Args:
        task: The task, with its model on the device to train on.
        config: Options of the training loop.
        run: The folder.
        identity: All other options that determine the result, as JSON data. A run can only be
            resumed with the same options, but on another device and with other processes.

    Returns:
        The metrics of the validation with the highest score; if scores are equal, of the last one,
        where the learning rate was lowest.

    Raises:
        InputError: The folder holds a different run, another process uses the folder, the loss is
            not finite, or this machine does not support an option.
    """
    from accelerate import Accelerator
    from safetensors.torch import load_file

    trackers = check_options(config, next(task.model.parameters()).device)
    accelerator = Accelerator(log_with=trackers or None, project_dir=str(run))
    is_main = accelerator.is_main_process
    with lock_folder(run) if is_main else nullcontext():
        identity = identity | {"training": config.model_dump(mode="json", exclude={"trackers"})}
        if is_main:
            _check_identity(run, identity)
        accelerator.wait_for_everyone()
        history = _train(task, config, run, accelerator, identity)
        if is_main:
            write_json(history, run / "history.json")
        task.model.load_state_dict(load_file(run / "best.safetensors"), strict=False)
        task.model.eval()
    return max(reversed(history), key=lambda metrics: metrics["score"])


def _train(
    task: TrainingTask,
    config: TrainingConfig,
    run: Path,
    accelerator: Any,
    identity: dict[str, Any],
) -> list[dict[str, float]]:
    """Run the steps after those of the checkpoint, if any; return the metrics of validations."""
    from transformers import get_linear_schedule_with_warmup

    device = next(task.model.parameters()).device
    dtype = autocast_dtype(config.precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
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
    if step:
        logger.info("resuming after step %d of %d", step, total)
    if "scaler" in state:
        scaler.load_state_dict(state["scaler"])
    # The schedule starts at its second value, because its first one is a learning rate of zero.
    warmup = math.ceil(total * config.warmup_ratio)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, total + 1, last_epoch=step)

    def finished() -> bool:
        scores = [metrics["score"] for metrics in history]
        stale = len(scores) - 1 - scores.index(max(scores)) if scores else 0
        return step >= total or 0 < config.early_stopping_patience <= stale

    open_trackers(accelerator, run, step, identity)
    progress = progress_bar(total=total, initial=step, unit="step", smoothing=0.05)
    log = StepLog(accelerator, progress, str(run))
    batches: Sequence[Any] = ()
    task.model.train()
    while not finished():
        epoch, index = divmod(step, steps_per_epoch)
        if not batches or index == 0:
            batches = task.batches(epoch)
        # The random numbers of a step depend on nothing that a checkpoint would have to store.
        torch.manual_seed(config.step_seed(step))
        # Autocast covers the loss only: validation runs in full precision.
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = _part_of_loss(task, batches[index], accelerator)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        sum_gradients([*weights], accelerator)
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(weights.parameters(), config.max_grad_norm)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        optimizer.zero_grad()
        step += 1
        if averages is not None:
            averages.update_parameters(weights)
        log.add(step, loss, norm)
        if index + 1 in eval_after:
            log.flush()
            best = max((past["score"] for past in history), default=-math.inf)
            with _swapped(weights, averages):
                metrics = on_main_process(partial(_validate, task, run, best)) | {"step": step}
            history.append(metrics)
            accelerator.log({f"dev/{name}": value for name, value in metrics.items()}, step=step)
            logger.info("dev set at step %d: F1 %.1f %%", step, 100 * metrics["score"])
        if finished() or step % config.save_steps == 0:
            log.flush()
            if accelerator.is_main_process:
                state = {"step": step, "history": history, "scaler": scaler.state_dict()}
                save_checkpoint(run, task.model, optimizer, averages, state)
    progress.close()
    for tracker in accelerator.trackers:
        tracker.finish()
    return history


def _part_of_loss(task: TrainingTask, batch: Sequence[Any], accelerator: Any) -> Tensor:
    """Compute this process's part of the loss of a batch. The parts of all processes sum up to it.

    The number of values in a term differs between the parts, so that the mean is over their total.
    """
    part = own_part(batch, accelerator)
    terms = task.loss(part if len(part) else batch[:1])
    if accelerator.num_processes == 1:
        return torch.stack([term.mean for term in terms]).sum()
    share = float(len(part) > 0)  # a process without an item needs gradients, too: of zero
    totals = torch.stack([term.total for term in terms]) * share
    numbers: Tensor = torch.stack([term.number for term in terms]) * share
    numbers = accelerator.reduce(numbers, "sum")
    return (totals / numbers.clamp_min(1)).sum()


@torch.no_grad()
def _validate(task: TrainingTask, run: Path, best: float) -> dict[str, float]:
    """Compute the metrics, and write the weights if the score is at least ``best``."""
    from safetensors.torch import save

    task.model.eval()
    metrics = task.validate()
    if metrics["score"] >= best:
        state = {name: value.contiguous() for name, value in trained_state(task.model).items()}
        with atomic_open(run / "best.safetensors", "wb") as stream:
            stream.write(save(state))
    task.model.train()
    return metrics


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


def _update_average(decay: float, average: Tensor, weight: Tensor, count: Tensor) -> Tensor:
    """Update a moving average. Its decay starts low, so that early weights are soon forgotten."""
    step = count.to(average.dtype) + 1
    return average.lerp(weight, 1 - (step / (step + 9)).clamp(max=decay))


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
        changed = sorted(_changed(other, identity))
        raise InputError(
            f"the folder holds a run with a different configuration: {', '.join(changed)}",
            where=str(run),
            fix="choose another --out, or delete the folder to start again",
        )


def _changed(old: dict[str, Any], new: dict[str, Any], section: str = "") -> Iterator[str]:
    """Yield the dotted keys whose values differ."""
    for key in {*old, *new}:
        one, other = old.get(key), new.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _changed(one, other, f"{section}{key}.")
        elif one != other:
            yield f"{section}{key}"
