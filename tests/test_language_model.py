"""A language model asked of many texts at once says what it says of each alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from rukh.errors import InputError, MissingDependency
from rukh.language_model import Asked, LanguageModel

ASKED = [
    Asked("Ann met Bob", (("How ", "Ann", " Bob?"), ("Who is", "Bob"))),
    Asked("Rome", (("what?",),)),
    Asked("x" * 300, (("y" * 50, "z"), ("z",))),
    Asked("no question", ()),
]


class Letters:
    """A token a letter."""

    def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
        assert not add_special_tokens
        return type("Tokens", (), {"input_ids": [ord(letter) % 200 for letter in text]})


@pytest.fixture(scope="module")
def decoder() -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=200,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    return transformers.Qwen2Model(config).eval()


def model(decoder: Any, layer: int = 2) -> LanguageModel:
    return LanguageModel(copy.deepcopy(decoder), Letters(), layer)


def alone(decoder: Any, text: str, question: tuple[str, ...], layer: int = 2) -> torch.Tensor:
    """The state at the end of a prompt that is read by itself."""
    parts = ["Tweet:", (" " + text)[:160], *question]
    ids = torch.tensor([[ord(letter) % 200 for letter in "".join(parts)]])
    with torch.inference_mode():
        return decoder(ids, output_hidden_states=True).hidden_states[layer][0, -1]


@pytest.mark.parametrize("layer", [1, 2])
def test_packed_prompts_are_read_as_if_alone(decoder: Any, layer: int) -> None:
    found = model(decoder, layer).read(ASKED)
    expected = [alone(decoder, one.text, q, layer) for one in ASKED for q in one.questions]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_whole_numbers_stay_close(decoder: Any) -> None:
    exact, quantized = model(decoder), model(decoder)
    quantized.quantize(ASKED)
    near, exact = quantized.read(ASKED), exact.read(ASKED)
    assert not torch.equal(near, exact)
    assert torch.cosine_similarity(near, exact).min() > 0.999


def test_a_post_with_many_pairs_is_read_in_several_passes(decoder: Any) -> None:
    asked = [Asked("Ann", tuple((f"question {i:02}?" * 6,) for i in range(20)))]
    one = model(decoder)
    assert len(one._packed(asked)) > 2
    expected = torch.stack([alone(decoder, "Ann", q) for q in asked[0].questions])
    torch.testing.assert_close(one.read(asked), expected, atol=1e-5, rtol=1e-4)


def test_a_layer_that_is_not_there(decoder: Any) -> None:
    with pytest.raises(InputError, match="the model has 3 layers, not 4"):
        model(decoder, 4)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model.gguf, and no model.safetensors .*setup.py"):
        LanguageModel.load(tmp_path, 2)


def test_a_folder_that_cannot_be_read(
    decoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder.save_pretrained(tmp_path)  # without a tokenizer
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        LanguageModel.load(tmp_path, 2)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=f"{tmp_path}: cannot read the language model"):
        LanguageModel.load(tmp_path, 2)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("rukh.language_model.find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match=r"rukh\[language\]"):
        LanguageModel.load(tmp_path, 2)


def test_a_folder_of_the_hub(decoder: Any, tiny_text: str, tmp_path: Path) -> None:
    import transformers

    whole = transformers.Qwen2ForCausalLM(decoder.config)
    whole.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_text).save_pretrained(tmp_path)
    assert LanguageModel.load(tmp_path, 2).read([Asked("ann", (("who",),))]).shape == (1, 32)
    with pytest.raises(InputError, match=f"{tmp_path}: the model has 3 layers, not 9"):
        LanguageModel.load(tmp_path, 9)
