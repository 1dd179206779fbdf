"""Text encoders of any family read up to their own bound, and pool as they should."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rukh.errors import WeightsError
from rukh.modeling.text_encoder import TextEncoder


def read(encoder: TextEncoder, ids: list[int]) -> torch.Tensor:
    batch = torch.tensor([ids])
    positions = torch.arange(len(ids))[None]
    with torch.no_grad():
        states: torch.Tensor = encoder(
            encoder.embed(batch), torch.ones_like(batch, dtype=torch.bool), positions
        )
    return states


@pytest.mark.parametrize(
    ("kind", "usable", "takes"),
    [
        ("bert", 128, True),
        ("electra", 128, True),
        ("distilbert", 128, True),
        ("mpnet", 126, False),
        ("roberta", 126, False),
        ("xlm-roberta", 126, False),
    ],
)
def test_the_whole_length_can_be_read(
    encoder_folder: Callable[..., str], kind: str, usable: int, takes: bool
) -> None:
    changes = {"pad_token_id": 1} if "roberta" in kind else {}
    encoder = TextEncoder.load(encoder_folder(kind, **changes)).eval()
    assert (encoder.max_length, encoder.takes_positions) == (usable, takes)
    states = read(encoder, [5] * usable)
    assert states.shape == (1, usable, 32) and states.isfinite().all()


@pytest.mark.parametrize("kind", ["bert", "electra", "distilbert", "ernie"])
def test_chosen_positions_are_heeded(encoder_folder: Callable[..., str], kind: str) -> None:
    encoder = TextEncoder.load(encoder_folder(kind)).eval()
    batch = torch.tensor([[2, 40, 50, 3]])
    mask = torch.ones_like(batch, dtype=torch.bool)
    embeds = encoder.embed(batch)
    with torch.no_grad():
        plain = encoder(embeds, mask)
        same = encoder(embeds, mask, torch.tensor([[0, 1, 2, 3]]))
        other = encoder(embeds, mask, torch.tensor([[0, 2, 1, 3]]))
        order = [0, 2, 1, 3]
        moved = encoder(embeds[:, order], mask, torch.tensor([[0, 2, 1, 3]]))
    torch.testing.assert_close(plain, same)
    assert not torch.allclose(plain, other, atol=1e-3)
    torch.testing.assert_close(plain[:, order], moved, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mpnet"])
def test_a_matrix_of_who_sees_whom(encoder_folder: Callable[..., str], kind: str) -> None:
    """What a position cannot see cannot change it, and a matrix of equal rows is padding."""
    encoder = TextEncoder.load(encoder_folder(kind)).eval()
    a, b = torch.tensor([[2, 40, 50, 3]]), torch.tensor([[2, 40, 50, 60]])
    rows = torch.tensor([[True, True, True, False]])
    square = rows[:, None].expand(1, 4, 4).clone()
    square[:, 3, 3] = True
    with torch.no_grad():
        one, other = (encoder(encoder.embed(ids), square) for ids in (a, b))
        padded = encoder(encoder.embed(a), rows)
    torch.testing.assert_close(one[:, :3], other[:, :3])
    assert not torch.allclose(one[:, 3], other[:, 3], atol=1e-3)
    torch.testing.assert_close(one[:, :3], padded[:, :3], atol=1e-5, rtol=1e-4)


def test_tokens_cover_the_text_by_characters(tiny_text: str) -> None:
    encoder = TextEncoder.load(tiny_text)
    text = "Ann 🙂 wórks\r\nat\u200b Acme"
    pieces = encoder.tokenize(text)
    assert len(pieces.ids) == len(pieces.offsets)
    assert [text[a:b] for a, b in pieces.offsets][:2] == ["Ann", "🙂"]
    assert pieces.offsets == sorted(pieces.offsets)
    assert encoder.tokenize("") == encoder.tokenize("\u200b") == ([], [])


def test_sentences_are_the_mean_of_their_states_whatever_stands_beside_them(
    tiny_text: str,
) -> None:
    encoder = TextEncoder.load(tiny_text).eval()
    texts = ["ann", "the head works at the tail", "a", "boat " * 400, "near"]
    with torch.no_grad():
        together = encoder.sentences(texts, batch_size=2)
        ids = [encoder.start_id, *encoder.tokenize(texts[1]).ids, encoder.end_id]
        mean = read(encoder, ids)[0].mean(0)
        alone = torch.cat([encoder.sentences([text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together[1], mean / mean.norm(), atol=1e-5, rtol=1e-4)
    assert encoder.sentences([]).shape == (0, 32)


def test_what_is_not_there() -> None:
    with pytest.raises(WeightsError, match="no text encoder 'no/where'"):
        TextEncoder.load("no/where")
