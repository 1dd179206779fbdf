"""Checkpoints: whole, and put back to the bit."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from rukh.training.checkpoints import load_checkpoint, save_checkpoint


def stepped(seed: int) -> tuple[nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_all_comes_back(tmp_path: Path) -> None:
    model, optimizer = stepped(0)
    assert load_checkpoint(tmp_path, model, optimizer) is None
    save_checkpoint(tmp_path, model, optimizer, {"step": 3})
    wanted = torch.randn(4)
    other, fresh = stepped(1)
    assert load_checkpoint(tmp_path, other, fresh) == {"step": 3}
    assert torch.equal(torch.randn(4), wanted)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))  # noqa: B905
    for a, b in zip(optimizer.state.values(), fresh.state.values(), strict=True):
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_kill_between_the_two_renames(tmp_path: Path) -> None:
    """The old folder has been moved away, the new one not yet put in its place."""
    model, optimizer = stepped(0)
    save_checkpoint(tmp_path, model, optimizer, {"step": 3})
    os.rename(tmp_path / "checkpoint", tmp_path / f".checkpoint.{os.getpid()}.old")
    assert load_checkpoint(tmp_path, model, optimizer) == {"step": 3}
    save_checkpoint(tmp_path, model, optimizer, {"step": 4})
    assert load_checkpoint(tmp_path, model, optimizer) == {"step": 4}


def test_what_a_killed_process_of_our_number_left(tmp_path: Path) -> None:
    model, optimizer = stepped(0)
    save_checkpoint(tmp_path, model, optimizer, {"step": 3})
    for name in ("old", "part"):
        left = tmp_path / f".checkpoint.{os.getpid()}.{name}"
        left.mkdir()
        (left / "state.json").write_text("{}")
    save_checkpoint(tmp_path, model, optimizer, {"step": 4})
    assert load_checkpoint(tmp_path, model, optimizer) == {"step": 4}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
