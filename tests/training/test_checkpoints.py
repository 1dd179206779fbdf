"""Checkpoints: complete, atomic, and restored bit for bit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from rukh.errors import InputError
from rukh.training.checkpoints import load_checkpoint, save_checkpoint


class Run(NamedTuple):
    model: nn.Linear
    optimizer: torch.optim.AdamW
    averages: AveragedModel | None


def make(seed: int, outputs: int = 2) -> Run:
    """A model after one optimizer step."""
    torch.manual_seed(seed)
    model = nn.Linear(3, outputs)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    averages = AveragedModel(model)
    averages.update_parameters(model)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return Run(model, optimizer, averages)


def test_everything_is_restored(tmp_path: Path) -> None:
    saved, restored = make(0), make(1)
    assert load_checkpoint(tmp_path, *saved) is None
    save_checkpoint(tmp_path, *saved, {"step": 3})
    assert load_checkpoint(tmp_path, *restored) == {"step": 3}
    assert saved.averages is not None and restored.averages is not None
    for a, b in ((saved.model, restored.model), (saved.averages, restored.averages)):
        torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=0)
    moments = [run.optimizer.state_dict()["state"] for run in (saved, restored)]
    torch.testing.assert_close(*moments, rtol=0, atol=0)


def test_a_checkpoint_of_another_model_is_an_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, *make(0), {"step": 3})
    with pytest.raises(InputError):
        load_checkpoint(tmp_path, *make(0, outputs=4))


def test_what_a_killed_process_leaves(tmp_path: Path) -> None:
    run = make(0)
    save_checkpoint(tmp_path, *run, {"step": 3})
    # Killed between the two renames: the previous checkpoint has its temporary name.
    remains = [tmp_path / f".checkpoint.{os.getpid()}.{name}" for name in ("old", "part")]
    os.rename(tmp_path / "checkpoint", remains[0])
    assert load_checkpoint(tmp_path, *run) == {"step": 3}
    # A process with the same id replaces the remains.
    remains[1].mkdir()
    (remains[1] / "state.json").write_text("{}")
    save_checkpoint(tmp_path, *run, {"step": 4})
    assert load_checkpoint(tmp_path, *run) == {"step": 4}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
