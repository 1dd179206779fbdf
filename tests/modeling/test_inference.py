"""Scoring posts with all kinds of pairs together, and with banks of thousands of relations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conftest import schema_of
from helpers_modeling import all_pairs, make_patches
from rukh import extractor as extraction
from rukh.extractor import Extractor
from rukh.modeling.image_features import FeatureCache, features_of
from rukh.modeling.image_io import load_image
from rukh.modeling.inference import encode_both_directions, score_posts
from rukh.modeling.model import RelationModel
from rukh.modeling.vision_encoder import encode_images
from rukh.records import Pair, Post
from rukh.schema.schema import RelationSchema

Make = Callable[..., RelationModel]


@pytest.fixture
def crowd(tmp_path: Path) -> Post:
    """Two names, and twenty objects in an image, some smaller than a patch."""
    Image.effect_noise((90, 60), 60).convert("RGB").save(tmp_path / "crowd.png")
    objects: list[dict[str, Any]] = []
    for i in range(20):
        x, y, side = (i % 5) / 5, (i // 5) / 4, 0.01 if i % 3 == 0 else 0.2
        kind = {"type": "PER"} if i % 2 else {"label": "hat"}
        objects.append({"id": f"o{i}", "box": (x, y, x + side, y + side)} | kind)
    return Post(
        id="crowd",
        text="Ann holds a hat in Rome",
        image=tmp_path / "crowd.png",
        entities=(
            {"id": "a", "start": 0, "end": 3, "type": "PER"},
            {"id": "r", "start": 19, "end": 23, "type": "LOC"},
        ),
        objects=objects,
    )


@pytest.mark.parametrize("scheme", ["post", "pair"])
def test_scores_do_not_depend_on_other_posts_or_pairs(
    scheme: str, tiny_model: Make, posts: list[Post], crowd: Post
) -> None:
    model = tiny_model(vision=True, markers=scheme, max_length=128)
    bank = model.bank()
    posts = [*posts, crowd]
    pairs = [all_pairs(post) for post in posts]
    assert len(pairs[-1]) == 22 * 21
    if scheme == "pair":
        pairs[-1] = pairs[-1][::9]
    images = [None if post.image is None else make_patches() for post in posts]
    together = score_posts(model, bank, posts, pairs, images)
    for post, own, image, scores in zip(posts, pairs, images, together, strict=True):
        some = own[::-3]
        (alone,) = score_posts(model, bank, [post], [some], [image])
        rows = [own.index(pair) for pair in some]
        torch.testing.assert_close(alone.logits, scores.logits[rows], atol=2e-4, rtol=1e-3)
        assert torch.equal(alone.best_description, scores.best_description[rows])
        assert (scores.gate is None) == (image is None) == (alone.gate is None)
        # No two pairs of a post have the same scores.
        gaps = torch.cdist(scores.logits, scores.logits) + 9 * torch.eye(len(own))
        assert gaps.min() > 1e-6


def test_posts_without_pairs(tiny_model: Make, posts: list[Post]) -> None:
    model = tiny_model()
    assert score_posts(model, model.bank(), [], [], []) == []
    (scores,) = score_posts(model, model.bank(), posts[:1], [[]], [None])
    assert scores.logits.shape == (0, 5) and scores.gate is None


def test_pixels_under_a_box_matter(tiny_model: Make, crowd: Post) -> None:
    model = tiny_model(vision=True)
    assert model.vision is not None
    image = load_image(crowd.image)  # type: ignore[arg-type]
    painted = image.copy()
    x1, y1, x2, y2 = crowd.objects[7].box
    painted.paste("red", (int(x1 * 90), int(y1 * 60), int(x2 * 90), int(y2 * 60)))
    features = encode_images(model.vision, [image, painted])
    pairs = [[("a", "o7"), ("o7", "o2"), ("a", "r")]]
    one, other = (score_posts(model, model.bank(), [crowd], pairs, [f])[0] for f in features)
    assert (one.logits - other.logits).abs().amax(1).min() > 1e-6


def test_a_joint_decision_is_the_same_in_both_orders(tiny_model: Make, posts: list[Post]) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update={"direction_mode": "joint"})
    bank = model.bank()
    pairs = [[("a", "org"), ("org", "a")]]
    (scores,) = score_posts(model, bank, posts[:1], pairs, [None])
    labels = ("none", *bank.names)
    first, second = (
        dict(zip(labels, row.tolist(), strict=True))
        for row in model.probabilities(scores.logits, bank)
    )
    assert first["near"] == pytest.approx(second["near"], rel=1e-4)
    assert first["works_at"] == pytest.approx(second["employs"], rel=1e-4)
    assert first["lives_in"] + second["lives_in"] <= 1
    assert sum(first.values()) == pytest.approx(1)


def test_a_post_may_be_scored_in_parts(
    tiny_model: Make, posts: list[Post], monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = Extractor(tiny_model(vision=True), threshold=0)
    listed = [
        post.model_copy(
            update={"pairs": tuple(Pair(head=head, tail=tail) for head, tail in all_pairs(post))}
        )
        for post in posts
    ]
    whole = extractor.extract(listed)
    monkeypatch.setattr(extraction, "MAX_SCORES", 20)
    parts = extractor.extract(listed)
    assert len(parts) == len(whole)
    for one, other in zip(parts, whole, strict=True):
        assert (one.head, one.tail, one.relation) == (other.head, other.tail, other.relation)
        assert one.score == pytest.approx(other.score, abs=2e-5)


def test_thousands_of_relations(tiny_model: Make, posts: list[Post], cache: Path) -> None:
    relations: list[dict[str, Any]] = [{"name": "none"}]
    for i in range(3000):
        relation = {"name": f"r{i}", "descriptions": [f"the head is {i}, near {i}"]}
        relations.append(relation | ({"inverse": f"r{i ^ 1}"} if i % 10 < 2 else {}))
    schema: RelationSchema = schema_of(relations=relations)
    model = tiny_model()
    model.config = model.config.model_copy(update={"direction_mode": "joint"})
    triples = Extractor(model, schema=schema, threshold=0).extract(posts, top_k=3)
    assert triples
    for triple in triples:
        assert triple.description in schema.relation(str(triple.relation)).descriptions
        assert len(triple.ranking or ()) == 3


@pytest.mark.parametrize("mode", ["both", "joint"])
def test_embeddings_of_listed_pairs(
    mode: str, tiny_model: Make, posts: list[Post], crowd: Post
) -> None:
    model = tiny_model(vision=True, max_length=128)
    model.config = model.config.model_copy(update={"direction_mode": mode})
    assert model.vision is not None
    ends = [(0, "a", "r"), (0, "r", "a"), (4, "a", "o7"), (1, "b", "hat")]
    all_posts = [*posts[:4], crowd]
    listed = [
        all_posts[i].model_copy(update={"pairs": (Pair(head=head, tail=tail, relation="near"),)})
        for i, head, tail in ends
    ]
    images = features_of(listed, FeatureCache(None, model.vision))
    pairs = encode_both_directions(model, model.bank(), listed, images)
    found = model.encode_pairs(listed)
    torch.testing.assert_close(found, pairs.forward, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    # The pairs of one post are in its order, and a post that lists none has no row.
    both = listed[0].model_copy(update={"pairs": listed[1].pairs + listed[0].pairs})
    unlisted, none = (crowd.model_copy(update={"pairs": pairs}) for pairs in (None, ()))
    again = model.encode_pairs([unlisted, both, none, *listed[2:]])
    torch.testing.assert_close(again, found[[1, 0, 2, 3]], atol=1e-5, rtol=1e-4)
    assert not again.requires_grad
    assert model.encode_pairs([]).shape == model.encode_pairs([none]).shape == (0, found.shape[1])
    # The image counts.
    blind = model.encode_pairs([listed[2].model_copy(update={"image": None})])
    assert (blind - found[2]).abs().max() > 1e-4
