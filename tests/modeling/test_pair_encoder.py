"""The pair tower: what a pair's embedding depends on, and what it must not depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from rukh.errors import InputError
from rukh.modeling.batch import PairBatch
from rukh.modeling.inference import batch_inputs, tokenize_pairs
from rukh.modeling.markers import Markers
from rukh.modeling.model import RelationModel
from rukh.modeling.pair_encoder import PairConfig, PairEncoding
from rukh.modeling.vision_encoder import PatchMap
from rukh.records import Post

SCHEMES = get_args(Markers)
Pairs = Sequence[tuple[str, str]]
Make = Callable[..., RelationModel]


def every(post: Post) -> list[tuple[str, str]]:
    return list(permutations([argument.id for argument in post.arguments], 2))


def picture(count: int = 6, seed: int = 0) -> PatchMap:
    """Patch states in a row from left to right."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.arange(count) / count
    boxes = torch.stack([left, torch.zeros(count), left + 1 / count, torch.ones(count)], 1)
    return PatchMap(torch.randn(count, 16, generator=generator), boxes)


def inputs_of(
    model: RelationModel,
    posts: Sequence[Post],
    pairs: Sequence[Pairs],
    pictures: Sequence[PatchMap | None] | None = None,
) -> tuple[PairBatch, list[tuple[int, int]]]:
    """One batch, and of which post's which pair its pairs are."""
    shown = pictures or [None] * len(posts)
    rows = [
        (i, row) for i, post in enumerate(posts) for row in tokenize_pairs(model, post, pairs[i])[1]
    ]
    inputs = batch_inputs(
        model, [row for _, row in rows], [posts[i] for i, _ in rows], [shown[i] for i, _ in rows]
    )
    return inputs, [(i, ask.pair) for i, row in rows for ask in row.asks]


def embed(
    model: RelationModel,
    posts: Sequence[Post],
    pairs: Sequence[Pairs],
    pictures: Sequence[PatchMap | None] | None = None,
) -> dict[tuple[str, str, str], Tensor]:
    inputs, index = inputs_of(model, posts, pairs, pictures)
    with torch.inference_mode():
        encoded = model.pair_encoder(inputs, model.schema.types)
    return {
        (posts[i].id, *pairs[i][k]): vector
        for (i, k), vector in zip(index, encoded.embedding, strict=True)
    }


def same(one: dict[Any, Tensor], other: dict[Any, Tensor], atol: float = 1e-5) -> None:
    assert one.keys() & other.keys()
    for key in one.keys() & other.keys():
        torch.testing.assert_close(one[key], other[key], atol=atol, rtol=1e-4)


@pytest.fixture(params=SCHEMES)
def model(request: pytest.FixtureRequest, tiny_model: Make) -> RelationModel:
    return tiny_model(vision=True, markers=request.param)


PICTURES: list[PatchMap | None] = [None, picture(), None, picture(3, 1), None]


def test_embeddings_are_unit_vectors_that_differ(model: RelationModel, posts: list[Post]) -> None:
    pairs = [every(post) for post in posts]
    found = embed(model, posts, pairs, PICTURES)
    assert len(found) == sum(map(len, pairs))
    vectors = torch.stack(list(found.values()))
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(vectors)))
    # Two entities over the same words but of different types are told apart, too.
    gaps = torch.cdist(vectors, vectors) + torch.eye(len(vectors))
    assert gaps.min() > 1e-3


def test_order_matters(model: RelationModel, posts: list[Post]) -> None:
    found = embed(model, posts, [every(post) for post in posts], PICTURES)
    for post, head, tail in found:
        assert (found[post, head, tail] - found[post, tail, head]).norm() > 1e-3


def test_batch_mates_and_padding_do_not_matter(model: RelationModel, posts: list[Post]) -> None:
    pairs = [every(post) for post in posts]
    together = embed(model, posts, pairs, PICTURES)
    alone = [embed(model, [p], [a], [s]) for p, a, s in zip(posts, pairs, PICTURES, strict=True)]
    for found in alone:
        same(together, found)


@pytest.mark.parametrize("scheme", ["post", "levitated", "pair"])
def test_other_pairs_do_not_matter(tiny_model: Make, posts: list[Post], scheme: Markers) -> None:
    model = tiny_model(vision=True, markers=scheme)
    for post, shown in zip(posts, PICTURES, strict=True):
        together = embed(model, [post], [every(post)], [shown])
        for pair in every(post):
            same(together, embed(model, [post], [[pair]], [shown]))


def test_words_do_not_see_levitated_markers(tiny_model: Make, posts: list[Post]) -> None:
    model = tiny_model(markers="levitated")
    pair_sets = [[("a", "org")], [("r", "a"), ("org", "r"), ("r", "org")]]
    states = []
    for pairs in pair_sets:
        inputs, _ = inputs_of(model, [posts[0]], [pairs])
        table = torch.randn(len(inputs.type_names) + 1, 32)
        with torch.inference_mode():
            read = model.pair_encoder._read(inputs, table, torch.zeros(1, 0, 32))
            fused = model.pair_encoder.fusion(read, inputs.groups, torch.zeros(inputs.groups.shape))
        words = int((inputs.groups == 0).sum())
        states.append((read[:, :words], fused[:, :words]))
    for one, other in zip(*states, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_absent_pictures_have_no_gate(model: RelationModel, posts: list[Post]) -> None:
    inputs, _ = inputs_of(model, posts, [every(post) for post in posts], PICTURES)
    with torch.inference_mode():
        gate = model.pair_encoder(inputs, model.schema.types).gate
    shown = inputs.has_patch.any(1)
    assert shown.any() and not shown.all()
    assert (gate.isnan() == ~shown).all()
    assert ((gate[shown] > 0) & (gate[shown] < 1)).all()


def test_the_picture_matters_and_so_does_what_lies_under_a_box(
    model: RelationModel, posts: list[Post]
) -> None:
    both = posts[1]
    first = embed(model, [both], [every(both)], [picture()])
    for changed in (None, picture(seed=1)):
        second = embed(model, [both], [every(both)], [changed])
        assert all((first[key] - second[key]).norm() > 1e-4 for key in first)
    hat, dog = both.objects
    moved = hat.model_copy(update={"box": (0.7, 0.5, 0.9, 0.9)})
    third = embed(model, [both.model_copy(update={"objects": (moved, dog)})], [[("b", "hat")]],
                  [picture()])  # fmt: skip
    key = ("both", "b", "hat")
    assert (first[key] - third[key]).norm() > 1e-4


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("scheme", ["post", "pair"])
def test_a_picture_that_is_not_trusted_is_absent(
    tiny_model: Make, posts: list[Post], scheme: Markers, look: bool
) -> None:
    model = tiny_model(vision=True, markers=scheme, look=look)
    with torch.no_grad():
        model.pair_encoder.gate.score[-1].bias.fill_(-1e4)
    for post in (posts[0], posts[1], posts[3]):
        distrusted = embed(model, [post], [every(post)], [picture()])
        same(distrusted, embed(model, [post], [every(post)], [None]))


def test_types_are_hints_and_the_schema_says_how_they_read(
    tiny_model: Make, posts: list[Post]
) -> None:
    post = posts[0]
    other = post.entities[0].model_copy(update={"type": "person"})
    worded = post.model_copy(update={"entities": (other, *post.entities[1:])})
    changed = post.entities[0].model_copy(update={"type": "boat"})
    retyped = post.model_copy(update={"entities": (changed, *post.entities[1:])})
    model = tiny_model()
    told = embed(model, [post], [every(post)])
    same(told, embed(model, [worded], [every(post)]))  # PER reads "person" in the schema
    differs = embed(model, [retyped], [every(post)])
    assert all((told[key] - differs[key]).norm() > 1e-4 for key in told)
    deaf = tiny_model(type_hints=False)
    same(embed(deaf, [post], [every(post)]), embed(deaf, [retyped], [every(post)]))


def test_captions_are_read_where_the_model_reads_them(tiny_model: Make, posts: list[Post]) -> None:
    plain = posts[0]
    captioned = plain.model_copy(update={"caption": "a dog in a boat"})
    for words, matters in ((0, False), (3, True)):
        model = tiny_model(caption_words=words)
        one, two = (embed(model, [p], [every(plain)]) for p in (plain, captioned))
        gap = max(float((one[key] - two[key]).norm()) for key in one)
        assert (gap > 1e-4) == matters


# What has no gradient by design: only levitated markers start from an object's region.
UNUSED = {
    "post": {"pair_encoder.region_out.weight", "pair_encoder.region_out.bias"},
    "pair": {"pair_encoder.region_out.weight", "pair_encoder.region_out.bias"},
    "levitated": set(),
}


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_gradients_reach_every_trained_parameter(
    tiny_model: Make, posts: list[Post], scheme: Markers, lora: int, encoder_folder: Any
) -> None:
    # An encoder of another width than the tower's, so that all projections exist.
    model = tiny_model(
        vision=True,
        markers=scheme,
        look=True,
        lora_rank=lora,
        text_encoder=encoder_folder("bert", hidden_size=48),
    )
    inputs, _ = inputs_of(model, posts, [every(post) for post in posts], PICTURES)
    model.train()
    encoded: PairEncoding = model.pair_encoder(inputs, model.schema.types)
    scores = model.scorer(encoded, model.bank())
    weights = torch.randn(scores.logits.shape, generator=torch.Generator().manual_seed(1))
    (scores.logits * weights).sum().backward()
    silent = {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    }
    assert silent == UNUSED[scheme]
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_distances_have_a_bucket_each_way(tiny_model: Make) -> None:
    pair = tiny_model().pair_encoder
    distances = torch.tensor([0, 1, -1, 64, -64, 65, -65, 10_000, -10_000])
    text = torch.full((len(distances),), -1)
    relative = pair._relative(
        PairBatch(
            **dict.fromkeys(PairBatch.__dataclass_fields__)
            | {"distance": distances, "row": torch.zeros(len(distances), dtype=torch.long)}
            | {"head_object": text, "tail_object": text, "boxes": torch.zeros(1, 0, 4)}
        )
    )
    distinct = {tuple(row.tolist()) for row in relative}
    assert len(distinct) == 7  # beyond 64 all are one, in either direction
    torch.testing.assert_close(relative[5], relative[7])
    torch.testing.assert_close(relative[6], relative[8])


def test_heads_that_do_not_divide_the_width_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="fusion_heads 5 does not divide dim 384"):
        PairConfig(fusion_heads=5)


@pytest.mark.parametrize("scheme", ["post", "levitated"])
def test_a_pair_read_backwards_is_the_pair_asked_backwards(
    tiny_model: Make, posts: list[Post], scheme: Markers
) -> None:
    model = tiny_model(vision=True, markers=scheme, look=True)
    pairs = [every(post) for post in posts]
    inputs, index = inputs_of(model, posts, pairs, PICTURES)
    with torch.inference_mode():
        encoded = model.pair_encoder(inputs, model.schema.types, back=True)
    assert encoded.back is not None
    asked = embed(model, posts, pairs, PICTURES)
    turned = {}
    for (i, k), vector in zip(index, encoded.back.embedding, strict=True):
        head, tail = pairs[i][k]
        turned[posts[i].id, tail, head] = vector
    assert turned.keys() == asked.keys()
    same(asked, turned)


def test_a_residual_pair_starts_as_its_text(tiny_model: Make, posts: list[Post]) -> None:
    model = tiny_model(residual=True)
    post = next(post for post in posts if len(post.entities) > 1 and not post.objects)
    head, tail = post.entities[0].id, post.entities[1].id
    with torch.no_grad():  # as it is before training
        model.pair_encoder.residual_weights.copy_(torch.tensor([1.0, 0.5, 0.5]))
        model.pair_encoder.output.weight.zero_()
        model.pair_encoder.output.bias.zero_()
    there, back = embed(model, [post], [[(head, tail), (tail, head)]], [None]).values()
    torch.testing.assert_close(there, back)  # the head that tells them apart adds nothing yet
    torch.nn.init.normal_(model.pair_encoder.output.weight)
    there, back = embed(model, [post], [[(head, tail), (tail, head)]], [None]).values()
    assert (there - back).norm() > 1e-3


def test_a_residual_pair_is_as_wide_as_its_text(tiny_model: Make) -> None:
    with pytest.raises(InputError, match=r"pair\.residual: needs dim 32"):
        tiny_model(residual=True, dim=64)


def test_a_look_reaches_pairs_that_no_fusion_tells_of_the_picture(
    tiny_model: Make, posts: list[Post]
) -> None:
    post = next(post for post in posts if len(post.entities) > 1 and not post.objects)
    gaps = {}
    for look in (False, True):
        model = tiny_model(vision=True, fusion_layers=0, look=look)
        one, other = (
            torch.stack(list(embed(model, [post], [every(post)], [picture(seed=seed)]).values()))
            for seed in (0, 1)
        )
        gaps[look] = float((one - other).norm())
    assert gaps[False] < 1e-6 < 1e-3 < gaps[True]


def test_padding_and_batch_mates_are_not_looked_at(tiny_model: Make, posts: list[Post]) -> None:
    model = tiny_model(vision=True, look=True)
    pairs = [every(post) for post in posts]
    together = embed(model, posts, pairs, PICTURES)
    for post, asked, shown in zip(posts, pairs, PICTURES, strict=True):
        if asked:
            same(together, embed(model, [post], [asked], [shown]))
