"""Every shipped configuration loads into its class, and MORE's trains and is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from research.ablation.grid import AblationConfig
from research.zero_shot.splits import ZeroShotConfig
from rukh.language_teacher import LanguageTeacherConfig

from rukh.config import load_config
from rukh.data.readers import read
from rukh.data.templates import Templates
from rukh.errors import InputError
from rukh.records import VisualObject
from rukh.schema.schema import RelationSchema
from rukh.training.relation_task import RelationTrainingConfig
from rukh.training.tagger_task import TaggerConfig

FOLDER = Path(__file__).parents[1] / "configs"
EQUIVALENTS = FOLDER / "open-equivalents.yaml"  # a list for studies, nothing to be run
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - {EQUIVALENTS})
CLASSES: dict[str, type[BaseModel]] = {
    "relations": RelationTrainingConfig,
    "tagger": TaggerConfig,
    "language-teacher": LanguageTeacherConfig,
    "ablation": AblationConfig,
    "zero-shot": ZeroShotConfig,
}
TEMPLATES = Path(__file__).parents[1] / "corpora" / "relation-templates.yaml"


class Task(BaseModel):
    task: str


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_configuration_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUKH_DATA", "somewhere")
    monkeypatch.setenv("RUKH_LLM_FOLDER", "elsewhere")
    config = load_config(path, CLASSES[load_config(path, Task).task])
    if isinstance(config, RelationTrainingConfig):
        if "${RUKH_DATA}" in path.read_text(encoding="utf-8"):
            assert config.data.train.parts[0] == "somewhere"
        assert config.direction_mode != "given"
        RelationSchema.load(config.relation_schema)
    elif isinstance(config, AblationConfig):
        told = set()
        for changes in config.cells.values():
            cell = load_config(config.base, RelationTrainingConfig, [*config.changes, *changes])
            told.add(cell.model_dump_json())
        assert len(told) == len(config.cells)
        own = config.reference
        named = {own} if isinstance(own, str) else {*own, *own.values()}
        assert named <= {*config.cells}
    elif isinstance(config, ZeroShotConfig):
        assert len({split.name for split in config.splits}) == len(config.splits)
        base = load_config(config.base, RelationTrainingConfig, config.changes)
        assert base.mix[config.unrelated - 1].format == "redocred"
    elif isinstance(config, LanguageTeacherConfig):
        own = load_config(FOLDER / "mnre.yaml", RelationTrainingConfig)
        # Its heads must not have learned from the fold of those who learn from it.
        same = ("train", "format", "images", "fold")
        assert [getattr(config.data, key) for key in same] == [
            getattr(own.data, key) for key in same
        ]
    else:
        assert isinstance(config, TaggerConfig)
        assert not {*config.train} & {*config.test}


def test_near_equivalents_are_relations_and_point_both_ways() -> None:
    import yaml

    told = yaml.safe_load(EQUIVALENTS.read_text(encoding="utf-8"))
    known = {name: RelationSchema.load(name) for name in ("wikidata", "mnre", "conll04")}
    known["templates"] = load_config(TEMPLATES, Templates).as_schema()
    near, wikidata = told["relations"], known["wikidata"]
    assert set(near) == set(wikidata.names)
    for where in (*near.values(), *told["unseen"].values()):
        for schema, names in where.items():
            assert set(names) <= set(known[schema].names) and len(set(names)) == len(names)
    for name, where in near.items():
        for other in where.get("wikidata", []):
            assert other != name and name in near[other]["wikidata"], (name, other)
        back = wikidata.reverse(name)
        assert back in (None, name) or back in where["wikidata"]
    assert not set(told["unseen"]) & {*wikidata.names, *known["templates"].names}


NEEDY = [path for path in CONFIGS if "${RUKH_DATA}" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", NEEDY, ids=lambda path: path.stem)
def test_without_the_data_a_configuration_says_what_to_set(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUKH_DATA", raising=False)
    with pytest.raises(InputError, match="RUKH_DATA"):
        load_config(path, CLASSES[load_config(path, Task).task])


# What each made-up line of MORE says: who holds what, and where the thing is in the picture.
PEOPLE = ("Ann", "Bob", "Cleo", "Dan", "Eve")
SCENES = {
    "[OBJ0]": ("/per/per/self", (0.25, 0.5, 0.3, 0.8)),
    "[OBJ1]": ("none", (0.8, 0.3, 0.2, 0.2)),
}


def write_more(folder: Path, split: str, size: int, as_published: bool = False) -> None:
    """A split of pairs, boxes and pictures in the form of NJUNLP/MORE."""
    from PIL import Image, ImageDraw

    pictures = folder / "img_org" / split
    pictures.mkdir(parents=True)
    lines: list[str] = []
    boxes: dict[str, dict[str, Any]] = {}
    for i in range(size):
        name, person = f"{split}{i}.png", PEOPLE[i % len(PEOPLE)]
        image = Image.new("RGB", (64, 48), (40 * (i % 5), 90, 160))
        ImageDraw.Draw(image).ellipse([6, 5, 26, 43], fill="#f6d2b3")
        image.save(pictures / name)
        boxes[name] = {thing: box for thing, (_, box) in SCENES.items()}
        lines += [
            repr(
                {
                    "token": [person, "holds", "a", "hat", f"in{i}"],
                    "h": {"name": person, "pos": [0, 1]},
                    "t": {"name": thing},
                    "img_id": name,
                    "relation": relation,
                }
            )
            for thing, (relation, _) in SCENES.items()
        ]
    (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if as_published:
        import torch

        torch.save(boxes, folder / f"ent_{split}_dict.pth")
        told = folder / "caption_dict.json"  # one file for all splits
        labels = json.loads(told.read_text()) if told.exists() else {}
        labels |= {name: {"[OBJ0]": "a man", "[OBJ1]": "a hat"} for name in boxes}
        told.write_text(json.dumps(labels), encoding="utf-8")
        return
    (folder / f"ent_{split}_dict.json").write_text(json.dumps(boxes), encoding="utf-8")


@pytest.mark.parametrize("name", ["more", "more-paper"])
def test_more_trains_and_is_measured(
    name: str, tmp_path: Path, tiny_text: str, tiny_vision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped file, with only the encoders made small, through the command line's functions."""
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
    out, told = tmp_path / "model", tmp_path / "figures.json"
    changes = [
        f"pair.text_encoder={tiny_text}",
        f"pair.vision_encoder={tiny_vision}",
        "pair.dim=32",
        "pair.fusion_heads=4",
        "tagger=null",
        "training.epochs=1",
        "training.batch_size=4",
    ]
    train(config, changes, out=out, json=told)
    val = json.loads(told.read_text())["val"]
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


def test_mnre_trains_in_the_setting_of_the_paper(
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
