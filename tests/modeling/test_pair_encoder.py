"""What the embedding of a pair depends on, and what it must not depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from helpers_modeling import all_pairs, make_patches
from rukh.errors import InputError
from rukh.modeling.batch import PairBatch
from rukh.modeling.inference import batch_inputs, tokenize_pairs
from rukh.modeling.markers import Markers
from rukh.modeling.model import RelationModel
from rukh.modeling.pair_encoder import DISTANCES, PairConfig
from rukh.modeling.vision_encoder import PatchMap
from rukh.records import Post

Make = Callable[..., RelationModel]
Key = tuple[str, str, str]
SCHEMES = get_args(Markers)
IMAGES: list[PatchMap | None] = [None, make_patches(), None, make_patches(3, 1), None]


def make_batch(
    model: RelationModel,
    posts: Sequence[Post],
    pairs: Sequence[Sequence[tuple[str, str]]],
    images: Sequence[PatchMap | None] | None = None,
) -> tuple[PairBatch, list[Key]]:
    """One batch, and the post, head and tail of each of its pairs."""
    images = images or [None] * len(posts)
    rows = [
        (i, sequence)
        for i, post in enumerate(posts)
        for sequence in tokenize_pairs(model, post, pairs[i])
    ]
    batch = batch_inputs(
        model, [one for _, one in rows], [posts[i] for i, _ in rows], [images[i] for i, _ in rows]
    )
    return batch, [(posts[i].id, *pairs[i][one.pair]) for i, row in rows for one in row.pairs]


def encode(model: RelationModel, *arguments: Any) -> list[dict[Key, Tensor]]:
    """Embeddings by post, head and tail: of the pairs, and of the pairs read backward."""
    batch, keys = make_batch(model, *arguments)
    with torch.inference_mode():
        both = model.pair_encoder(batch, model.schema.types, both_directions=True)
    return [dict(zip(keys, encoding.embedding, strict=True)) for encoding in both]


def embed(model: RelationModel, *arguments: Any) -> dict[Key, Tensor]:
    return encode(model, *arguments)[0]


def assert_same(one: dict[Key, Tensor], other: dict[Key, Tensor]) -> None:
    assert one.keys() & other.keys()
    for key in one.keys() & other.keys():
        torch.testing.assert_close(one[key], other[key], atol=1e-5, rtol=1e-4)


def smallest_gap(one: dict[Key, Tensor], other: dict[Key, Tensor]) -> float:
    return min(float((one[key] - other[key]).norm()) for key in one.keys() & other.keys())


@pytest.fixture(
    params=[
        {"markers": "post"},
        {"markers": "pair"},
        {"markers": "post", "image_fusion": "region_pooling"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def model(request: pytest.FixtureRequest, tiny_model: Make) -> RelationModel:
    return tiny_model(vision=True, **request.param)


def test_embeddings_are_distinct_unit_vectors(model: RelationModel, posts: list[Post]) -> None:
    """Also of two entities with the same words but different types, and of the two directions."""
    pairs = [all_pairs(post) for post in posts]
    embeddings = embed(model, posts, pairs, IMAGES)
    assert len(embeddings) == sum(map(len, pairs))
    vectors = torch.stack(list(embeddings.values()))
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(vectors)))
    assert (torch.cdist(vectors, vectors) + torch.eye(len(vectors))).min() > 1e-3


def test_other_posts_and_pairs_do_not_matter(model: RelationModel, posts: list[Post]) -> None:
    pairs = [all_pairs(post) for post in posts]
    together = embed(model, posts, pairs, IMAGES)
    for post, own, image in zip(posts, pairs, IMAGES, strict=True):
        assert_same(together, embed(model, [post], [own], [image]))
        assert_same(together, embed(model, [post], [own[:1]], [image]))


@pytest.mark.parametrize("image_fusion", ["concat", "region_pooling"])
def test_backward_is_forward_of_the_swapped_pair(
    tiny_model: Make, posts: list[Post], image_fusion: str
) -> None:
    model = tiny_model(vision=True, image_fusion=image_fusion)
    forward, backward = encode(model, posts, [all_pairs(post) for post in posts], IMAGES)
    assert_same(forward, {(post, tail, head): v for (post, head, tail), v in backward.items()})


def test_the_gate_is_that_of_each_image(model: RelationModel, posts: list[Post]) -> None:
    batch, _ = make_batch(model, posts, [all_pairs(post) for post in posts], IMAGES)
    with torch.inference_mode():
        (encoding,) = model.pair_encoder(batch, model.schema.types)
    has_image = batch.has_patch.any(1)
    assert has_image.any() and not has_image.all()
    assert (encoding.gate.isnan() == ~has_image).all()
    assert ((encoding.gate[has_image] > 0) & (encoding.gate[has_image] < 1)).all()


def test_the_image_and_what_is_under_a_box_matter(model: RelationModel, posts: list[Post]) -> None:
    post = posts[1]
    first = embed(model, [post], [all_pairs(post)], [make_patches()])
    for image in (None, make_patches(seed=1)):
        assert smallest_gap(first, embed(model, [post], [all_pairs(post)], [image])) > 1e-4
    hat, dog = post.objects
    moved = hat.model_copy(update={"box": (0.7, 0.5, 0.9, 0.9)})
    changed = post.model_copy(update={"objects": (moved, dog)})
    second = embed(model, [changed], [[("b", "hat")]], [make_patches()])
    assert smallest_gap(first, second) > 1e-4


def test_a_distrusted_image_is_like_a_missing_one(model: RelationModel, posts: list[Post]) -> None:
    with torch.no_grad():
        model.pair_encoder.gate.score[-1].bias.fill_(-1e4)
    for post in (posts[0], posts[1], posts[3]):
        distrusted = embed(model, [post], [all_pairs(post)], [make_patches()])
        assert_same(distrusted, embed(model, [post], [all_pairs(post)], [None]))


@pytest.mark.parametrize(("image_fusion", "matters"), [("concat", False), ("region_pooling", True)])
def test_without_fusion_layers_only_region_pooling_sees_the_image(
    tiny_model: Make, posts: list[Post], image_fusion: str, matters: bool
) -> None:
    model = tiny_model(vision=True, fusion_layers=0, image_fusion=image_fusion)
    pairs = [all_pairs(posts[0])]
    one, other = (embed(model, posts[:1], pairs, [make_patches(seed=seed)]) for seed in (0, 1))
    assert (smallest_gap(one, other) > 1e-3) == matters


def with_type(post: Post, type_: str) -> Post:
    first = post.entities[0].model_copy(update={"type": type_})
    return post.model_copy(update={"entities": (first, *post.entities[1:])})


def test_types_are_hints_in_the_words_of_the_schema(tiny_model: Make, posts: list[Post]) -> None:
    post, pairs = posts[0], [all_pairs(posts[0])]
    model = tiny_model()
    typed = embed(model, [post], pairs)
    assert_same(typed, embed(model, [with_type(post, "person")], pairs))  # the word for PER
    assert smallest_gap(typed, embed(model, [with_type(post, "boat")], pairs)) > 1e-4
    model = tiny_model(type_hints=False)
    assert_same(embed(model, [post], pairs), embed(model, [with_type(post, "boat")], pairs))


@pytest.mark.parametrize(("caption_words", "matters"), [(0, False), (3, True)])
def test_captions(tiny_model: Make, posts: list[Post], caption_words: int, matters: bool) -> None:
    model = tiny_model(caption_words=caption_words)
    captioned = posts[0].model_copy(update={"caption": "a dog in a boat"})
    one, other = (embed(model, [post], [all_pairs(post)]) for post in (posts[0], captioned))
    assert (smallest_gap(one, other) > 1e-4) == matters


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("image_fusion", ["concat", "region_pooling"])
def test_gradients_reach_every_trainable_parameter(
    tiny_model: Make, posts: list[Post], image_fusion: str, lora: int, encoder_folder: Any
) -> None:
    # A text encoder of another width than the pair encoder, so that all projections exist.
    model = tiny_model(
        vision=True,
        image_fusion=image_fusion,
        lora_rank=lora,
        text_encoder=encoder_folder("bert", hidden_size=48),
    )
    batch, _ = make_batch(model, posts, [all_pairs(post) for post in posts], IMAGES)
    model.train()
    logits = model(batch, model.bank()).logits
    (
        logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    ).sum().backward()
    for name, parameter in model.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.any())
        assert has_gradient == parameter.requires_grad, name


def test_distances_are_in_buckets_with_a_sign(tiny_model: Make) -> None:
    encoder = tiny_model().pair_encoder
    distance = torch.tensor([0, 1, -1, 64, -64, 65, -65, 10_000, -10_000])
    text = torch.full_like(distance, -1)
    fields = dict.fromkeys(PairBatch.__dataclass_fields__) | {
        "distance": distance,
        "sequence": torch.zeros_like(distance),
        "head_object": text,
        "tail_object": text,
        "boxes": torch.zeros(1, 0, 4),
    }
    features, *_ = encoder._pair_features(PairBatch(**fields))
    assert DISTANCES[-1] == 64
    assert len({tuple(row.tolist()) for row in features}) == 7
    assert torch.equal(features[5], features[7]) and torch.equal(features[6], features[8])


def test_a_residual_model_starts_as_the_sentence_encoder(
    tiny_model: Make, posts: list[Post]
) -> None:
    model, pairs = tiny_model(residual=True), [[("a", "org"), ("org", "a")]]
    with torch.no_grad():  # as before training
        model.pair_encoder.residual_weights.copy_(torch.tensor([1.0, 0.5, 0.5]))
        model.pair_encoder.output.weight.zero_()
        model.pair_encoder.output.bias.zero_()
    forward, backward = embed(model, posts[:1], pairs).values()
    torch.testing.assert_close(forward, backward)
    torch.nn.init.normal_(model.pair_encoder.output.weight)
    forward, backward = embed(model, posts[:1], pairs).values()
    assert (forward - backward).norm() > 1e-3


def test_widths_that_do_not_fit_are_refused(tiny_model: Make) -> None:
    with pytest.raises(InputError) as error:
        tiny_model(residual=True, dim=64)
    assert error.value.field == "pair.residual"
    with pytest.raises(ValueError, match="fusion_heads 5"):
        PairConfig(fusion_heads=5)
