"""The training loop: learning rates, averaging, the best weights, early stopping, resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import tracking
from accelerate.tracking import GeneralTracker
from accelerate.utils import LoggerType
from safetensors.torch import load_file
from torch import Tensor, nn

from rukh.errors import InputError
from rukh.training import training_config
from rukh.training.loop import fit, make_optimizer
from rukh.training.losses import LossTerm
from rukh.training.training_config import TrainingConfig
from rukh.utils.files import lock_folder, sha256

CONFIG = TrainingConfig(
    epochs=3, evals_per_epoch=2, save_steps=3, learning_rate=0.05, head_learning_rate=0.05
)


class Stop(Exception):
    """Interrupts a run."""


class Toy:
    """Linear regression with dropout, which records the weights at each validation."""

    pretrained_prefix = "0."

    def __init__(self, stop: int = -1, scores: list[float] | None = None) -> None:
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.x = torch.randn(40, 4, generator=torch.Generator().manual_seed(2))
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5, 0.0])
        self.remaining, self.scores = stop, scores
        self.weights: list[list[Tensor]] = []

    def batches(self, epoch: int) -> list[Tensor]:
        return list(torch.randperm(40, generator=torch.Generator().manual_seed(epoch)).split(8))

    def loss(self, batch: Tensor) -> list[LossTerm]:
        if self.remaining == 0:
            raise Stop
        self.remaining -= 1
        errors = (self.model(self.x[batch])[:, 0] - self.y[batch]).square()
        return [LossTerm(errors.sum(), torch.tensor(float(len(batch))))]

    def validate(self) -> dict[str, float]:
        self.weights.append([p.detach().clone() for p in self.model.parameters()])
        if self.scores is not None:
            return {"score": self.scores.pop(0)}
        return {"score": -(self.model(self.x)[:, 0] - self.y).square().mean().item()}


def changed(**changes: Any) -> TrainingConfig:
    return CONFIG.model_copy(update=changes)


def history_of(run: Path) -> list[dict[str, float]]:
    history: list[dict[str, float]] = json.loads((run / "history.json").read_text())
    return history


def same(run: Path, other: Path) -> bool:
    names = ("best.safetensors", "history.json")
    return all(sha256(run / name) == sha256(other / name) for name in names)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    fit(Toy(), CONFIG, run, {"toy": 1})
    return run


@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.99])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(
    warmup: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[list[float]] = []
    step = torch.optim.AdamW.step

    def record(self: Any, *arguments: Any) -> Any:
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    config = changed(epochs=2, learning_rate=0.1, head_learning_rate=0.2, warmup_ratio=warmup)
    fit(Toy(), config, tmp_path, {})
    pretrained, new = rates[0].index(min(rates[0])), rates[0].index(max(rates[0]))
    assert len(rates) == 10
    for group, peak in ((pretrained, 0.1), (new, 0.2)):
        values = [step[group] for step in rates]
        top = values.index(max(values))
        assert all(0 < value <= peak for value in values)
        assert values[: top + 1] == sorted(values[: top + 1])
        assert values[top:] == sorted(values[top:], reverse=True)
    if warmup == 0.3:
        expected = [1 / 3, 2 / 3, 1, *(1 - k / 8 for k in range(1, 8))]
        assert [step[pretrained] / 0.1 for step in rates] == pytest.approx(expected)


def test_learning_rate_and_weight_decay_by_parameter() -> None:
    task = Toy()
    config = changed(learning_rate=0.1, head_learning_rate=0.2, weight_decay=0.3)
    names = {id(p): name for name, p in task.model.named_parameters()}
    groups = make_optimizer(task, config).param_groups
    assert {names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]} == {
        "0.weight": (0.1, 0.3), "0.bias": (0.1, 0.0), "2.weight": (0.2, 0.3), "2.bias": (0.2, 0.0),
    }  # fmt: skip


def test_training_improves_the_score_and_keeps_the_best_weights(undisturbed: Path) -> None:
    history = history_of(undisturbed)
    assert [metrics["step"] for metrics in history] == [2, 5, 7, 10, 12, 15]
    scores = [metrics["score"] for metrics in history]
    assert max(scores) > scores[0]
    task = Toy(stop=0)
    metrics = fit(task, CONFIG, undisturbed, {"toy": 1})  # finished before: nothing is trained
    assert history_of(undisturbed) == history and metrics["score"] == max(scores)
    best = load_file(undisturbed / "best.safetensors")
    assert all(torch.equal(best[n], p) for n, p in task.model.named_parameters())
    assert task.validate()["score"] == pytest.approx(max(scores), abs=1e-6)
    assert not task.model.training


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("stops", [[0], [2], [3, 1], [5], [6, 5], [9, 1, 0, 2], [14]])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    undisturbed: Path, tmp_path: Path, stops: list[int], ema_decay: float
) -> None:
    config = changed(ema_decay=ema_decay)
    if ema_decay:
        undisturbed = tmp_path / "undisturbed"
        fit(Toy(), config, undisturbed, {"toy": 1})
    for stop in stops:
        with pytest.raises(Stop):
            fit(Toy(stop), config, tmp_path / "run", {"toy": 1})
        torch.randn(7)  # a new process has another state of the generator
    fit(Toy(), config, tmp_path / "run", {"toy": 1})
    assert same(tmp_path / "run", undisturbed)


def test_a_run_interrupted_in_a_validation_ends_like_an_uninterrupted_one(
    undisturbed: Path, tmp_path: Path
) -> None:
    class Torn(Toy):
        def validate(self) -> dict[str, float]:
            if len(self.weights) == 2:
                raise Stop
            return super().validate()

    with pytest.raises(Stop):
        fit(Torn(), CONFIG, tmp_path / "run", {"toy": 1})
    fit(Toy(), CONFIG, tmp_path / "run", {"toy": 1})
    assert same(tmp_path / "run", undisturbed)


def test_training_stops_when_the_score_stops_improving(tmp_path: Path) -> None:
    config = changed(epochs=9, evals_per_epoch=1, early_stopping_patience=2)
    best = fit(Toy(scores=[0.1, 0.3, 0.3, 0.2, 0.9]), config, tmp_path, {})
    assert [metrics["score"] for metrics in history_of(tmp_path)] == [0.1, 0.3, 0.3, 0.2]
    assert best["step"] == 15  # of equal scores the last
    assert fit(Toy(stop=0, scores=[]), config, tmp_path, {}) == best


@pytest.mark.parametrize(
    ("config", "identity", "key"),
    [(changed(seed=99), {"toy": 1}, r"training\.seed"), (CONFIG, {"toy": 2}, "toy")],
)
def test_a_folder_with_another_run_is_an_error(
    undisturbed: Path, config: TrainingConfig, identity: dict[str, int], key: str
) -> None:
    with pytest.raises(InputError, match=f": {key};"):
        fit(Toy(), config, undisturbed, identity)


def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    task = Toy(scores=[0.1] * 6)
    task.y[3] = float("nan")
    with pytest.raises(InputError, match=r"nan at step \d"):
        fit(task, CONFIG, tmp_path, {})


def test_the_moving_average_is_validated_and_kept(tmp_path: Path) -> None:
    """Compared with an average over the weights that a validation after each step sees."""
    plain = Toy()
    fit(plain, changed(epochs=1, evals_per_epoch=5), tmp_path / "plain", {})
    expected = [weight.clone() for weight in plain.weights[0]]
    for step, weights in enumerate(plain.weights[1:], 2):
        decay = min(0.5, step / (step + 9))
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, weights, strict=True)]
    averaged = Toy()
    config = changed(epochs=1, evals_per_epoch=1, ema_decay=0.5)
    fit(averaged, config, tmp_path / "averaged", {})
    for a, b in zip(expected, averaged.weights[-1], strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(averaged.model.parameters(), averaged.weights[-1], strict=True):
        assert torch.equal(a, b)


class Recorder(GeneralTracker):  # type: ignore[misc]
    """Stands for a tracker of accelerate whose package is installed."""

    name = "wandb"
    requires_logging_directory = False
    opened: list[Recorder] = []

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self.options, self.logged, self.stored = options, {}, None  # type: ignore[var-annotated]
        self.finished = False
        self.opened.append(self)

    @property
    def tracker(self) -> None:
        """Nothing."""

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.stored = values

    def log(self, values: dict[str, float], step: int, **_: Any) -> None:
        self.logged |= {(name, step): value for name, value in values.items()}

    def finish(self) -> None:
        self.finished = True


def test_trackers_get_the_loss_of_each_step_and_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.WANDB])
    fit(Toy(), changed(trackers=("wandb",)), tmp_path / "toy.run", {"toy": 1})
    (recorder,) = Recorder.opened
    assert recorder.finished and recorder.options["name"] == "toy"
    assert recorder.stored is not None and recorder.stored["toy"] == 1
    steps = {step for name, step in recorder.logged if name == "train/loss"}
    assert steps == {*range(1, 16)}
    for metrics in history_of(tmp_path / "toy.run"):
        assert recorder.logged["dev/score", metrics["step"]] == metrics["score"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("trackers", ("wandb",)), ("trackers", ("wandbb",)), ("precision", "fp16")],
)
def test_options_that_cannot_be_used_are_errors(
    option: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(InputError) as caught:
        fit(Toy(), changed(**{option: value}), tmp_path / "run", {})
    assert caught.value.field == f"training.{option}" and not (tmp_path / "run").exists()
    assert str(value if option == "precision" else value[0]) in caught.value.problem
    fit(Toy(), changed(epochs=1), tmp_path / "run", {})  # the default tracker may be missing


@pytest.mark.parametrize(
    ("precision", "supported", "bfloat16"),
    [("fp32", True, False), ("bf16", False, True), ("auto", False, False), ("auto", True, True)],
)
def test_precision(
    precision: str, supported: bool, bfloat16: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    seen: set[torch.dtype] = set()

    class Watched(Toy):
        def loss(self, batch: Tensor) -> list[LossTerm]:
            seen.add(self.model[0](self.x[batch]).dtype)
            return super().loss(batch)

        def validate(self) -> dict[str, float]:
            assert self.model(self.x).dtype == torch.float32
            return super().validate()

    monkeypatch.setattr(training_config, "supports_bfloat16", lambda device: supported)
    fit(Watched(), changed(precision=precision, epochs=1), tmp_path, {})
    assert seen == {torch.bfloat16 if bfloat16 else torch.float32}
    weights = load_file(tmp_path / "best.safetensors").values()
    assert all(weight.dtype == torch.float32 for weight in weights)


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with lock_folder(run), pytest.raises(InputError):
        fit(Toy(), CONFIG, run, {})
    assert not (run / "run.json").exists()
    fit(Toy(), CONFIG, run, {})
