"""What is measured: made-up posts, on a model with random weights.

Speed does not depend on the values of weights, so that nothing has to be trained first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import torch
from PIL import Image

from rukh.extractor import Extractor
from rukh.modeling.directions import DirectionMode, merge_directions
from rukh.modeling.inference import batch_inputs, score_posts, tokenize_pairs
from rukh.modeling.markers import Markers
from rukh.modeling.model import RelationModel
from rukh.modeling.model_files import ModelConfig
from rukh.modeling.pair_encoder import PairConfig
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.text_encoder import TextEncoder
from rukh.modeling.vision_encoder import load_vision_encoder
from rukh.records import Pair, Post, TextEntity
from rukh.schema.schema import RelationSchema

MARKERS: tuple[Markers, ...] = ("post", "pair")
ENTITIES = {1: 2, 3: 3, 10: 5}
"""How many entities give so many pairs."""
NAMES = "Mira Solberg", "Tomas Okell", "Night Ferry", "Lisbon", "Harbour Proms"
TEXT = "{} and {} of {} on stage in {} last night , see you at the {} again !".format(*NAMES)


@dataclass(frozen=True)
class Row:
    """One measurement: seconds per post (or per pair, if it says so), and the ratio to what it is
    compared with.
    """

    what: str
    pairs: int
    seconds: float
    ratio: float


def make_posts(count: int, pairs: int, folder: Path | None = None) -> list[Post]:
    """Posts of the same text with so many pairs each; with images if there is a folder for them."""
    posts = []
    for i in range(count):
        starts = [TEXT.index(name) for name in NAMES[: ENTITIES[pairs]]]
        entities = tuple(
            TextEntity(id=f"e{k}", start=start, end=start + len(NAMES[k]), type="PER")
            for k, start in enumerate(starts)
        )
        listed = tuple(Pair(head=a.id, tail=b.id) for a, b in combinations(entities, 2))
        image = None
        if folder is not None:
            image = folder / f"{i}.png"
            Image.effect_noise((480, 300), 20 + i).convert("RGB").save(image)
        posts.append(Post(id=str(i), text=TEXT, image=image, entities=entities, pairs=listed))
    return posts


def pairs_of(posts: list[Post]) -> list[list[tuple[str, str]]]:
    """The pairs of each post, as argument ids."""
    return [[(pair.head, pair.tail) for pair in post.pairs or ()] for post in posts]


def best_of(repeats: int, actions: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The shortest time of each action, in seconds.

    The actions alternate, so that other load on the machine affects all of them alike.
    """
    best = dict.fromkeys(actions, float("inf"))
    for turn in range(repeats + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if turn:  # the first turn only warms up
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def make_model(
    text: TextEncoder,
    markers: Markers,
    vision: str | None = None,
    direction_mode: DirectionMode = "both",
) -> RelationModel:
    """A model with the shipped schema and random weights; the text encoder is shared."""
    visual_dim = 1 if vision is None else load_vision_encoder(vision).dim
    pair = PairConfig(
        text_encoder=text.name,
        vision_encoder=vision,
        markers=markers,
        dim=text.dim,
        fusion_heads=next(n for n in (6, 4, 2, 1) if text.dim % n == 0),
    )
    torch.manual_seed(0)
    config = ModelConfig(
        pair=pair, tagger=None, visual_dim=visual_dim, direction_mode=direction_mode
    )
    return RelationModel(config, RelationSchema.load("mnre"), text).eval()


def marker_schemes(text: TextEncoder, count: int, repeats: int) -> list[Row]:
    """One pass per post (`post`) against the reference, one pass per pair (`pair`)."""
    models = {markers: make_model(text, markers) for markers in MARKERS}
    bank = models["post"].bank()
    rows = []
    for pairs in ENTITIES:
        posts = make_posts(count, pairs)
        arguments = bank, posts, pairs_of(posts), [None] * count
        seconds = best_of(
            repeats, {m: partial(score_posts, model, *arguments) for m, model in models.items()}
        )
        for markers in MARKERS:
            ratio = seconds[markers] / seconds["post"]
            rows.append(Row(f"markers `{markers}`", pairs, seconds[markers] / count, ratio))
    return rows


def random_bank(relations: int, descriptions: int, dim: int) -> RelationBank:
    """A bank of random vectors."""
    generator = torch.Generator().manual_seed(0)
    total = relations * descriptions
    return RelationBank(
        tuple(f"r{i}" for i in range(relations)),
        tuple(f"text {i}" for i in range(total)),
        torch.nn.functional.normalize(torch.randn(total, dim, generator=generator), dim=-1),
        torch.arange(total).view(relations, descriptions),
        torch.full((relations,), -1),
        {},
    )


def large_banks(text: TextEncoder, count: int, repeats: int, relations: int = 10_000) -> list[Row]:
    """Ranking one pair among many relations, against encoding its post.

    The posts are one batch, as in extraction. `joint` ranks each pair in both directions.
    """
    pairs = 3
    posts = make_posts(count, pairs)
    rows = []
    for mode in ("both", "joint"):
        model = make_model(text, "post", direction_mode=mode)
        sequences = [
            (sequence, post)
            for post, own in zip(posts, pairs_of(posts), strict=True)
            for sequence in tokenize_pairs(model, post, own)
        ]
        inputs = batch_inputs(model, *zip(*sequences, strict=True), [None] * len(sequences))

        def encode(model=model, inputs=inputs, joint=mode == "joint"):
            with torch.inference_mode():
                return model.pair_encoder(inputs, model.schema.types, both_directions=joint)

        encodings = encode()

        def rank(bank, model=model, encodings=encodings):
            with torch.inference_mode():
                logits = [model.scorer(encoding, bank).logits for encoding in encodings]
                merged = merge_directions(*logits, bank) if len(logits) == 2 else logits[0]
                return model.probabilities(merged, bank).max(1)

        # A bank is projected once: each bank takes all of its turns before the next.
        for descriptions in (1, 5):
            bank = random_bank(relations, descriptions, text.dim)
            name = f"{relations:,} relations with {descriptions} descriptions, `{mode}`"
            seconds = best_of(repeats, {"encode": encode, "rank": partial(rank, bank)})
            post, pair = seconds["encode"] / count, seconds["rank"] / (count * pairs)
            rows.append(Row(f"encoding a post, {name}", pairs, post, 1.0))
            rows.append(Row(f"ranking a pair, {name}", pairs, pair, pair / post))
    return rows


def images(text: TextEncoder, vision: str, count: int, repeats: int, folder: Path) -> list[Row]:
    """Extraction from posts whose image features are cached, and from new images."""
    posts = make_posts(count, 3, folder)
    model = make_model(text, "post", vision)
    cached = Extractor(model, feature_folder=folder / "features")
    cached.extract(posts)
    seconds = best_of(
        repeats,
        {
            "images, cached": lambda: cached.extract(posts),
            "images, new": lambda: Extractor(model).extract(posts),
        },
    )
    fastest = seconds["images, cached"]
    return [Row(what, 3, taken / count, taken / fastest) for what, taken in seconds.items()]
