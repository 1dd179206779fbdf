"""Tests that every detector must pass, and tests of adding detected objects to posts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from rukh.arguments import huggingface
from rukh.arguments.detection import detect_objects, load_detector, object_type, to_objects
from rukh.arguments.huggingface import HfDetector
from rukh.errors import InputError, WeightsError
from rukh.extractor import Extractor
from rukh.records import ObjectMention, Post, VisualObject
from rukh.registry import fingerprint
from rukh.schema.schema import RelationSchema

LABELS = {0: "person", 1: "dog"}
SIZE = {"shortest_edge": 64, "longest_edge": 512}


class FixedDetector:
    """Detects thirty objects in every image, and counts the images."""

    images = 0

    def detect(self, images: Sequence[Image.Image]) -> list[list[VisualObject]]:
        self.images += len(images)
        labels = ["person", "dog"] * 15
        detections = [((0.1, 0.1, 0.5, 0.8), label, 0.9 - i / 99) for i, label in enumerate(labels)]
        return [to_objects(detections) for _ in images]


def save_yolos(folder: Path) -> Path:
    config = transformers.YolosConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        image_size=[32, 64], patch_size=8, num_detection_tokens=5, id2label=LABELS,
    )  # fmt: skip
    torch.manual_seed(3)
    transformers.YolosForObjectDetection(config).save_pretrained(folder)
    transformers.YolosImageProcessorPil(size=SIZE).save_pretrained(folder)
    return folder


def save_detr(folder: Path) -> Path:
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    config = transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=backbone, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, num_queries=5, id2label=LABELS,
    )  # fmt: skip
    torch.manual_seed(3)
    transformers.DetrForObjectDetection(config).save_pretrained(folder)
    transformers.DetrImageProcessorPil(size=SIZE).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("save", [save_yolos, save_detr])
def test_detected_objects_are_valid(
    save: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface, "MIN_SCORE", 0.0)
    detector = load_detector(f"hf:{save(tmp_path)}")
    sizes = [(64, 32), (20, 90), (1, 1), (150, 100)]
    images = [Image.effect_noise(size, 60).convert("RGB") for size in sizes]
    detected = detector.detect(images)
    assert [len(objects) for objects in detected] == [5] * 4 and detector.detect([]) == []
    for image, objects in zip(images, detected, strict=True):
        assert detector.detect([image]) == [objects]
        scores = [float(str(one.meta["score"])) for one in objects]
        assert scores == sorted(scores, reverse=True) and all(0 <= s <= 1 for s in scores)
        assert [one.id for one in objects] == [f"o{i}" for i in range(5)]
        assert {one.label for one in objects} <= {"person", "dog"}
        assert {one.type for one in objects} == {None}
    (objects,) = detector.detect([Image.new("RGB", (1, 5000))])
    assert len(objects) in (0, 5)  # too narrow for YOLOS


def test_load_detector(tmp_path: Path) -> None:
    source = f"hf:{save_yolos(tmp_path)}"
    (objects,) = load_detector(source).detect([Image.effect_noise((64, 32), 60).convert("RGB")])
    assert all(float(str(one.meta["score"])) > 0.5 for one in objects)
    assert "model.safetensors" in fingerprint("detectors", source)
    assert fingerprint("detectors", "hf:nowhere") == fingerprint("detectors", "yolo") == {}


@pytest.mark.parametrize("size", [(640, 100), (100, 640), (33, 77)])
def test_boxes_are_fractions_of_the_image(size: tuple[int, int], tmp_path: Path) -> None:
    detector = HfDetector.from_pretrained(save_yolos(tmp_path))
    logits = torch.tensor([[[9.0, 0.0, 0.0], [0.0, 0.0, 9.0], [0.0, 6.0, 0.0]]])
    boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.5] * 4, [0.9, 0.1, 0.4, 0.1]]])
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    detector.model = lambda **_: outputs
    detector.model.config = SimpleNamespace(id2label=LABELS)
    detector.model.device = torch.device("cpu")
    ((person, dog),) = detector.detect([Image.new("RGB", size)])
    assert (person.label, dog.label) == ("person", "dog")
    assert person.box == pytest.approx((0.0, 0.0, 0.5, 1.0))
    assert dog.box == pytest.approx((0.7, 0.05, 1.0, 0.15))  # clipped on the right


def test_sources_without_a_detector(tmp_path: Path, tiny_vision: str, tiny_text: str) -> None:
    incomplete = save_yolos(tmp_path)
    (incomplete / "preprocessor_config.json").unlink()
    for source in ("nowhere/to-be-found", tiny_vision, tiny_text, incomplete):
        with pytest.raises(WeightsError):
            load_detector(f"hf:{source}")
    with pytest.raises(InputError, match="'yolo'"):
        load_detector("yolo")


def test_posts_without_objects_get_objects(posts: list[Post], tmp_path: Path) -> None:
    schema = RelationSchema.load("mnre")
    bare = posts[1].model_copy(update={"id": "bare", "objects": ()})
    (tmp_path / "bad.png").write_bytes(b"junk")
    broken = bare.model_copy(update={"id": "broken", "image": tmp_path / "bad.png"})
    entity = bare.entities[0].model_copy(update={"id": "o1"})
    same_id = bare.model_copy(update={"id": "same_id", "entities": (entity,)})
    unchanged = [*posts, broken]
    detector = FixedDetector()
    *rest, first, second = detect_objects(
        [*unchanged, bare, same_id], detector, schema, max_objects=2
    )
    assert rest == unchanged and detector.images == 2
    assert [(one.id, one.type, one.label) for one in first.objects] == [
        ("o0", "PER", "person"), ("o1", "MISC", "dog")
    ]  # fmt: skip
    assert [one.id for one in second.objects] == ["o0", "o2"]
    for post in (first, second):
        assert Post.model_validate(post.model_dump()) == post


def test_object_type(tiny_schema: RelationSchema) -> None:
    labels = ("Person", "PER", "dog")
    assert [object_type(label, tiny_schema) for label in labels] == ["PER", "PER", None]


def test_extractor_detects_objects(tiny_model: Any, posts: list[Post]) -> None:
    bare = posts[1].model_copy(update={"objects": ()})
    extractor = Extractor(tiny_model(vision=True), threshold=0.0, detector=FixedDetector())
    triples = [t for t in extractor.extract([bare, posts[1]]) if t.post_id == bare.id]
    mentions = {one.id: one for triple in triples for one in (triple.head, triple.tail)}
    detected = [one for one in mentions.values() if isinstance(one, ObjectMention)]
    assert {"o0", "o19"} <= mentions.keys() and "o20" not in mentions
    assert {"person", "dog"} <= {one.label for one in detected}


def test_command(
    tiny_model: Any,
    posts: list[Post],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rukh: Callable[..., Any],
) -> None:
    from rukh.data.readers import write

    tiny_model(vision=True).save(tmp_path / "model", "")
    write([posts[1].model_copy(update={"objects": ()})], tmp_path / "posts.jsonl")
    folder = save_yolos(tmp_path / "yolos")
    monkeypatch.setattr(huggingface, "MIN_SCORE", 0.0)
    options = ["--threshold", 0, "--detector", f"hf:{folder}", "--max-objects", 2]
    done = rukh("extract", tmp_path / "posts.jsonl", "--model", tmp_path / "model", *options)
    triples = [json.loads(line) for line in done.out.splitlines()]
    assert {t[role]["id"] for t in triples for role in ("head", "tail")} == {"b", "o0", "o1"}
