"""The loop: rates, the best weights, early stopping, and runs that go on as if never stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rukh.errors import InputError
from rukh.training.trainer import TrainingConfig, fit, rate
from rukh.utils.files import sha256, sole_user


class Stop(Exception):
    """Stands for whatever ends a run."""


class Toy:
    """Learns a plane under dropout; every so often derives something from its weights."""

    def __init__(self, stop: int = -1, scores: list[float] | None = None) -> None:
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        generator = torch.Generator().manual_seed(2)
        self.x = torch.randn(40, 4, generator=generator)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5, 0.0])
        self.left, self.scores = stop, scores
        self.since, self.derived = 0, torch.zeros(())

    def pretrained(self) -> set[str]:
        return {"0.weight", "0.bias"}

    def batches(self, epoch: int) -> list[Tensor]:
        self.since = 0
        return list(torch.randperm(40, generator=torch.Generator().manual_seed(epoch)).split(8))

    def loss(self, batch: Tensor) -> Tensor:
        if self.left == 0:
            raise Stop
        self.left -= 1
        if self.since % 3 == 0:
            self.derived = self.model[0].weight.detach().mean()
        self.since += 1
        told = self.model(self.x[batch])[:, 0] + self.derived
        loss: Tensor = (told - self.y[batch]).square().mean()
        return loss

    def checkpointed(self) -> None:
        self.since = 0

    def validate(self) -> dict[str, float]:
        if self.scores is not None:
            return {"score": self.scores.pop(0)}
        return {"score": -(self.model(self.x)[:, 0] - self.y).square().mean().item()}


CONFIG = TrainingConfig(
    epochs=3, validations=2, save_steps=2, learning_rate=0.05, head_learning_rate=0.05
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    fit(Toy(), CONFIG, run, {"toy": 1})
    return run


def test_rates() -> None:
    assert [rate(s, 10, 0.3) for s in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert [rate(s, 10, 0.3) for s in range(3, 10)] == pytest.approx([1 - k / 7 for k in range(7)])
    assert [rate(s, 4, 0) for s in range(4)] == [1, 0.75, 0.5, 0.25]
    assert 0 < rate(0, 1, 0.5) <= 1
    for steps in range(1, 30):
        for warmup in (0.0, 0.01, 0.1, 0.5, 0.99):
            told = [rate(s, steps, warmup) for s in range(steps)]
            assert all(0 < r <= 1 for r in told)
            peak = told.index(max(told))
            assert told[:peak] == sorted(told[:peak])
            assert told[peak:] == sorted(told[peak:], reverse=True)


def test_it_learns_and_keeps_the_best(undisturbed: Path) -> None:
    history = json.loads((undisturbed / "history.json").read_text())
    assert [h["step"] for h in history] == [2, 5, 7, 10, 12, 15]
    scores = [h["score"] for h in history]
    assert max(scores) > scores[0]
    task = Toy()
    result = fit(task, CONFIG, undisturbed, {"toy": 1})  # already done: nothing is trained
    assert result.history == history and result.best["score"] == max(scores)
    best = load_file(undisturbed / "best.safetensors")
    assert all(torch.equal(best[n], p) for n, p in task.model.named_parameters())
    assert task.validate()["score"] == pytest.approx(max(scores), abs=1e-6)
    assert not task.model.training


@pytest.mark.parametrize("stops", [[0], [1], [2], [3, 1], [5], [6, 5], [9, 1, 0, 2], [14]])
def test_a_run_that_was_stopped_ends_as_the_undisturbed_one(
    undisturbed: Path, tmp_path: Path, stops: list[int]
) -> None:
    for stop in stops:
        with pytest.raises(Stop):
            fit(Toy(stop), CONFIG, tmp_path / "run", {"toy": 1})
        torch.randn(7)  # a new process has another state of the generator
    fit(Toy(), CONFIG, tmp_path / "run", {"toy": 1})
    for name in ("best.safetensors", "history.json"):
        assert sha256(tmp_path / "run" / name) == sha256(undisturbed / name), name


def test_stopped_in_the_validation(undisturbed: Path, tmp_path: Path) -> None:
    task = Toy()
    calls = 0
    plain = task.validate

    def validate() -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Stop
        return plain()

    task.validate = validate  # type: ignore[method-assign]
    with pytest.raises(Stop):
        fit(task, CONFIG, tmp_path / "run", {"toy": 1})
    fit(Toy(), CONFIG, tmp_path / "run", {"toy": 1})
    assert sha256(tmp_path / "run/best.safetensors") == sha256(undisturbed / "best.safetensors")


def test_only_a_gain_is_patiently_awaited(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 9, "validations": 1, "patience": 2})
    task = Toy(scores=[0.1, 0.3, 0.3, 0.2, 0.9])
    result = fit(task, config, tmp_path, {})
    assert [h["score"] for h in result.history] == [0.1, 0.3, 0.3, 0.2]
    assert result.best["step"] == 15  # of equal ones the later
    again = fit(Toy(scores=[]), config, tmp_path, {})
    assert again.history == result.history


def test_another_runs_folder_is_refused(undisturbed: Path) -> None:
    other = CONFIG.model_copy(update={"seed": 99})
    for config, identity, told in ((other, {"toy": 1}, "training"), (CONFIG, {"toy": 2}, "toy")):
        with pytest.raises(InputError, match=f"differs in: {told}; give another --out"):
            fit(Toy(), config, undisturbed, identity)


def test_a_checkpoint_of_another_model_is_refused(undisturbed: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(undisturbed, tmp_path / "run")
    task = Toy()
    task.model = nn.Sequential(nn.Linear(4, 9), nn.Dropout(0.5), nn.Linear(9, 1))
    with pytest.raises(InputError, match="checkpoint belongs to another configuration"):
        fit(task, CONFIG, tmp_path / "run", {"toy": 1})


def test_a_loss_that_is_no_number_is_reported(tmp_path: Path) -> None:
    task = Toy(scores=[0.1] * 6)
    task.y[3] = float("nan")
    with pytest.raises(InputError, match=r"the loss is nan at step \d"):
        fit(task, CONFIG, tmp_path, {})


def test_rates_and_decay_go_to_the_right_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rukh.training import trainer as training

    groups: list[dict[str, Any]] = []
    plain: Callable[..., torch.optim.AdamW] = training._optimizer

    def keep(*arguments: Any) -> torch.optim.AdamW:
        optimizer = plain(*arguments)
        groups.extend(optimizer.param_groups)
        return optimizer

    monkeypatch.setattr(training, "_optimizer", keep)
    task = Toy()
    config = CONFIG.model_copy(
        update={"learning_rate": 0.1, "head_learning_rate": 0.2, "weight_decay": 0.3}
    )
    fit(task, config, tmp_path, {})
    names = {id(p): n for n, p in task.model.named_parameters()}
    found = {names[id(p)]: (g["peak"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert found == {
        "0.weight": (0.1, 0.3), "0.bias": (0.1, 0.0), "2.weight": (0.2, 0.3), "2.bias": (0.2, 0.0),
    }  # fmt: skip


def test_what_is_kept_is_the_moving_average(tmp_path: Path) -> None:
    """Against the weights after every step, told by a twin that validates at each."""
    config = CONFIG.model_copy(update={"epochs": 1, "average": 0.8})

    class Twin(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[list[Tensor]] = []

        def validate(self) -> dict[str, float]:
            self.seen.append([p.detach().clone() for p in self.model.parameters()])
            return {"score": float(len(self.seen))}

    plain = Twin()
    every = config.model_copy(update={"average": 0.0, "validations": 5})
    fit(plain, every, tmp_path / "plain", {})
    slow = [p.clone() for p in plain.seen[0]]
    for step, weights in enumerate(plain.seen[1:], 2):
        decay = min(0.8, step / (step + 9))
        slow = [decay * a + (1 - decay) * w for a, w in zip(slow, weights, strict=True)]
    averaged = Twin()
    fit(averaged, config.model_copy(update={"validations": 1}), tmp_path / "averaged", {})
    for a, b in zip(slow, averaged.seen[-1], strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(averaged.model.parameters(), averaged.seen[-1], strict=True):
        assert torch.equal(a, b)


def test_an_average_goes_on_where_it_stopped(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"average": 0.9})
    fit(Toy(), config, tmp_path / "whole", {})
    for stop in (3, 1, 6):
        with pytest.raises(Stop):
            fit(Toy(stop), config, tmp_path / "torn", {})
    fit(Toy(), config, tmp_path / "torn", {})
    names = ("best.safetensors", "history.json")
    assert all(sha256(tmp_path / "whole" / n) == sha256(tmp_path / "torn" / n) for n in names)


def test_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []

    class Watched(Toy):
        def loss(self, batch: Tensor) -> Tensor:
            seen.append(self.model[0](self.x[batch]).dtype)
            return super().loss(batch)

        def validate(self) -> dict[str, float]:
            # What is judged is computed in full precision.
            assert self.model(self.x).dtype == torch.float32
            return super().validate()

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    for precision, dtype in dtypes.items():
        told = CONFIG.model_copy(update={"precision": precision})
        run = tmp_path / precision
        fit(Watched(), told, run, {})
        assert {*seen} == {dtype}
        assert all(w.dtype == torch.float32 for w in load_file(run / "best.safetensors").values())
        seen.clear()
    for able, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        monkeypatch.setattr("rukh.training.trainer.multiplies_bfloat16", lambda able=able: able)
        told = CONFIG.model_copy(update={"precision": "auto", "epochs": 1})
        fit(Watched(), told, tmp_path / f"auto-{able}", {})
        assert {*seen} == {dtype}
        seen.clear()


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with sole_user(run), pytest.raises(InputError, match="another process is at work"):
        fit(Toy(), CONFIG, run, {})
    assert not (run / "run.json").exists()
    fit(Toy(), CONFIG, run, {})
