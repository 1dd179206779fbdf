"""Devices: their names, and that no tensor stays behind when a model moves.

Torch's device ``meta`` stands for a GPU. Reading a value of a tensor of ``meta``, where a program
would wait for a GPU, raises an error, and so does, in these tests, an operation on tensors of
``meta`` and of the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForTokenClassification, masking_utils

from conftest import schema_of
from helpers_modeling import all_pairs
from rukh.arguments.huggingface import HfTagger
from rukh.arguments.token_tagger import TokenTagger
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.extractor import Extractor
from rukh.modeling import device
from rukh.modeling.device import choose_device
from rukh.modeling.inference import score_posts
from rukh.modeling.model import RelationModel
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Pair, Post
from rukh.schema.schema import RelationSchema
from rukh.training.few_shot import add_relations
from rukh.training.relation_task import RelationTask, RelationTrainingConfig
from rukh.training.tagger_task import TaggerConfig, TaggerTask

META = torch.device("meta")


class OneDevice(TorchDispatchMode):
    """Raises an error at an operation on tensors of several devices, other than scalars.

    ``meta`` itself lets some of them pass, such as looking up embeddings.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        values = tree_leaves((args, kwargs))
        devices = {v.device.type for v in values if isinstance(v, Tensor) and v.dim()}
        if len(devices) > 1:
            raise RuntimeError(f"{func} has tensors of {devices}")
        return func(*args, **kwargs or {})


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of the tensors that were copied from ``meta`` to the CPU, where they are zero.

    The cache is that of the test, as embeddings of zero would be of no use to others.
    """
    shapes: list[tuple[int, ...]] = []
    cpu = Tensor.cpu

    def copy(tensor: Tensor) -> Tensor:
        if tensor.device != META:
            return cpu(tensor)
        shapes.append(tuple(tensor.shape))
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(Tensor, "cpu", copy)
    # transformers reads once per batch whether the mask hides anything.
    monkeypatch.setattr(masking_utils, "_ignore_bidirectional_mask_sdpa", lambda *_, **__: False)
    with OneDevice():
        yield shapes


def labelled(posts: list[Post]) -> list[Post]:
    """The posts with all ordered pairs, some of which are near each other."""
    return [
        post.model_copy(
            update={
                "pairs": tuple(
                    Pair(head=head, tail=tail, relation="near" if head < tail else "none")
                    for head, tail in all_pairs(post)
                )
            }
        )
        for post in posts
    ]


def test_stray_tensors_and_waiting_are_found(transfers: Any) -> None:
    with pytest.raises(RuntimeError):
        torch.nn.Embedding(3, 2, device=META)(torch.zeros(2, dtype=torch.long))
    with pytest.raises(RuntimeError):
        torch.zeros(2, device=META).sum().item()


def test_devices_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(device, "available_devices", lambda: ["cuda:0", "cuda:1", "mps", "cpu"])
    names = {"auto": "cuda:0", "cuda": "cuda:0", "cuda:1": "cuda:1", "mps": "mps"}
    assert {name: str(choose_device(name)) for name in names} == names
    monkeypatch.setattr(device, "available_devices", lambda: ["mps", "cpu"])
    assert choose_device() == torch.device("mps")


@pytest.mark.parametrize("name", ["cuda:99", "gpu", ""])
def test_a_device_that_is_absent_is_an_error_that_lists_the_others(name: str) -> None:
    with pytest.raises(InputError) as caught:
        RelationModel.from_pretrained("nowhere", device=name)
    assert caught.value.field == "device" and "cpu" in str(caught.value.fix)


@pytest.mark.parametrize(
    "arguments",
    [("extract", "examples/texts.jsonl"), ("evaluate", "--data", "examples/posts.jsonl")],
)
def test_commands_take_a_device(rukh: Any, arguments: tuple[str, ...]) -> None:
    done = rukh(*arguments, "--device", "cuda:99")
    assert done.code == 2 and "cuda:99" in done.err


@pytest.mark.parametrize("scorer", ["retrieval", "classification"])
@pytest.mark.parametrize("mode", ["joint", "both"])
@pytest.mark.parametrize(
    "pair",
    [
        {"residual": True, "fusion_layers": 0},
        {"vision": True},
        {"vision": True, "image_fusion": "region_pooling"},
    ],
)
def test_posts_are_scored_on_the_device(
    tiny_model: Any, posts: list[Post], transfers: Any, scorer: str, mode: str, pair: Any
) -> None:
    model = tiny_model(relation={"scorer": scorer}, **pair)
    model.config = model.config.model_copy(update={"direction_mode": mode})
    extractor = Extractor(model.to(META))
    extractor.extract(posts)
    if model.vision is not None:
        assert next(model.vision.parameters()).device == META
    pairs, images = [all_pairs(post) for post in posts], extractor.visual_features(posts)
    transfers.clear()
    scores = score_posts(model, extractor.bank, posts, pairs, images)
    assert len(transfers) == 3  # the logits, descriptions and gates of a batch
    assert not extractor.bank.to(META).vectors.is_inference()
    embeddings = model.encode_pairs(labelled(posts))
    assert scores[0].logits.device.type == embeddings.device.type == "cpu"


def test_relations_are_added_on_the_device(
    tiny_model: Any, posts: list[Post], transfers: Any
) -> None:
    model = tiny_model(vision=True)
    assert "anchors" not in model.state_dict()
    examples = labelled(posts)
    new = {"name": "near", "descriptions": ["the head touches the tail"], "symmetric": True}
    schema = RelationSchema.parse({"name": "new", "relations": [new | {"name": "touches"}]})
    model.schema = schema_of()
    chosen = [
        post.model_copy(
            update={"pairs": tuple(pair for pair in post.pairs or () if pair.relation == "near")}
        )
        for post in examples
    ]
    add_relations(model.to(META), schema, [rename(post) for post in chosen])
    assert model.anchors.device == META and model.anchors.shape == (1, 33)
    assert isinstance(Extractor(model).extract(posts), list)
    assert model.to_empty(device="cpu").anchors.device.type == "cpu"


def rename(post: Post) -> Post:
    """The post with pairs that touch."""
    pairs = [pair.model_copy(update={"relation": "touches"}) for pair in post.pairs or ()]
    return post.model_copy(update={"pairs": tuple(pairs)})


@pytest.mark.parametrize("mode", ["joint", "both", "given"])
@pytest.mark.parametrize("vision", [False, True])
def test_the_loss_of_relations_is_computed_on_the_device(
    tmp_path: Path, tiny_text: str, tiny_vision: str, posts: list[Post], transfers: Any, mode: str,
    vision: bool,
) -> None:  # fmt: skip
    write(labelled(posts), tmp_path / "posts.jsonl")
    (tmp_path / "schema.yaml").write_text(schema_of().to_yaml())
    data = {
        "task": "relations",
        "data": {"train": str(tmp_path / "posts.jsonl"), "dev_fraction": 0.2},
        "schema": str(tmp_path / "schema.yaml"),
        "tagger": None,
        "direction_mode": mode,
        "pair": {"text_encoder": tiny_text, "vision_encoder": tiny_vision if vision else None,
                 "dim": 32, "fusion_heads": 4, "trainable_layers": 1},
        "relation": {"descriptions_per_step": 1},
        "loss": {"gate_weight": 0.1},
    }  # fmt: skip
    task = RelationTask(RelationTrainingConfig.model_validate(data))
    task.model.to(META).train()
    terms = task.loss(task.batches(0)[0])
    assert len(terms) == 2 and {value.device for term in terms for value in term} == {META}
    torch.stack([term.mean for term in terms]).sum().backward()  # type: ignore[no-untyped-call]
    assert not transfers
    task.model.eval()
    assert task.calibrate().order_free >= 0


def test_the_loss_of_a_tagger_is_computed_on_the_device(
    tmp_path: Path, tiny_text: str, transfers: Any
) -> None:
    lines = [f"Ann\tB-PER\nsees\tO\nRome\tB-LOC\n{i}\tO\n" for i in range(20)]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    data = {"task": "tagger", "train": [{"path": tmp_path / "train.txt"}],
            "types": ["PER", "LOC"], "text_encoder": tiny_text}  # fmt: skip
    task = TaggerTask(TaggerConfig.model_validate(data))
    task.model.to(META)
    (term,) = task.loss(task.batches(0)[0])
    assert term.total.device == term.number.device == META and not transfers


def hf_tagger(encoder: TextEncoder) -> HfTagger:
    config = AutoConfig.from_pretrained(encoder.name, num_labels=3)
    model = AutoModelForTokenClassification.from_config(config)
    return HfTagger(model.eval(), encoder.tokenizer, "tiny")


@pytest.mark.parametrize("make", [lambda encoder: TokenTagger(encoder, ["PER"]), hf_tagger])
def test_taggers_run_on_the_device(make: Any, tiny_text: str, transfers: Any) -> None:
    encoder = TextEncoder.load(tiny_text)
    tagger = make(encoder).to(META)
    assert tagger.encoder.device == META
    texts = ["Ann lives in Rome", "Bob"]
    assert len(tagger.detect_entities(texts)) == 2 and len(transfers) == 1
    assert tagger.encoder.embed_sentences(texts).shape == (2, 32) and len(transfers) == 2
