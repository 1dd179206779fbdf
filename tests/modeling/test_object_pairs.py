"""Text-text, text-object and object-object pairs, in one model and one batch, up to 20 objects."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from rukh.modeling.batch import collate
from rukh.modeling.image_io import load_image
from rukh.modeling.inference import score_posts, tokenize_pairs
from rukh.modeling.markers import PAIRS_A_ROW
from rukh.modeling.vision_encoder import encode_images
from rukh.records import Post
from rukh.training.relation_task import RelationTrainingConfig, train_relations

SCHEMES = ("post", "levitated", "pair")


@pytest.fixture
def crowd(tmp_path: Path) -> Post:
    """Two names and twenty objects, some smaller than a patch, over a picture."""
    Image.effect_noise((90, 60), 60).convert("RGB").save(tmp_path / "crowd.png")
    objects = []
    for i in range(20):
        x, y, side = (i % 5) / 5, (i // 5) / 4, 0.01 if i % 3 == 0 else 0.2
        thing: dict[str, Any] = {"id": f"o{i}", "box": (x, y, x + side, y + side)}
        objects.append(thing | ({"type": "PER"} if i % 2 else {"label": "hat"}))
    return Post(
        id="crowd",
        text="Ann holds a hat in Rome",
        image=tmp_path / "crowd.png",
        entities=[
            {"id": "a", "start": 0, "end": 3, "type": "PER"},
            {"id": "r", "start": 19, "end": 23, "type": "LOC"},
        ],
        objects=objects,
    )


def picture(model: Any, post: Post) -> Any:
    if post.image is None or not Path(str(post.image)).is_file():
        return None
    return encode_images(model.vision, [load_image(post.image)])[0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_kinds_stand_in_one_batch(
    scheme: str, tiny_model: Any, posts: list[Post], crowd: Post
) -> None:
    model = tiny_model(vision=True, markers=scheme, max_length=128)
    bank = model.bank()
    every = [*posts, crowd]
    asks = [list(permutations([a.id for a in post.arguments], 2)) for post in every]
    assert len(asks[-1]) == 22 * 21
    if scheme == "pair":
        asks[-1] = asks[-1][::9]
    pictures = [picture(model, post) for post in every]
    # One batch of tensors holds all four kinds, and more rows than one where the scheme needs it.
    rows = [(post, row) for post, a in zip(every, asks, strict=True) for row in tokenize_pairs(
        model, post, a)[1]]  # fmt: skip
    assert all(len(row.asks) <= PAIRS_A_ROW for _, row in rows if scheme == "levitated")
    inputs = collate(
        [row for _, row in rows], [post.objects for post, _ in rows], [None] * len(rows), 16
    )
    assert set(inputs.kind.tolist()) == {0, 1, 2, 3}

    together = score_posts(model, bank, every, asks, pictures)
    for i, post in enumerate(every):
        (alone,) = score_posts(model, bank, [post], [asks[i]], [pictures[i]])
        assert together[i].logits.isfinite().all()
        torch.testing.assert_close(together[i].logits, alone.logits, atol=2e-4, rtol=1e-3)
        # A pair's answer does not depend on which other pairs are asked, nor on their order.
        some = asks[i][::-3]
        (few,) = score_posts(model, bank, [post], [some], [pictures[i]])
        where = [asks[i].index(pair) for pair in some]
        torch.testing.assert_close(few.logits, alone.logits[where], atol=2e-4, rtol=1e-3)
        # Nor are two pairs of a kind answered alike.
        distinct = torch.cdist(alone.logits, alone.logits) + torch.eye(len(alone.logits)) * 9
        assert distinct.min() > 1e-6


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_lies_under_a_box_matters_to_its_pairs(
    scheme: str, tiny_model: Any, crowd: Post, tmp_path: Path
) -> None:
    """A patch is painted over: pairs of the object that covers it move more than those of text."""
    model = tiny_model(vision=True, markers=scheme)
    bank = model.bank()
    image = load_image(crowd.image)  # type: ignore[arg-type]
    box = crowd.objects[7].box
    wide, high = image.size
    x1, y1, x2, y2 = (round(e * s) for e, s in zip(box, (wide, high) * 2, strict=True))
    image.paste("red", (x1, y1, x2, y2))
    asks = [[("a", "o7"), ("o7", "o2"), ("a", "r")]]
    logits = [
        score_posts(model, bank, [crowd], asks, maps)[0].logits
        for maps in ([picture(model, crowd)], encode_images(model.vision, [image]), [None])
    ]
    assert (logits[0] - logits[1]).abs().amax(1).min() > 1e-6
    assert (logits[0] - logits[2]).abs().amax(1).min() > 1e-6


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_model_learns_from_all_kinds(
    scheme: str, tmp_path: Path, tiny_text: str, tiny_vision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    from conftest import schema_of
    from rukh.data.readers import write

    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    made = []
    for i in range(24):
        Image.new("RGB", (40, 30), (10 * i, 99, 7)).save(tmp_path / f"{i}.png")
        name = ("Ann", "Bob", "Cleo")[i % 3]
        made.append(
            Post(
                id=str(i),
                text=f"{name} works at Acme in{i}",
                image=tmp_path / f"{i}.png" if i % 4 else None,
                entities=[
                    {"id": "p", "start": 0, "end": len(name), "type": "PER"},
                    {"id": "c", "start": len(name) + 10, "end": len(name) + 14, "type": "ORG"},
                ],
                objects=[
                    {"id": "h", "box": (0.1, 0.1, 0.5, 0.9)},
                    {"id": "d", "box": (0.5, 0.2, 0.9, 0.4), "label": "dog"},
                ],
                pairs=[
                    {"head": "p", "tail": "c", "relation": "works_at"},
                    {"head": "p", "tail": "h", "relation": "lives_in"},
                    {"head": "h", "tail": "d", "relation": "near"},
                    {"head": "c", "tail": "d", "relation": "none"},
                ],
            )
        )
    write(made[:18], tmp_path / "train.jsonl")
    write(made[18:], tmp_path / "val.jsonl")
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema_of().model_dump(mode="json")))
    config = RelationTrainingConfig.model_validate(
        {
            "task": "relations",
            "data": {
                "train": tmp_path / "train.jsonl",
                "val": tmp_path / "val.jsonl",
                "format": "jsonl",
            },
            "relations": str(tmp_path / "schema.yaml"),
            "tagger": None,
            "pair": {
                "text_encoder": tiny_text,
                "vision_encoder": tiny_vision,
                "markers": scheme,
                "dim": 32,
                "fusion_heads": 4,
                "dropout": 0.0,
            },
            "training": {
                "epochs": 6,
                "batch_size": 6,
                "learning_rate": 1e-3,
                "head_learning_rate": 5e-3,
            },
        }
    )
    figures = train_relations(config, tmp_path / "model")
    val = figures["val"]
    assert val["pairs"] == 24 and val["images_used"] in (4, 5)
    assert val["micro_f1_order_free"] > 0.8  # each kind carries a label of its own
