"""Several processes: the same losses as one process, and files of the main process only."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from conftest import CHECKOUT, schema_of
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.records import Post
from rukh.training.processes import start_processes
from rukh.training.trainer import Trainer

PEOPLE, PLACES = ("Ann", "Bob", "Cleo", "Dan", "Eve"), ("Rome", "Oslo", "Kyiv", "Lima")


def make_post(number: int, folder: Path) -> Post:
    """A post with one or two pairs, and an image if it is the third."""
    head, tail = PEOPLE[number % 5], PLACES[number % 4]
    words, relation = (("lives in", "lives_in"), ("sees", "none"), ("near", "near"))[number % 3]
    start = len(head) + len(words) + 2
    image = folder / f"{number}.png"
    if number % 3 == 0:
        Image.new("RGB", (24, 32), (number * 5, 90, 160)).save(image)
    entities = [
        {"id": "h", "start": 0, "end": len(head), "type": "PER"},
        {"id": "t", "start": start, "end": start + len(tail), "type": "LOC"},
        {"id": "w", "start": len(head) + 1, "end": start - 1, "type": "MISC"},
    ]
    pairs = [{"head": "h", "tail": "t", "relation": relation}]
    if number % 2:
        pairs.append({"head": "w", "tail": "h", "relation": "none"})
    return Post.model_validate(
        {"id": str(number), "text": f"{head} {words} {tail} {number}", "entities": entities,
         "pairs": pairs, "image": image if image.exists() else None}
    )  # fmt: skip


def losses(run: Path) -> dict[int, float]:
    """The loss of each step, as TensorBoard shows it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curve: dict[int, float] = {}
    for file in sorted(run.rglob("events.out.*")):
        events = EventAccumulator(str(file))
        events.Reload()
        curve |= {event.step: event.value for event in events.Scalars("train/loss")}
    return curve


def test_two_processes_train_like_one(
    tmp_path: Path, encoder_folder: Callable[..., str], tiny_vision: str, cache: Path
) -> None:
    """The last batch of each epoch has one post, so that one process has none."""
    write([make_post(i, tmp_path) for i in range(20)], tmp_path / "posts.jsonl")
    (tmp_path / "schema.yaml").write_text(schema_of().to_yaml())
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    data = {
        "task": "relations",
        "data": {"train": str(tmp_path / "posts.jsonl"), "dev_fraction": 0.2, "image_swap": 0.3},
        "schema": str(tmp_path / "schema.yaml"),
        "tagger": None,
        "pair": {"text_encoder": encoder_folder("bert", **still), "vision_encoder": tiny_vision,
                 "dim": 32, "fusion_heads": 4, "trainable_layers": 1, "dropout": 0.0},
        "relation": {"descriptions_per_step": 1},
        "loss": {"gate_weight": 0.5},
        "training": {"epochs": 2, "batch_size": 5, "save_steps": 3, "learning_rate": 1e-3,
                     "head_learning_rate": 3e-3, "ema_decay": 0.9},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    single = Trainer(data, tmp_path / "one").train()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "rukh", "train", str(tmp_path / "config.yaml")]
    command += ["--out", str(tmp_path / "two"), "--json", "-"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["step"] == single["step"] == 8
    assert done.stderr.count("model written") == 1
    one, two = losses(tmp_path / "one.run"), losses(tmp_path / "two.run")
    assert len(one) == 8 and one == pytest.approx(two, abs=1e-4)
    (first, second) = (json.loads((tmp_path / f"{n}.run/history.json").read_text())
                       for n in ("one", "two"))  # fmt: skip
    assert [m["step"] for m in first] == [m["step"] for m in second] == [4, 8]


def test_the_device_of_a_single_process() -> None:
    _, device = start_processes("cpu")
    assert device == torch.device("cpu")
    with pytest.raises(InputError) as caught:
        start_processes("cuda:99")
    assert caught.value.field == "device"


def test_processes_that_cannot_share_a_device_are_an_error(monkeypatch: Any) -> None:
    from rukh.modeling import device

    class Two:
        num_processes, is_main_process, device = 2, True, torch.device("cuda:0")

    monkeypatch.setattr("accelerate.PartialState", lambda **_: Two())
    monkeypatch.setattr(device, "available_devices", lambda: ["cuda:0", "cuda:1", "cpu"])
    with pytest.raises(InputError) as caught:
        start_processes("cuda:1")
    assert caught.value.field == "device"
