"""A model's folder: what is saved comes back, and what is damaged says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rukh.errors import RukhError, WeightsError
from rukh.extractor import Extractor
from rukh.modeling.inference import score_posts
from rukh.modeling.model import RelationModel, init_from_sha256, start_heads
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Post

Make = Callable[..., RelationModel]


def logits(model: RelationModel, posts: list[Post]) -> torch.Tensor:
    pairs = [[(a.id, b.id) for a in p.arguments for b in p.arguments if a != b] for p in posts]
    scored = score_posts(model, model.bank(), posts, pairs, [None] * len(posts))
    return torch.cat([s.logits for s in scored])


def changed(model: RelationModel, **update: Any) -> RelationModel:
    model.config = model.config.model_copy(update=update)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lora_rank": 2, "markers": "levitated"},
        {"trainable_layers": 0, "markers": "pair"},
        {"relation": {"head": "classifier"}},
        {"relation": {"encoder": "shared", "reduction": "max"}},
    ],
)
def test_round_trip(
    tiny_model: Make, posts: list[Post], tmp_path: Path, options: dict[str, Any]
) -> None:
    model = tiny_model(**options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and name.startswith("pair_encoder.text_encoder."):
                parameter.add_(torch.randn_like(parameter) * 0.05)
    changed(model, temperature=1.7, threshold=0.25, figures={"fold": {"score": 0.5}})
    model.save(tmp_path / "one", "# card\n")
    first = RelationModel.from_pretrained(tmp_path / "one")
    assert first.config == model.config and first.schema == model.schema
    assert not first.training
    torch.testing.assert_close(logits(first, posts), logits(model, posts), atol=0.05, rtol=0.02)
    assert (tmp_path / "one/README.md").read_text() == "# card\n"
    if "lora_rank" in options:
        with pytest.raises(RukhError, match="merged"):
            first.save(tmp_path / "two", "# card\n")
        return
    first.save(tmp_path / "two", "# card\n")
    second = RelationModel.from_pretrained(tmp_path / "two")
    torch.testing.assert_close(logits(second, posts), logits(first, posts), atol=0, rtol=0)
    for name in ("config.json", "model.safetensors", "schema.yaml", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_model_starts_from_a_relation_model_and_needs_it(
    tiny_model: Make, posts: list[Post], tmp_path: Path
) -> None:
    """The text encoder comes with it, the heads are copied, and what is saved names its hash."""
    first = tiny_model(lora_rank=2, residual=True)
    first.save(tmp_path / "first", "")
    first = RelationModel.from_pretrained(tmp_path / "first")
    initial = str(tmp_path / "first")
    second = tiny_model(initial=initial, residual=True, seed=4)
    assert not torch.equal(logits(second, posts), logits(first, posts))
    copied = start_heads(second)
    assert "pair_encoder.output.weight" in copied and not any(n.startswith("pair_encoder.text_encoder.") for n in copied)
    torch.testing.assert_close(logits(second, posts), logits(first, posts), atol=0, rtol=0)

    changed(second, init_from_sha256=init_from_sha256(second.config.pair))
    second.save(tmp_path / "second", "")
    again = RelationModel.from_pretrained(tmp_path / "second")
    torch.testing.assert_close(logits(again, posts), logits(second, posts), atol=1e-3, rtol=0.02)
    tiny_model(lora_rank=2, residual=True, seed=5).save(tmp_path / "first", "")
    with pytest.raises(WeightsError, match="was trained from another"):
        RelationModel.from_pretrained(tmp_path / "second")


def test_a_model_that_starts_from_a_tagger_keeps_its_own_heads(tiny_model: Make) -> None:
    assert start_heads(tiny_model()) == []


def test_only_what_training_may_change_is_stored(tiny_model: Make, tmp_path: Path) -> None:
    model = tiny_model(trainable_layers=1)
    model.save(tmp_path / "m", "")
    state = load_file(tmp_path / "m/model.safetensors")
    text = {name for name in state if name.startswith("pair_encoder.text_encoder.")}
    assert text and all(".layer.1." in name for name in text)
    assert all(value.dtype == torch.float16 for value in state.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


@pytest.fixture
def saved(tiny_model: Make, tmp_path: Path) -> Path:
    tiny_model().save(tmp_path / "m", "")
    return tmp_path / "m"


def break_config(folder: Path, **update: Any) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(data | update))


def drop(folder: Path, prefix: str) -> None:
    state = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(state) if name.startswith(prefix))
    save_file({k: v for k, v in state.items() if k != name}, folder / "model.safetensors")


def cut(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "cannot read weights from .*model.safetensors"),
        (lambda m: (m / "model.safetensors").unlink(), "cannot read weights from .*safetensors"),
        (lambda m: (m / "model.safetensors").write_bytes(b""), "cannot read weights"),
        (lambda m: drop(m, "scorer."), "lacks the weights of 'scorer"),
        (lambda m: drop(m, "pair_encoder.text_encoder."), "lacks the weights of 'pair_encoder.text_encoder"),
        (lambda m: (m / "config.json").unlink(), "no model .*not a folder with a config.json"),
        (lambda m: (m / "config.json").write_text("{"), "config.json:1: not JSON"),
        (lambda m: (m / "config.json").write_text("[]"), "holds no relation model"),
        (lambda m: break_config(m, task="tagger"), "holds no relation model"),
        (lambda m: break_config(m, colour="red"), "config.json: colour: "),
        (lambda m: break_config(m, temperature=-1), "config.json: temperature: "),
        (lambda m: break_config(m, visual_dim=99), "do not fit the model at 'pair_encoder.patch_projection"),
        (lambda m: (m / "schema.yaml").unlink(), "schema.yaml: cannot read schema"),
        (lambda m: (m / "schema.yaml").write_text("name: x"), "schema.yaml: relations"),
    ],
)
def test_what_is_damaged_says_so(saved: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(saved)
    with pytest.raises(RukhError, match=message) as caught:
        RelationModel.from_pretrained(saved)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_the_base_encoder_has_to_be_there(saved: Path) -> None:
    data = json.loads((saved / "config.json").read_text())
    break_config(saved, pair=data["pair"] | {"text_encoder": "no/where"})
    with pytest.raises(WeightsError, match="no text encoder 'no/where'"):
        RelationModel.from_pretrained(saved)


def test_the_bank_follows_the_encoders_weights_not_its_place(
    tiny_model: Make, tiny_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder whose encoder is replaced must not be answered from the cache."""
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "encoder"
    folder.mkdir()
    for file in Path(tiny_text).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    first = tiny_model(text_encoder=str(folder)).bank().vectors
    assert torch.equal(tiny_model(text_encoder=str(folder)).bank().vectors, first)
    state = load_file(folder / "model.safetensors")
    state = {k: v + torch.randn_like(v) * 0.1 for k, v in state.items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    second = tiny_model(text_encoder=str(folder)).bank().vectors
    assert not torch.allclose(first, second, atol=1e-2)


def test_the_frozen_tower_is_the_base_encoder(tiny_model: Make, tiny_text: str) -> None:
    model = tiny_model(trainable_layers=2)
    with torch.no_grad():
        for parameter in model.pair_encoder.text_encoder.parameters():
            parameter.add_(0.1)
        bank = model.bank()
        base = TextEncoder.load(tiny_text).eval().sentences(list(bank.descriptions))
    torch.testing.assert_close(bank.vectors, base, atol=1e-6, rtol=1e-5)
    shared = tiny_model(relation={"encoder": "shared"})
    with torch.no_grad():
        for parameter in shared.pair_encoder.text_encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    assert not torch.allclose(shared.bank().vectors, base, atol=1e-2)


def test_probabilities_are_tempered(tiny_model: Make) -> None:
    model = changed(tiny_model(), temperature=2.0)
    found = model.probabilities(torch.tensor([[0.0, 4.0, 1.0, 1.0, 2.0]]), model.bank())
    torch.testing.assert_close(found, torch.tensor([[0.0, 2.0, 0.5, 0.5, 1.0]]).softmax(-1))


def test_a_classifier_takes_no_other_schema_from_the_start(tiny_model: Make) -> None:
    model = tiny_model(relation={"head": "classifier"})
    assert Extractor(model).schema is model.schema
    short = model.schema.model_copy(update={"relations": model.schema.relations[:2]})
    with pytest.raises(RukhError, match="cannot take relations"):
        Extractor(model, schema=short)


def test_a_joint_decision_is_the_same_in_both_orders(tiny_model: Make, posts: list[Post]) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update={"order": "joint"})
    post = posts[0]
    bank = model.bank()
    (scored,) = score_posts(model, bank, [post], [[("a", "org"), ("org", "a")]], [None])
    asked, turned = model.probabilities(scored.logits, bank)
    names = ("none", *bank.names)
    told = [dict(zip(names, row.tolist(), strict=True)) for row in (asked, turned)]
    assert told[0]["near"] == pytest.approx(told[1]["near"], rel=1e-4)
    assert told[0]["works_at"] == pytest.approx(told[1]["employs"], rel=1e-4)
    assert told[0]["lives_in"] + told[1]["lives_in"] <= 1
    assert asked.sum().item() == pytest.approx(1)
