"""The model folder: saving, loading, and damage; the bank and the probabilities of a model."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers_modeling import all_pairs
from rukh.arguments.token_tagger import TokenTagger
from rukh.errors import InputError, RukhError, WeightsError
from rukh.extractor import Extractor
from rukh.modeling.adapters import trained_state
from rukh.modeling.inference import score_posts
from rukh.modeling.model import RelationModel, copy_all_weights, copy_initial_weights
from rukh.modeling.model_files import init_from_sha256
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Post

Make = Callable[..., RelationModel]
TEXT = "pair_encoder.text_encoder."


def score(model: RelationModel, posts: list[Post]) -> torch.Tensor:
    pairs = [all_pairs(post) for post in posts]
    scores = score_posts(model, model.bank(), posts, pairs, [None] * len(posts))
    return torch.cat([one.logits for one in scores])


def configure(model: RelationModel, **update: Any) -> RelationModel:
    model.config = model.config.model_copy(update=update)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lora_rank": 2},
        {"trainable_layers": 0, "markers": "pair"},
        {"relation": {"scorer": "classification"}},
        {"relation": {"reduction": "max"}},
    ],
)
def test_a_loaded_model_is_the_saved_one(
    tiny_model: Make, posts: list[Post], tmp_path: Path, options: dict[str, Any]
) -> None:
    model = configure(tiny_model(**options), temperature=1.7, metrics={"val": {"score": 0.5}})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and name.startswith(TEXT):
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save(tmp_path / "one", "# card\n")
    first = RelationModel.from_pretrained(tmp_path / "one")
    assert first.config == model.config and first.schema == model.schema and not first.training
    torch.testing.assert_close(score(first, posts), score(model, posts), atol=0.05, rtol=0.02)
    assert (tmp_path / "one/README.md").read_text() == "# card\n"
    first.save(tmp_path / "two")
    second = RelationModel.from_pretrained(tmp_path / "two")
    assert torch.equal(score(second, posts), score(first, posts))
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


@pytest.mark.parametrize("name", ["mine", "mine/thesis.txt"])
def test_what_is_no_model_is_never_replaced(tiny_model: Make, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    for save in (tiny_model().save, tiny_model().save_pretrained):
        with pytest.raises(InputError) as caught:
            save(str(tmp_path / "mine"))
        assert caught.value.where == str(tmp_path / "mine")
    assert file.read_text() == "mine"


def test_merged_adapters_are_saved_unless_their_encoder_was_trained(
    tiny_model: Make, tmp_path: Path
) -> None:
    tiny_model(lora_rank=2).save(tmp_path / "one")
    model = RelationModel.from_pretrained(tmp_path / "one")
    with torch.no_grad():
        next(model.pair_encoder.text_encoder.parameters()).view(-1)[0] += 1e-4
    with pytest.raises(RukhError, match="start_from"):
        model.save(tmp_path / "two")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_only_trainable_weights_are_stored(tiny_model: Make, tmp_path: Path) -> None:
    tiny_model(trainable_layers=1).save(tmp_path / "m", "")
    state = load_file(tmp_path / "m/model.safetensors")
    text = [name for name in state if name.startswith(TEXT)]
    assert text and all(".layer.1." in name for name in text)
    assert all(value.dtype == torch.float16 for value in state.values())
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_model_initialized_from_a_relation_model(
    tiny_model: Make, posts: list[Post], tmp_path: Path
) -> None:
    tiny_model(lora_rank=2, residual=True).save(tmp_path / "first", "")
    first = RelationModel.from_pretrained(tmp_path / "first")
    second = tiny_model(init_from=str(tmp_path / "first"), residual=True, seed=4)
    assert not torch.equal(score(second, posts), score(first, posts))
    copied = copy_initial_weights(second)
    assert "pair_encoder.output.weight" in copied
    assert not [name for name in copied if name.startswith(TEXT)]
    assert torch.equal(score(second, posts), score(first, posts))
    assert copy_initial_weights(tiny_model()) == []

    configure(second, init_from_sha256=init_from_sha256(second.config.pair))
    second.save(tmp_path / "second", "")
    again = RelationModel.from_pretrained(tmp_path / "second")
    torch.testing.assert_close(score(again, posts), score(second, posts), atol=1e-3, rtol=0.02)
    third = tiny_model(init_from=str(tmp_path / "second"), residual=True, seed=5)
    copy_initial_weights(third)
    assert torch.equal(score(third, posts), score(again, posts))
    # The first one is trained again, so the layers that the second one took from it changed.
    tiny_model(lora_rank=2, residual=True, seed=6).save(tmp_path / "first", "")
    with pytest.raises(WeightsError):
        RelationModel.from_pretrained(tmp_path / "second")


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"trainable_layers": 1}])
def test_a_model_is_trained_further_from_all_its_weights(
    tiny_model: Make, tmp_path: Path, options: dict[str, int]
) -> None:
    first, second = (tiny_model(seed=seed, **options) for seed in (3, 4))
    first.save(tmp_path / "first", "")
    copy_all_weights(second, tmp_path / "first")
    assert second.config.pair.init_from is None  # it does not depend on the first
    expected = {name: value.half().float() for name, value in trained_state(first).items()}
    torch.testing.assert_close(dict(trained_state(second)), expected)
    with pytest.raises(InputError, match=r"dropout is 0\.3; set pair\.dropout=0\.1"):
        copy_all_weights(tiny_model(dropout=0.3, **options), tmp_path / "first")
    save_tagger = tmp_path / "tagger"
    save_tagger.mkdir()
    (save_tagger / "config.json").write_text('{"task": "tagger"}')
    with pytest.raises(WeightsError):
        copy_all_weights(second, save_tagger)


def test_init_from_needs_a_model_with_the_same_text_encoder(
    tiny_model: Make, tiny_mpnet: str, tmp_path: Path
) -> None:
    tiny_model().save(tmp_path / "m", "")
    with pytest.raises(InputError) as error:
        tiny_model(init_from=str(tmp_path / "m"), text_encoder=tiny_mpnet)
    assert error.value.field == "pair.init_from" and "pair.text_encoder=" in str(error.value.fix)
    (tmp_path / "m/config.json").write_text("{}")
    with pytest.raises(WeightsError):
        tiny_model(init_from=str(tmp_path / "m"))


@pytest.fixture
def saved(tiny_model: Make, tmp_path: Path) -> Path:
    tiny_model().save(tmp_path / "m", "")
    return tmp_path / "m"


def edit_config(folder: Path, **update: Any) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(data | update))


def drop_tensor(folder: Path, prefix: str) -> None:
    state = load_file(folder / "model.safetensors")
    del state[next(name for name in sorted(state) if name.startswith(prefix))]
    save_file(state, folder / "model.safetensors")


def truncate(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (truncate, WeightsError, "model.safetensors"),
        (lambda m: (m / "model.safetensors").unlink(), WeightsError, "model.safetensors"),
        (lambda m: drop_tensor(m, "scorer."), WeightsError, "scorer."),
        (lambda m: drop_tensor(m, TEXT), WeightsError, TEXT),
        (lambda m: (m / "config.json").unlink(), WeightsError, "config.json"),
        (lambda m: (m / "config.json").write_text("{"), InputError, "config.json"),
        (lambda m: (m / "config.json").write_text("[]"), WeightsError, "m"),
        (lambda m: edit_config(m, task="tagger"), WeightsError, "m"),
        (lambda m: edit_config(m, colour="red"), InputError, "colour"),
        (lambda m: edit_config(m, temperature=-1), InputError, "temperature"),
        (lambda m: edit_config(m, visual_dim=99), WeightsError, "pair_encoder.patch_projection"),
        (lambda m: edit_config(m, anchored_relations=["near"]), WeightsError, "anchors"),
        (lambda m: edit_config(m, background_pairs=3), WeightsError, "background.safetensors"),
        (lambda m: (m / "schema.yaml").unlink(), InputError, "schema.yaml"),
        (lambda m: (m / "schema.yaml").write_text("name: x"), InputError, "relations"),
    ],
)
def test_a_damaged_folder_is_refused(
    saved: Path, damage: Callable[[Path], None], error: type[RukhError], message: str
) -> None:
    damage(saved)
    with pytest.raises(error, match=message) as caught:
        RelationModel.from_pretrained(saved)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


class Hub:
    """A hub that keeps the uploaded files in a folder, and records what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.created: dict[str, Any] = {}
        self.uploaded: dict[str, Any] = {}
        self.revision: str | None = None
        self.local_only: list[bool] = []

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> Any:
        self.created = {"repo_id": repo_id, "private": private}
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, folder_path: Path, **options: Any) -> str:
        self.uploaded = options
        for file in self.folder.glob(options["delete_patterns"]):
            file.unlink()
        shutil.copytree(folder_path, self.folder, dirs_exist_ok=True)
        return "the address of the commit"

    def snapshot_download(
        self, name: str, *, revision: str | None, local_files_only: bool, **_: object
    ) -> str:
        self.local_only.append(local_files_only)
        if name != self.uploaded.get("repo_id"):
            raise OSError("not found")
        self.revision = revision
        return str(self.folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    import huggingface_hub

    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    for name in ("create_repo", "upload_folder"):
        monkeypatch.setattr(huggingface_hub.HfApi, name, staticmethod(getattr(hub, name)))
    return hub


@pytest.mark.parametrize("rank", [0, 2])
def test_a_pushed_model_is_loaded_by_its_name(
    tiny_model: Make,
    posts: list[Post],
    saved: Path,
    hub: Hub,
    caplog: pytest.LogCaptureFixture,
    rank: int,
) -> None:
    tiny_model(lora_rank=rank).save(saved)
    model = RelationModel.from_pretrained(saved)
    hub.folder.mkdir()
    (hub.folder / "background.safetensors").write_bytes(b"of an older model")
    options = {"private": True, "commit_message": "a message", "branch": "dev"}
    assert model.push_to_hub("org/mine", **options) == "the address of the commit"
    assert hub.created == {"repo_id": "org/mine", "private": True}
    assert hub.uploaded["commit_message"] == "a message" and hub.uploaded["revision"] == "dev"
    assert model.config.pair.text_encoder in caplog.text  # a path of this machine
    for file in saved.iterdir():
        same = file.read_bytes() == (hub.folder / file.name).read_bytes()
        assert same == (file.name != "README.md")
    assert {file.name for file in hub.folder.iterdir()} == {file.name for file in saved.iterdir()}
    card = (hub.folder / "README.md").read_text()
    assert "library_name: rukh" in card and 'from_pretrained("org/mine")' in card

    loaded = RelationModel.from_pretrained("org/mine", revision="v1", device="cpu")
    assert hub.revision == "v1" and torch.equal(score(loaded, posts), score(model, posts))
    extractor = Extractor.from_pretrained("org/mine", revision="v2", device="cpu")
    assert hub.revision == "v2" and extractor.model.config == model.config
    assert copy.deepcopy(loaded).config == pickle.loads(pickle.dumps(loaded)).config
    loaded.save_pretrained(saved, push_to_hub=True, repo_id="org/other")
    assert hub.created["repo_id"] == "org/other"
    copy_all_weights(tiny_model(lora_rank=rank, seed=4), "org/other")  # start_from: org/other


def test_what_a_configuration_names_is_not_downloaded(tiny_model: Make, hub: Hub) -> None:
    for load in (lambda name: tiny_model(init_from=name), TokenTagger.from_pretrained):
        with pytest.raises(WeightsError, match="rukh weights fetch org/other"):
            load("org/other")
    assert hub.local_only == [True, True]
    with pytest.raises(WeightsError, match="org/other"):
        RelationModel.from_pretrained("org/other")
    assert hub.local_only[-1] is False


def test_what_cannot_be_pushed(
    tiny_model: Make, hub: Hub, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    for push in (model.push_to_hub, partial(model.save_pretrained, saved, push_to_hub=True)):
        with pytest.raises(InputError, match="repo_id"):
            push(repo_id="mine")
    with pytest.raises(InputError, match="config"):
        model.save_pretrained(saved, config={"temperature": 2})

    def refuse(**_: object) -> None:
        raise OSError("no\nroute")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", staticmethod(refuse))
    with pytest.raises(WeightsError, match="org/mine.*no route"):
        model.push_to_hub("org/mine")


def test_a_missing_text_encoder_is_named(saved: Path) -> None:
    data = json.loads((saved / "config.json").read_text())
    edit_config(saved, pair=data["pair"] | {"text_encoder": "no/where"})
    with pytest.raises(WeightsError, match="no/where"):
        RelationModel.from_pretrained(saved)


def test_the_pretrained_encoder_embeds_the_descriptions(tiny_model: Make, tiny_text: str) -> None:
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.pair_encoder.text_encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        bank = model.bank()
        vectors = TextEncoder.load(tiny_text).eval().embed_sentences(list(bank.descriptions))
    torch.testing.assert_close(bank.vectors, vectors, atol=1e-6, rtol=1e-5)


def test_a_changed_text_encoder_is_not_served_from_the_cache(
    tiny_model: Make, tiny_text: str, tmp_path: Path, cache: Path
) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    for file in Path(tiny_text).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    first = tiny_model(text_encoder=str(folder)).bank().vectors
    assert torch.equal(tiny_model(text_encoder=str(folder)).bank().vectors, first)
    state = load_file(folder / "model.safetensors")
    state = {name: value + torch.randn_like(value) * 0.1 for name, value in state.items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    second = tiny_model(text_encoder=str(folder)).bank().vectors
    assert not torch.allclose(first, second, atol=1e-2)


def test_a_bank_knows_which_relations_were_trained(tiny_model: Make) -> None:
    """By name and description; the others have a temperature and a shift of their own."""
    model = configure(tiny_model(), temperature=2.0, unseen_temperature=4.0, unseen_shift=1.0)
    model = configure(model, threshold=0.5, unseen_threshold=0.7)
    near, works_at = model.schema.relation("near"), model.schema.relation("works_at")
    other = works_at.model_copy(update={"descriptions": ("the head is a boat",), "inverse": None})
    schema = model.schema.model_copy(update={"relations": (near, other), "nota": None})
    bank = model.bank(schema)
    assert model.bank().trained is None
    assert bank.trained is not None and bank.trained.tolist() == [True, True, False]
    assert (model.threshold(bank), model.threshold(model.bank())) == (0.7, 0.5)
    taught = replace(model.bank(), anchors=torch.zeros(1))
    assert model.threshold(taught) == 0.7
    logits = torch.tensor([[0.0, 4.0, 2.0]])
    expected = torch.tensor([[0.0, 1.0, 0.75]]).softmax(-1)
    torch.testing.assert_close(model.probabilities(logits, bank), expected)
    expected = torch.tensor([[0.0, 2.0, 0.5, 0.5, 1.0]]).softmax(-1)
    logits = torch.tensor([[0.0, 4.0, 1.0, 1.0, 2.0]])
    torch.testing.assert_close(model.probabilities(logits, model.bank()), expected)


def test_an_extractor_checks_the_relations_of_a_classification_model(tiny_model: Make) -> None:
    model = tiny_model(relation={"scorer": "classification"})
    assert Extractor(model).schema is model.schema
    shorter = model.schema.model_copy(update={"relations": model.schema.relations[:2]})
    with pytest.raises(InputError):
        Extractor(model, schema=shorter)
