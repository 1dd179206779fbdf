"""Every shipped configuration is valid, and those of MORE and MNRE train on made-up data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from pydantic import BaseModel

from rukh.config import load_config
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.records import Post
from rukh.schema.schema import RelationSchema
from rukh.training.relation_task import RelationTrainingConfig
from rukh.training.tagger_task import TaggerConfig

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
CLASSES: dict[str, type[BaseModel]] = {
    "relations": RelationTrainingConfig,
    "tagger": TaggerConfig,
}


class Task(BaseModel):
    task: str


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_configuration_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUKH_DATA", "somewhere")
    config = load_config(path, CLASSES[load_config(path, Task).task])
    if isinstance(config, TaggerConfig):
        assert not {c.path for c in config.train} & {c.path for c in config.test}
    if not isinstance(config, RelationTrainingConfig):
        return
    assert config.direction_mode != "given"  # it leaks labels
    for schema in (config.relation_schema, *(c.relation_schema for c in config.extra_corpora)):
        if schema is not None and not schema.startswith("out/"):  # generated
            assert RelationSchema.load(schema)


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


def write_split(folder: Path, images: Path, size: int, format: str) -> None:
    """Write posts with a person, who is related to the second argument, but not to the third."""
    images.mkdir(parents=True)
    posts = []
    for i in range(size):
        person, image = ("Ann", "Bob", "Cleo")[i % 3], images / f"{images.name}{i}.png"
        Image.new("RGB", (64, 48), (40 * (i % 5), 90, 160)).save(image)
        text, end = f"{person} Acme Rome {images.name}{i}", len(person)
        entities = [{"id": "a", "start": 0, "end": end}]
        objects = [{"id": "b", "box": (0, 0, 0.5, 1)}, {"id": "c", "box": (0.5, 0, 1, 1)}]
        relation, nota = "/per/per/self", "none"
        if format == "mnre":
            entities.append({"id": "b", "start": end + 1, "end": end + 5})
            entities.append({"id": "c", "start": end + 6, "end": end + 10})
            objects, relation, nota = [], "/per/org/member_of", "None"
        pairs = [
            {"head": "a", "tail": "b", "relation": relation},
            {"head": "a", "tail": "c", "relation": nota},
        ]
        fields = {"entities": entities, "objects": objects, "pairs": pairs}
        posts.append(Post.model_validate({"id": str(i), "text": text, "image": image, **fields}))
    write(posts, folder / f"{images.name}.txt", format)


@pytest.mark.parametrize(
    ("name", "image_folder", "val_split"),
    [
        ("more", "img_org", "valid"),
        ("more-paper", "img_org", "valid"),
        ("mnre-paper", "images", "val"),
    ],
)
def test_a_shipped_configuration_is_trained_and_evaluated(
    name: str,
    image_folder: str,
    val_split: str,
    tmp_path: Path,
    tiny_text: str,
    tiny_vision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With tiny encoders, through the functions of the command line."""
    from rukh.cli.evaluate import evaluate
    from rukh.cli.train import train

    monkeypatch.setenv("RUKH_DATA", str(tmp_path))
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    format, _, _ = name.partition("-")
    folder = tmp_path / format
    write_split(folder, folder / image_folder / "train", 20, format)
    write_split(folder, folder / image_folder / val_split, 6, format)
    out, figures, again = tmp_path / "model", tmp_path / "figures.json", tmp_path / "again.json"
    changes = [
        f"pair.text_encoder={tiny_text}",
        f"pair.vision_encoder={tiny_vision}",
        "pair.dim=24",
        "pair.fusion_heads=4",
        "tagger=null",
        "training.epochs=1",
        "training.batch_size=4",
    ]
    train(FOLDER / f"{name}.yaml", changes, out=out, json=figures)
    val = json.loads(figures.read_text())["val"]
    assert (val["pairs"], val["positives"], val["posts"]) == (12, 6, 6)
    assert (val["images_used"], val["images_missing"]) == (6, 0)
    val_file, images = folder / f"{val_split}.txt", folder / image_folder / val_split
    evaluate(val_file, str(out), format=format, images=images, json=again)
    measured = json.loads(again.read_text())
    assert 0 <= measured["micro_f1_order_free"] <= 1
    for count in ("pairs", "positives", "posts", "images_used", "images_missing"):
        assert measured[count] == val[count], count
