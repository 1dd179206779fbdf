"""One training loop, for the relation model and for the tagger alike.

What is trained is a :class:`Task`; the loop knows only batches, a loss and a validation figure.
It runs on ``accelerate``, writes checkpoints from which it resumes bit for bit, keeps the weights
of the best validation, and stops early.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from rukh.errors import InputError, MissingDependency
from rukh.modeling.adapters import trained_state
from rukh.records import Record
from rukh.training.checkpoints import load_checkpoint, save_checkpoint
from rukh.utils.files import atomic_open, read_json, sole_user, write_json


class TrainingConfig(Record):
    """How to train; every key may stand under ``training:`` in a config file.

    Attributes:
        epochs: The most passes over the data.
        batch_size: Posts a batch.
        learning_rate: Peak rate of pretrained weights.
        head_learning_rate: Peak rate of new weights.
        weight_decay: AdamW's, on matrices only.
        warmup_ratio: Share of all steps over which the rate rises; then it falls linearly to zero.
        max_grad_norm: Largest gradient norm.
        ema_decay: Decay of a moving average of the weights over steps, which is what is validated
            and kept; 0 keeps the weights themselves.
        early_stopping_patience: Validations without a gain after which training stops; 0 never stops early.
        evals_per_epoch: How often an epoch is validated.
        save_steps: Optimizer steps between checkpoints.
        precision: ``fp32``, or ``bf16`` for matrix products in bfloat16: about twice as fast on
            processors that have such instructions (AVX512-BF16, AMX), far slower on others.
            ``auto`` takes bfloat16 where the processor has them.
        seed: Decides the order of data, dropout and new weights.
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


class TrainingTask(Protocol):
    """What the loop needs to know of a thing to be trained."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""

    def pretrained(self) -> set[str]:
        """Names of the parameters that came pretrained: they take the lower rate."""

    def batches(self, epoch: int) -> Sequence[Any]:
        """The epoch's batches, in an order that depends on the seed and the epoch alone."""

    def loss(self, batch: Any) -> Tensor:
        """Scalar loss of one batch."""

    def checkpointed(self) -> None:
        """Called after every checkpoint: a task that derives something from the weights now and
        then derives it anew before the next batch, as a run that resumes here has to.
        """

    def validate(self) -> dict[str, float]:
        """Figures on the held-out fold; ``score`` decides which weights are kept."""


class TrainingResult(NamedTuple):
    """The outcome: the best validation's figures, and every validation's."""

    best: dict[str, float]
    history: list[dict[str, float]]


def rate(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then linear decay to zero."""
    rise = max(1, math.ceil(steps * warmup)) if warmup else 0
    return (step + 1) / rise if step < rise else (steps - step) / max(1, steps - rise)


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products of bfloat16 matrices."""
    asked = getattr(torch.cpu, "get_capabilities", None)  # not in every torch that we support
    known = {} if asked is None else asked()
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _optimizer(task: TrainingTask, config: TrainingConfig) -> torch.optim.AdamW:
    pretrained = task.pretrained()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in task.model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name in pretrained, parameter.dim() > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak": config.learning_rate if old else config.head_learning_rate,
                "lr": 0.0,
                "weight_decay": config.weight_decay if matrix else 0.0,
            }
            for (old, matrix), parameters in groups.items()
        ]
    )


def fit(
    task: TrainingTask, config: TrainingConfig, run: Path, identity: dict[str, Any]
) -> TrainingResult:
    """Train a task in the folder ``run``, or go on where an interrupted run stopped.

    Afterwards ``run/best.safetensors`` holds the trained weights of the best validation,
    ``run/history.json`` every validation, and ``task.model`` the best weights.

    Args:
        identity: What the run is; resuming with another identity is an error, not a mixture.

    Raises:
        InputError: The folder holds a run of another identity, or another process is at it.
        MissingDependency: ``accelerate`` is not installed.
    """
    try:
        from accelerate import Accelerator
    except ImportError:
        raise MissingDependency("accelerate", "train") from None
    # Batches are made on the CPU; running on a GPU is not supported yet.
    with sole_user(run):
        return _fit(task, config, run, identity, Accelerator(cpu=True))


def _fit(
    task: TrainingTask,
    config: TrainingConfig,
    run: Path,
    identity: dict[str, Any],
    accelerator: Any,
) -> TrainingResult:
    from safetensors.torch import load_file
    from tqdm import tqdm

    _claim(run, identity | {"training": config.model_dump()})
    torch.manual_seed(config.seed)
    low = config.precision == "bf16" or (config.precision == "auto" and multiplies_bfloat16())
    optimizer = _optimizer(task, config)
    state = load_checkpoint(run, task.model, optimizer) or {
        "epoch": 0, "batch": 0, "step": 0, "history": [], "stale": 0,
    }  # fmt: skip
    model, optimizer = accelerator.prepare(task.model, optimizer)
    log = _writer(run, state["step"])
    length = len(task.batches(0))
    steps = length * config.epochs
    marks = {
        round(length * (i + 1) / config.evals_per_epoch) for i in range(config.evals_per_epoch)
    }
    progress = tqdm(total=steps, initial=state["step"], unit="step", smoothing=0.05)
    stopped = config.early_stopping_patience and state["stale"] >= config.early_stopping_patience
    while state["epoch"] < config.epochs and not stopped:
        batches = task.batches(state["epoch"])
        model.train()
        while state["batch"] < len(batches):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate(state["step"], steps, config.warmup_ratio)
            # Around the loss alone: what is validated is computed in full precision.
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                loss = task.loss(batches[state["batch"]])
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            state["batch"] += 1
            state["step"] += 1
            if config.ema_decay:
                _average(optimizer, min(config.ema_decay, state["step"] / (state["step"] + 9)))
            value = float(loss.detach())
            if not math.isfinite(value):
                raise InputError(f"the loss is {value} at step {state['step']}", where=str(run))
            progress.update()
            best = max((h["score"] for h in state["history"]), default=None)
            told = {} if best is None else {"best": f"{best:.4f}"}
            progress.set_postfix({"loss": f"{value:.3f}", **told}, refresh=False)
            log("train/loss", value, state["step"])
            log("train/gradient_norm", float(norm), state["step"])
            if state["batch"] in marks:
                with _averaged(optimizer):
                    stopped = _validate(task, config, run, state, log)
                model.train()
                if stopped:
                    break
            if state["step"] % config.save_steps == 0:
                save_checkpoint(run, task.model, optimizer, state)
                task.checkpointed()
        state["epoch"], state["batch"] = state["epoch"] + 1, 0
        save_checkpoint(run, task.model, optimizer, state)
    progress.close()
    with torch.no_grad():
        own = dict(task.model.named_parameters())
        for name, weight in load_file(run / "best.safetensors").items():
            own[name].copy_(weight)
    task.model.eval()
    history = state["history"]
    write_json(history, run / "history.json")
    return TrainingResult(max(reversed(history), key=lambda h: h["score"]), history)


def _average(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Move the average of each weight; it is kept with the optimizer's state, and so resumed."""
    for parameter, slots in optimizer.state.items():
        if "average" in slots:
            slots["average"].lerp_(parameter.detach(), 1 - decay)
        else:
            slots["average"] = parameter.detach().clone()


@contextmanager
def _averaged(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Averages in the place of the weights, where there are any, within the block."""
    weights = {p: p.detach().clone() for p, slots in optimizer.state.items() if "average" in slots}
    with torch.no_grad():
        for parameter in weights:
            parameter.copy_(optimizer.state[parameter]["average"])
        try:
            yield
        finally:
            for parameter, weight in weights.items():
                parameter.copy_(weight)


def _validate(
    task: TrainingTask, config: TrainingConfig, run: Path, state: dict[str, Any], log: Any
) -> bool:
    """Validate; keep the weights if they are the best; whether patience has run out."""
    from safetensors.torch import save
    from tqdm import tqdm

    task.model.eval()
    with torch.no_grad():
        figures = task.validate() | {"step": state["step"]}
    best = max((h["score"] for h in state["history"]), default=-math.inf)
    state["history"].append(figures)
    state["stale"] = 0 if figures["score"] > best else state["stale"] + 1
    if figures["score"] >= best:  # of equal ones the later: its learning rate has come to rest
        with atomic_open(run / "best.safetensors", "wb") as stream:
            stream.write(save({k: v.contiguous() for k, v in trained_state(task.model).items()}))
    for key, value in figures.items():
        log(f"fold/{key}", value, state["step"])
    told = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
    tqdm.write(f"fold {told}", file=sys.stderr)
    return bool(config.early_stopping_patience and state["stale"] >= config.early_stopping_patience)


def _claim(run: Path, identity: dict[str, Any]) -> None:
    """Mark a folder as this run's; refuse a folder that holds another's."""
    path = run / "run.json"
    identity = json.loads(json.dumps(identity))
    if not path.exists():
        write_json(identity, path)
    elif (other := read_json(path)) != identity:
        changed = sorted(k for k in {*other, *identity} if other.get(k) != identity.get(k))
        raise InputError(
            f"the folder holds a run that differs in: {', '.join(changed)}",
            where=str(run),
            fix="give another --out, or remove the folder to start afresh",
        )


def _writer(run: Path, step: int) -> Any:
    """A function that logs one scalar to TensorBoard, or does nothing where it is absent."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return lambda *_: None
    writer = SummaryWriter(str(run / "tensorboard"), purge_step=step)
    return writer.add_scalar
