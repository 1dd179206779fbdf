"""Detectors by name, their boxes in the picture's own fractions, and posts that come by objects."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from modeling.test_vision_encoder import pictures_of_mnre

from rukh import cli
from rukh.arguments.detection import (
    as_objects,
    fingerprint,
    load_detector,
    object_type,
    with_objects,
)
from rukh.arguments.hf_detector import HfDetector
from rukh.errors import InputError, WeightsError
from rukh.extractor import Extractor
from rukh.records import Post, Triple, VisualObject
from rukh.schema.schema import RelationSchema

LABELS = {0: "person", 1: "dog"}
SMALL = {"shortest_edge": 64, "longest_edge": 512}


def yolos(folder: Path) -> Path:
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 64],
        patch_size=8,
        num_detection_tokens=5,
        id2label=LABELS,
    )
    torch.manual_seed(3)
    transformers.YolosForObjectDetection(config).save_pretrained(folder)
    transformers.YolosImageProcessorPil(size=SMALL).save_pretrained(folder)
    return folder


def detr(folder: Path) -> Path:
    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=5,
        id2label=LABELS,
    )
    torch.manual_seed(3)
    transformers.DetrForObjectDetection(config).save_pretrained(folder)
    transformers.DetrImageProcessorPil(size=SMALL).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("build", [yolos, detr])
def test_any_detection_model_loads_by_folder(build: Any, tmp_path: Path) -> None:
    detector = HfDetector.from_pretrained(build(tmp_path), threshold=0.0)
    sizes = [(64, 32), (20, 90), (1, 1), (300, 200)]
    images = [Image.effect_noise(size, 60).convert("RGB") for size in sizes]
    together = detector.detect(images)
    assert [len(found) for found in together] == [5] * 4
    for image, found in zip(images, together, strict=True):
        (alone,) = detector.detect([image])
        assert found == alone
        scores = [float(str(thing.meta["score"])) for thing in found]
        assert scores == sorted(scores, reverse=True) and all(0 <= s <= 1 for s in scores)
        assert [thing.id for thing in found] == [f"o{i}" for i in range(5)]
        assert {thing.label for thing in found} <= {"person", "dog"}
    assert detector.detect([]) == []
    (nothing,) = detector.detect([Image.new("RGB", (1, 5000))])
    assert len(nothing) in (0, 5)  # YOLOS cannot take it
    strict = load_detector(f"hf:{tmp_path}")
    assert all(float(str(o.meta["score"])) > 0.5 for o in strict.detect(images[:1])[0])
    assert "model.safetensors" in fingerprint(f"hf:{tmp_path}")


@pytest.mark.parametrize("size", [(640, 100), (100, 640), (33, 77)])
def test_boxes_are_fractions_of_the_picture(size: tuple[int, int], tmp_path: Path) -> None:
    """What the network says of a picture is known here; its own processor reads it."""
    detector = HfDetector.from_pretrained(yolos(tmp_path))
    logits = torch.tensor([[[9.0, 0.0, 0.0], [0.0, 0.0, 9.0], [0.0, 6.0, 0.0]]])
    boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.5] * 4, [0.9, 0.1, 0.4, 0.1]]])
    answer = SimpleNamespace(logits=logits, pred_boxes=boxes)
    detector.model = lambda **_: answer
    detector.model.config = SimpleNamespace(id2label=LABELS)
    (found,) = detector.detect([Image.new("RGB", size)])
    assert [thing.label for thing in found] == ["person", "dog"]
    assert found[0].box == pytest.approx((0.0, 0.0, 0.5, 1.0))
    assert found[1].box == pytest.approx((0.7, 0.05, 1.0, 0.15))  # clipped to the right


def test_what_is_no_detector(tmp_path: Path, tiny_vision: str, tiny_text: str) -> None:
    with pytest.raises(WeightsError, match="no detector 'nowhere/to-be-found'.*weights fetch"):
        load_detector("hf:nowhere/to-be-found")
    for folder in (tiny_vision, tiny_text):
        with pytest.raises(WeightsError, match="cannot load a detector"):
            load_detector(f"hf:{folder}")
    with pytest.raises(InputError, match="no detector named 'yolo'"):
        load_detector("yolo")
    assert fingerprint("hf:nowhere") == {} and fingerprint("yolo") == {}
    folder = yolos(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="cannot load a detector"):
        load_detector(f"hf:{folder}")


class Fixed:
    """Finds the same in every picture, and remembers how many it saw."""

    def __init__(self, count: int = 3) -> None:
        self.count, self.seen = count, 0

    @classmethod
    def from_pretrained(cls, where: str) -> Fixed:
        return cls(int(where or 3))

    def detect(self, images: Sequence[Image.Image]) -> list[list[VisualObject]]:
        self.seen += len(images)
        found = [
            ((0.1 * (i % 5), 0.1, 0.1 * (i % 5) + 0.4, 0.8), ("person", "dog")[i % 2], 0.9 - i / 99)
            for i in range(self.count)
        ]
        return [as_objects(found) for _ in images]


def test_only_posts_that_leave_it_open_get_objects(posts: list[Post], tmp_path: Path) -> None:
    """``both`` and ``picture`` give objects; the others have no picture."""
    schema = RelationSchema.load("mnre")
    bare = posts[1].model_copy(update={"id": "bare", "objects": ()})
    asked = bare.model_copy(update={"id": "asked", "pairs": ()})
    (tmp_path / "bad.png").write_bytes(b"junk")
    broken = bare.model_copy(update={"id": "broken", "image": tmp_path / "bad.png"})
    named = bare.entities[0].model_copy(update={"id": "o1"})
    clash = bare.model_copy(update={"id": "clash", "entities": (named,)})
    given = [*posts, bare, asked, broken, clash]
    detector = Fixed()
    told = with_objects(given, detector, schema, most=2)
    assert detector.seen == 2
    assert told[: len(posts)] == posts and told[6] == asked and told[7] == broken
    assert [(o.id, o.type, o.label) for o in told[5].objects] == [
        ("o0", "PER", "person"), ("o1", "MISC", "dog")
    ]  # fmt: skip
    assert [o.id for o in told[8].objects] == ["o0", "o2"]
    for post in told:
        assert Post.model_validate(post.model_dump()) == post


def test_types_are_the_schemas(tiny_schema: RelationSchema) -> None:
    assert [object_type(x, tiny_schema) for x in ("Person", "PER", "dog")] == ["PER", "PER", None]


def test_triples_tell_what_was_found(tiny_model: Any, posts: list[Post]) -> None:
    bare = posts[1].model_copy(update={"objects": ()})
    extractor = Extractor(tiny_model(vision=True), threshold=0.0, detector=Fixed(30))
    triples = extractor.extract([bare, posts[1]])
    ours = [t for t in triples if t.head_object or t.tail_object]
    assert ours and triples != ours
    for triple in ours:
        for name, thing in ((triple.head, triple.head_object), (triple.tail, triple.tail_object)):
            assert (thing is None) == (name == "b")
            if thing is not None:
                assert thing.label in ("person", "dog") and thing.score and len(thing.box) == 4
        assert Triple.model_validate_json(triple.model_dump_json()) == triple
    names = {name for t in ours for name in (t.head, t.tail)}
    assert len(names) == 21  # Bob, and the twenty surest
    plain = triples[-1].model_dump(mode="json")
    assert "head_object" not in plain and "tail_object" not in plain


def test_the_command_finds_objects_and_tells_them(
    tiny_model: Any,
    posts: list[Post],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rukh.data.readers import write

    tiny_model(vision=True).save(tmp_path / "model", "")
    write([posts[1].model_copy(update={"objects": ()})], tmp_path / "posts.jsonl")
    folder = yolos(tmp_path / "yolos")
    monkeypatch.setattr("rukh.arguments.hf_detector.THRESHOLD", 0.0)
    monkeypatch.setattr(HfDetector.from_pretrained.__func__, "__kwdefaults__", {"threshold": 0.0})

    def run(*more: object) -> int:
        command = ["rukh", "extract", tmp_path / "posts.jsonl", "--model", tmp_path / "model"]
        command += ["--threshold", 0, "--detector", f"hf:{folder}", *more]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    assert run("--max-objects", 2) == 0
    triples = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {t["head"] for t in triples} | {t["tail"] for t in triples} == {"b", "o0", "o1"}
    assert all({"box", "label", "type", "score"} == set(t["head_object"]) for t in triples
               if t["head"] != "b")  # fmt: skip
    assert run("--table") == 0
    assert " at 0." in capsys.readouterr().out
    out = tmp_path / "out.jsonl"
    assert run("--out", out) == 0
    first = out.read_text()
    assert run("--out", out) == 0 and out.read_text() == first


@pytest.mark.skipif(not pictures_of_mnre(), reason="no MNRE pictures under RUKH_DATA")
def test_real_pictures_are_looked_at(tmp_path: Path) -> None:
    detector = HfDetector.from_pretrained(yolos(tmp_path), threshold=0.0)
    posts = [Post(id=str(i), text="x", image=path) for i, path in enumerate(pictures_of_mnre())]
    told = with_objects(posts, detector, RelationSchema.load("mnre"))
    assert all(len(post.objects) == 5 for post in told)
