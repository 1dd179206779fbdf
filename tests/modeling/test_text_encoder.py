"""Text encoders of several families: length, masks, offsets, and sentence embeddings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rukh.errors import WeightsError
from rukh.modeling.text_encoder import TextEncoder


def encode(encoder: TextEncoder, ids: list[int], mask: list[bool] | None = None) -> torch.Tensor:
    batch = torch.tensor([ids])
    with torch.no_grad():
        states: torch.Tensor = encoder(
            encoder.embed_tokens(batch), torch.tensor([mask or [True] * len(ids)])
        )
    return states[0]


@pytest.mark.parametrize(
    ("kind", "max_length"),
    [
        ("bert", 128),
        ("electra", 128),
        ("distilbert", 128),
        ("mpnet", 126),
        ("roberta", 126),
        ("xlm-roberta", 126),
    ],
)
def test_a_text_of_maximum_length_is_encoded_and_padding_is_ignored(
    encoder_folder: Callable[..., str], kind: str, max_length: int
) -> None:
    changes = {"pad_token_id": 1} if "roberta" in kind else {}
    encoder = TextEncoder.load(encoder_folder(kind, **changes)).eval()
    assert encoder.max_length == max_length
    states = encode(encoder, [5] * max_length)
    assert states.shape == (max_length, 32) and states.isfinite().all()
    one, other = (encode(encoder, [2, 40, 50, last], [True] * 3 + [False]) for last in (3, 60))
    torch.testing.assert_close(one[:3], other[:3])


@pytest.mark.parametrize(("kind", "differs"), [("bert", True), ("distilbert", False)])
def test_segments(encoder_folder: Callable[..., str], kind: str, differs: bool) -> None:
    encoder = TextEncoder.load(encoder_folder(kind)).eval()
    embeddings = encoder.embed_tokens(torch.tensor([[2, 40, 50, 3]]))
    mask = torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        plain = encoder(embeddings, mask)
        segments = encoder(embeddings, mask, torch.tensor([[0, 0, 1, 1]]))
    assert torch.allclose(plain, segments, atol=1e-3) != differs


def test_offsets_are_characters(tiny_text: str) -> None:
    encoder = TextEncoder.load(tiny_text)
    text = "Ann 🙂 wórks\r\nat\u200b Acme"
    tokens = encoder.tokenize(text)
    assert len(tokens.ids) == len(tokens.offsets)
    assert [text[a:b] for a, b in tokens.offsets][:2] == ["Ann", "🙂"]
    assert tokens.offsets == sorted(tokens.offsets)
    assert encoder.tokenize("") == encoder.tokenize("\u200b") == ([], [])


def test_a_sentence_embedding_is_the_mean_state_and_does_not_depend_on_the_batch(
    tiny_text: str,
) -> None:
    encoder = TextEncoder.load(tiny_text).eval()
    texts = ["ann", "the head works at the tail", "a", "boat " * 400, "near"]
    with torch.no_grad():
        together = encoder.embed_sentences(texts, batch_size=2)
        alone = torch.cat([encoder.embed_sentences([text]) for text in texts])
    ids = [encoder.start_id, *encoder.tokenize(texts[1]).ids, encoder.end_id]
    mean = encode(encoder, ids).mean(0)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together[1], mean / mean.norm(), atol=1e-5, rtol=1e-4)
    assert encoder.embed_sentences([]).shape == (0, 32)


def test_unknown_weights() -> None:
    with pytest.raises(WeightsError, match="no/where"):
        TextEncoder.load("no/where")
