"""What is measured: posts that we make up, on a model whose own weights are random.

Speed does not depend on what weights hold, so that nothing has to be trained first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import torch
from PIL import Image
from rukh.language_model import Asked, LanguageModel
from rukh.language_teacher import question

from rukh.extractor import Extractor
from rukh.modeling.directions import DirectionMode, merge_directions
from rukh.modeling.inference import batch_inputs, score_posts, tokenize_pairs
from rukh.modeling.markers import Markers
from rukh.modeling.model import ModelConfig, RelationModel
from rukh.modeling.pair_encoder import PairConfig
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.text_encoder import TextEncoder
from rukh.modeling.vision_encoder import load_vision_encoder
from rukh.records import Pair, Post, TextEntity
from rukh.schema.schema import RelationSchema

SCHEMES: tuple[Markers, ...] = ("post", "levitated", "pair")
ENTITIES = {1: 2, 3: 3, 10: 5}
"""How many entities make so many pairs."""
NAMES = "Mira Solberg", "Tomas Okell", "Night Ferry", "Lisbon", "Harbour Proms"


@dataclass(frozen=True)
class Row:
    """One measurement: seconds a post (a pair, where it says so), and how many times those of what
    it is compared with.
    """

    what: str
    pairs: int
    seconds: float
    ratio: float


def make_posts(count: int, pairs: int, folder: Path | None = None) -> list[Post]:
    """Posts of one length whatever their pairs, with pictures where there is a folder for them."""
    posts = []
    for i in range(count):
        text = "{} and {} of {} on stage in {} last night , see you at the {} again !".format(
            *NAMES
        )
        starts = [text.index(name) for name in NAMES[: ENTITIES[pairs]]]
        entities = tuple(
            TextEntity(id=f"e{k}", start=start, end=start + len(NAMES[k]), type="PER")
            for k, start in enumerate(starts)
        )
        asked = tuple(Pair(head=a.id, tail=b.id) for a, b in combinations(entities, 2))
        image = None
        if folder is not None:
            image = folder / f"{i}.png"
            Image.effect_noise((480, 300), 20 + i).convert("RGB").save(image)
        posts.append(Post(id=str(i), text=text, image=image, entities=entities, pairs=asked))
    return posts


def best_of(repeats: int, actions: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The shortest time of each action, in seconds.

    The actions take turns, so that whatever else the machine does falls on all of them alike.
    """
    best = dict.fromkeys(actions, float("inf"))
    for turn in range(repeats + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if turn:  # the first turn only warms up
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def model_of(
    text: TextEncoder, markers: Markers, vision: str | None = None, order: DirectionMode = "both"
) -> RelationModel:
    """A model with the shipped schema and random heads; the text encoder is shared."""
    width = 1 if vision is None else load_vision_encoder(vision).dim
    heads = next(n for n in (6, 4, 2, 1) if text.dim % n == 0)
    pair = PairConfig(
        text_encoder=text.name,
        vision_encoder=vision,
        markers=markers,
        dim=text.dim,
        fusion_heads=heads,
    )
    torch.manual_seed(0)
    config = ModelConfig(pair=pair, tagger=None, visual_dim=width, order=order)
    return RelationModel(config, RelationSchema.load("mnre"), text).eval()


def marker_schemes(text: TextEncoder, count: int, repeats: int) -> list[Row]:
    """The three ways to point arguments out, against `post`."""
    models = {scheme: model_of(text, scheme) for scheme in SCHEMES}
    bank = models["post"].bank()
    rows = []
    for pairs in ENTITIES:
        posts = make_posts(count, pairs)
        asked = [[(p.head, p.tail) for p in post.pairs or ()] for post in posts]
        nothing = [None] * count
        seconds = best_of(
            repeats,
            {s: partial(score_posts, m, bank, posts, asked, nothing) for s, m in models.items()},
        )
        for scheme in SCHEMES:
            ratio = seconds[scheme] / seconds["post"]
            rows.append(Row(f"markers `{scheme}`", pairs, seconds[scheme] / count, ratio))
    return rows


def sharing(text: TextEncoder, count: int, repeats: int) -> list[Row]:
    """A post encoded once for all its pairs, and anew for every pair."""
    model = model_of(text, "post")
    bank = model.bank()
    rows = []
    for pairs in ENTITIES:
        posts = make_posts(count, pairs)
        asked = [[(p.head, p.tail) for p in post.pairs or ()] for post in posts]
        once = partial(score_posts, model, bank, posts, asked, [None] * count)
        alone = [(post, [pair]) for post, own in zip(posts, asked, strict=True) for pair in own]
        anew = partial(
            score_posts,
            model,
            bank,
            [post for post, _ in alone],
            [own for _, own in alone],
            [None] * len(alone),
        )
        seconds = best_of(repeats, {"once": once, "anew": anew})
        for what, name in (("encoded once a post", "once"), ("encoded once a pair", "anew")):
            ratio = seconds[name] / seconds["once"]
            rows.append(Row(what, pairs, seconds[name] / count, ratio))
    return rows


def bank_of(relations: int, descriptions: int, dim: int) -> RelationBank:
    """A bank of random vectors."""
    made = torch.Generator().manual_seed(0)
    total = relations * descriptions
    return RelationBank(
        tuple(f"r{i}" for i in range(relations)),
        tuple(f"text {i}" for i in range(total)),
        torch.nn.functional.normalize(torch.randn(total, dim, generator=made), dim=-1),
        torch.arange(total).view(relations, descriptions),
        torch.full((relations,), -1),
        {},
    )


def large_banks(text: TextEncoder, count: int, repeats: int, relations: int = 10_000) -> list[Row]:
    """One pair ranked against very many relations, against encoding the post that it is of.

    The posts are one batch, as in extraction. `joint` ranks each pair in both orders.
    """
    pairs = 3
    posts = make_posts(count, pairs)
    rows = []
    for order in ("both", "joint"):
        model = model_of(text, "post", order=order)
        laid = [
            tokenize_pairs(model, p, [(q.head, q.tail) for q in p.pairs or ()])[1] for p in posts
        ]
        flat = [(row, post) for own, post in zip(laid, posts, strict=True) for row in own]
        inputs = batch_inputs(model, *zip(*flat, strict=True), [None] * len(flat))
        banks = {}
        for k, texts in ((1, "1 text"), (5, "5 texts")):
            bank = bank_of(relations, k, text.dim)
            banks[f"{relations:,} relations of {texts}"] = bank
            if find_spec("faiss") is not None:
                indexed = replace(bank, indexed=True)
                banks[f"{relations:,} relations of {texts} by an index"] = indexed

        def encode(model=model, inputs=inputs, order=order):
            with torch.inference_mode():
                return model.pair_encoder(inputs, model.schema.types, back=order == "joint")

        once = encode()

        def rank(bank, model=model, encoded=once):
            with torch.inference_mode():
                logits = model.scorer(encoded, bank).logits
                if encoded.back is not None:
                    back = model.scorer(encoded.back._replace(back=encoded), bank)
                    logits = merge_directions(logits, back.logits, bank)
                return model.probabilities(logits, bank).max(1)

        # A bank's prototypes are made once: each bank takes all of its turns before the next.
        for name, bank in banks.items():
            seconds = best_of(repeats, {"encode": encode, "rank": partial(rank, bank)})
            post, pair = seconds["encode"] / count, seconds["rank"] / (count * pairs)
            rows.append(Row(f"a post encoded, beside {name}, `{order}`", pairs, post, 1.0))
            rows.append(Row(f"a pair ranked, {name}, `{order}`", pairs, pair, pair / post))
    return rows


def language_model(text: TextEncoder, count: int, repeats: int) -> list[Row]:
    """Questions about three pairs a post, read beside the post or each with it anew, in single
    precision and in whole numbers: two layers with random weights, of the width of a model of half
    a billion parameters.
    """
    import transformers

    config = transformers.Qwen2Config(
        vocab_size=len(text.tokenizer),
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=2,
        num_attention_heads=14,
        num_key_value_heads=2,
    )
    pairs = 3
    together = [
        Asked(p.text, tuple(question(p, q.head, q.tail) for q in p.pairs or ()))
        for p in make_posts(count, pairs)
    ]
    apart = [Asked(one.text, (each,)) for one in together for each in one.questions]
    torch.manual_seed(0)
    exact, whole = (
        LanguageModel(transformers.Qwen2Model(config), text.tokenizer, 2) for _ in range(2)
    )
    whole.quantize(together[:4])
    seconds = best_of(
        repeats,
        {
            "language model, `fp32`": partial(exact.read, together),
            "language model, `int8`": partial(whole.read, together),
            "language model, `fp32`, a prompt a pair": partial(exact.read, apart),
        },
    )
    most = seconds["language model, `fp32`"]
    return [Row(what, pairs, taken / count, taken / most) for what, taken in seconds.items()]


def pictures(text: TextEncoder, vision: str, count: int, repeats: int, folder: Path) -> list[Row]:
    """Extraction from posts whose pictures' maps are kept, and from pictures seen first."""
    posts = make_posts(count, 3, folder)
    model = model_of(text, "post", vision)
    kept = Extractor(model, feature_folder=folder / "maps")
    kept.extract(posts)
    seconds = best_of(
        repeats,
        {
            "pictures kept": lambda: kept.extract(posts),
            "pictures seen first": lambda: Extractor(model).extract(posts),
        },
    )
    least = seconds["pictures kept"]
    return [Row(what, 3, taken / count, taken / least) for what, taken in seconds.items()]
