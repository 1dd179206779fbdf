"""Training from a configuration: the same in Python as on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import rukh as package
from rukh.errors import InputError
from rukh.training.trainer import Trainer, read_training_config
from rukh.utils.files import sha256


@pytest.fixture
def config(tmp_path: Path, tiny_text: str) -> dict[str, Any]:
    """The configuration of a tagger that is trained in a second."""
    sentences = [f"Ann\tB-PER\nsees\tO\nRome\tB-LOC\n{i}\tO\n" for i in range(20)]
    (tmp_path / "train.txt").write_text("\n".join(sentences))
    return {
        "task": "tagger",
        "train": [{"path": str(tmp_path / "train.txt")}],
        "types": ["PER", "LOC"],
        "text_encoder": tiny_text,
        "training": {"epochs": 1, "batch_size": 4},
    }


def test_the_trainer_does_what_the_command_does(
    config: dict[str, Any], tmp_path: Path, rukh: Any
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    assert rukh("train", file, "--out", tmp_path / "command", "--device", "cpu").code == 0
    metrics = []
    for i, source in enumerate((file, str(file), config, read_training_config(config))):
        metrics.append(package.Trainer(source, tmp_path / str(i), device="cpu").train())
        weights = (tmp_path / name / "model.safetensors" for name in ("command", str(i)))
        assert len({sha256(path) for path in weights}) == 1
    assert metrics[0]["dev_span_f1"] >= 0 and metrics == metrics[:1] * 4


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"task": "taggers"}, "task"),
        ({"task": None}, "task"),
        ({"training": {"epoch": 1}}, "training.epoch"),
    ],
)
def test_a_wrong_configuration_is_an_error(
    config: dict[str, Any], tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | change))
    for source, where in ((config | change, None), (tmp_path / "config.yaml", "config.yaml")):
        with pytest.raises(InputError) as caught:
            Trainer(source, tmp_path / "out")
        assert caught.value.field == field
        assert where is None or str(caught.value.where).endswith(where)


def test_a_folder_with_other_files_is_an_error(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Trainer(config, tmp_path)
    assert caught.value.where == str(tmp_path)


def test_a_device_that_is_absent_is_an_error(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Trainer(config, tmp_path / "out", device="cuda:99").train()
    assert caught.value.field == "device" and not (tmp_path / "out.run").exists()
