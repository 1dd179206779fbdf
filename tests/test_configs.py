"""Every shipped configuration is valid, and those of MORE and MNRE train on made-up data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from rukh.config import load_config
from rukh.data.readers import read
from rukh.errors import InputError
from rukh.records import VisualObject
from rukh.training.relation_task import RelationTrainingConfig
from rukh.training.tagger_task import TaggerConfig

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
CLASSES: dict[str, type[BaseModel]] = {"relations": RelationTrainingConfig, "tagger": TaggerConfig}


class Task(BaseModel):
    task: str


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_configuration_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUKH_DATA", "somewhere")
    config = load_config(path, CLASSES[load_config(path, Task).task])
    if isinstance(config, TaggerConfig):
        assert not {*config.train} & {*config.test}
        return
    assert isinstance(config, RelationTrainingConfig)
    assert config.direction_mode != "given"  # it leaks labels
    if path.stem != "open":  # whose schemas are partly generated
        assert config.schemas()


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if "${RUKH_DATA}" in path.read_text()], ids=lambda p: p.stem
)
def test_an_unset_data_folder_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUKH_DATA", raising=False)
    with pytest.raises(InputError, match="RUKH_DATA"):
        load_config(path, CLASSES[load_config(path, Task).task])


@pytest.mark.parametrize(
    ("override", "field", "suggested"),
    [
        ("shema=mnre", "shema", "'schema'"),
        ("extra_corpora=[{shema: x}]", "extra_corpora[0].shema", "'schema'"),
        ("training.epoch=1", "training.epoch", "'epochs'"),
    ],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(
    override: str, field: str, suggested: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUKH_DATA", "somewhere")
    with pytest.raises(InputError) as caught:
        load_config(FOLDER / "mnre.yaml", RelationTrainingConfig, [override])
    assert caught.value.field == field and suggested in str(caught.value.fix)


# The relation and the box of each object in the made-up images of MORE.
PEOPLE = ("Ann", "Bob", "Cleo", "Dan", "Eve")
OBJECTS = {
    "[OBJ0]": ("/per/per/self", (0.25, 0.5, 0.3, 0.8)),
    "[OBJ1]": ("none", (0.8, 0.3, 0.2, 0.2)),
}


def write_more(folder: Path, split: str, size: int, as_published: bool = False) -> None:
    """Write a split of pairs, boxes and images in the format of NJUNLP/MORE."""
    from PIL import Image, ImageDraw

    images = folder / "img_org" / split
    images.mkdir(parents=True)
    lines: list[str] = []
    boxes: dict[str, dict[str, Any]] = {}
    for i in range(size):
        name, person = f"{split}{i}.png", PEOPLE[i % len(PEOPLE)]
        image = Image.new("RGB", (64, 48), (40 * (i % 5), 90, 160))
        ImageDraw.Draw(image).ellipse([6, 5, 26, 43], fill="#f6d2b3")
        image.save(images / name)
        boxes[name] = {id_: box for id_, (_, box) in OBJECTS.items()}
        lines += [
            repr(
                {
                    "token": [person, "holds", "a", "hat", f"in{i}"],
                    "h": {"name": person, "pos": [0, 1]},
                    "t": {"name": id_},
                    "img_id": name,
                    "relation": relation,
                }
            )
            for id_, (relation, _) in OBJECTS.items()
        ]
    (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if as_published:
        import torch

        torch.save(boxes, folder / f"ent_{split}_dict.pth")
        file = folder / "caption_dict.json"  # one file for all splits
        labels = json.loads(file.read_text()) if file.exists() else {}
        labels |= {name: {"[OBJ0]": "a man", "[OBJ1]": "a hat"} for name in boxes}
        file.write_text(json.dumps(labels), encoding="utf-8")
        return
    (folder / f"ent_{split}_dict.json").write_text(json.dumps(boxes), encoding="utf-8")


@pytest.mark.parametrize("name", ["more", "more-paper"])
def test_more_is_trained_and_evaluated(
    name: str, tmp_path: Path, tiny_text: str, tiny_vision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped configuration with tiny encoders, through the functions of the command line."""
    from rukh.cli.evaluate import evaluate
    from rukh.cli.train import train

    monkeypatch.setenv("RUKH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data" / "more"
    write_more(folder, "train", 20, as_published=name == "more-paper")
    write_more(folder, "valid", 6, as_published=name == "more-paper")
    post = next(read(folder / "train.txt", "more", images=folder / "img_org/train"))
    assert isinstance(post.objects[0], VisualObject) and post.image is not None
    assert post.image.is_file()
    assert post.objects[0].label == ("a man" if name == "more-paper" else None)

    config = next(path for path in CONFIGS if path.stem == name)
    out, figures = tmp_path / "model", tmp_path / "figures.json"
    changes = [
        f"pair.text_encoder={tiny_text}",
        f"pair.vision_encoder={tiny_vision}",
        "pair.dim=32",
        "pair.fusion_heads=4",
        "tagger=null",
        "training.epochs=1",
        "training.batch_size=4",
    ]
    train(config, changes, out=out, json=figures)
    val = json.loads(figures.read_text())["val"]
    assert val["pairs"] == 12 and val["positives"] == 6
    assert val["images_used"] == 6 and val["images_missing"] == 0

    again = tmp_path / "again.json"
    evaluate(
        folder / "valid.txt", str(out), format="more", images=folder / "img_org/valid", json=again
    )
    measured = json.loads(again.read_text())
    assert 0 <= measured["micro_f1_order_free"] <= 1
    for count in ("pairs", "positives", "posts", "images_used", "images_missing"):
        assert measured[count] == val[count], count


def test_mnre_is_trained_in_the_setting_of_the_paper(
    tmp_path: Path, tiny_text: str, tiny_vision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rukh.cli.train import train

    monkeypatch.setenv("RUKH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data" / "mnre"
    folder.mkdir(parents=True)
    for split, size in (("train", 20), ("val", 6)):
        lines = [
            repr(
                {
                    "token": [PEOPLE[i % 5], "of", "Acme", "in", f"in{split}{i}"],
                    "h": {"name": PEOPLE[i % 5], "pos": [0, 1]},
                    "t": {"name": "Acme", "pos": [2, 3]},
                    "img_id": f"{split}{i}.jpg",
                    "relation": ("/per/org/member_of", "None")[i % 2],
                }
            )
            for i in range(size)
        ]
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    changes = [
        f"pair.text_encoder={tiny_text}",
        f"pair.vision_encoder={tiny_vision}",
        "pair.dim=24",
        "tagger=null",
        "training.epochs=1",
        "training.batch_size=4",
    ]
    config = next(path for path in CONFIGS if path.stem == "mnre-paper")
    train(config, changes, out=tmp_path / "model", json=tmp_path / "figures.json")
    val = json.loads((tmp_path / "figures.json").read_text())["val"]
    assert (val["pairs"], val["positives"], val["images_missing"]) == (6, 3, 6)
