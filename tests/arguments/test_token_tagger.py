"""The tagger: best paths, windows over long texts, and types for given spans."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from rukh.arguments.token_tagger import TokenTagger
from rukh.errors import WeightsError
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Post


@pytest.fixture
def tagger(tiny_text: str) -> TokenTagger:
    torch.manual_seed(5)
    tagger = TokenTagger(TextEncoder.load(tiny_text), ["PER", "LOC"]).eval()
    torch.nn.init.normal_(tagger.head.weight, std=0.5)
    return tagger


def allowed(path: tuple[str, ...]) -> bool:
    return all(
        not label.startswith("I-") or before[2:] == label[2:]
        for before, label in zip(("O", *path), path, strict=False)
    )


def test_the_best_path_is_the_best_of_all_allowed(tagger: TokenTagger) -> None:
    labels = tagger.labels
    assert labels == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    for seed in range(20):
        torch.manual_seed(seed)
        scores = torch.randn(4, len(labels)) * 3
        paths = [p for p in itertools.product(range(len(labels)), repeat=4)
                 if allowed(tuple(labels[k] for k in p))]  # fmt: skip
        best = max(paths, key=lambda p: sum(float(scores[i, k]) for i, k in enumerate(p)))
        assert tagger._best_path(scores) == [labels[k] for k in best]
    assert tagger._best_path(scores[:0]) == []


@pytest.mark.parametrize("words", [1, 125, 126, 127, 188, 189, 190, 700])
def test_every_piece_of_a_long_text_is_read_once(tagger: TokenTagger, words: int) -> None:
    ((pieces, found),) = tagger.label_probabilities(
        ["ann boat " * (words // 2) + "ann"[: words % 2 * 3]]
    )
    assert len(pieces.ids) == len(found) == words
    torch.testing.assert_close(found.sum(-1), torch.ones(words))


def test_windows_take_the_better_context(tagger: TokenTagger) -> None:
    """A piece in the middle of a window is read as if that window were the whole text."""
    room = tagger.encoder.max_length - 2
    text = " ".join(["ann", "lives", "in", "oslo", "."] * 60)
    ((pieces, found),) = tagger.label_probabilities([text])
    half = room // 2
    ids, mask = tagger.pad([pieces.ids[half : half + room]])
    with torch.inference_mode():
        window = tagger(ids, mask).softmax(-1)[0, 1:-1]
    middle = room // 2
    torch.testing.assert_close(found[half + middle], window[middle], atol=1e-5, rtol=1e-4)


def test_texts_do_not_depend_on_each_other(tagger: TokenTagger) -> None:
    texts = ["ann in oslo", "", "\u200b", "🙂 مر\r\nAcme", "boat " * 300, "ann-bob"]
    together = tagger.find(texts)
    assert together == [tagger.find([text])[0] for text in texts]
    assert together[1] == together[2] == []
    for text, found in zip(texts, together, strict=True):
        for before, after in itertools.pairwise(found):
            assert before.end <= after.start
        for i, entity in enumerate(found):
            assert entity.id == f"e{i}" and entity.type in tagger.types
            assert text[entity.start : entity.end].strip() == text[entity.start : entity.end]
    assert tagger.find([]) == []


def test_only_entities_without_a_type_are_typed(tagger: TokenTagger) -> None:
    post = Post(
        id="p",
        text="Ann in Oslo \u200b",
        entities=(
            {"id": "a", "start": 0, "end": 3, "type": "GIVEN"},
            {"id": "o", "start": 7, "end": 11},
            {"id": "nothing", "start": 12, "end": 13},
        ),
        objects=({"id": "x", "box": (0, 0, 1, 1)},),
    )
    given = Post(id="q", text="Ann", entities=({"id": "a", "start": 0, "end": 3, "type": "X"},))
    typed, same = tagger.type_posts([post, given])
    assert same is given
    assert typed.entities[0].type == "GIVEN" and typed.objects == post.objects
    assert all(entity.type in tagger.types for entity in typed.entities[1:])
    ((_, found),) = tagger.label_probabilities([post.text])
    oslo = found[2:3, 1:].reshape(2, 2).sum(1)
    assert typed.entities[1].type == tagger.types[int(oslo.argmax())]
    assert tagger.type_posts([]) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "holds no tagger"),
        ({"task": "relations"}, "holds no tagger"),
        ({"task": "tagger", "types": ["PER"]}, "lacks 'text_encoder'"),
        ({"task": "tagger", "types": ["PER"], "text_encoder": "TINY"}, "cannot read weights"),
    ],
)
def test_what_is_no_tagger(tmp_path: Path, tiny_text: str, config: object, message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config).replace("TINY", tiny_text))
    with pytest.raises(WeightsError, match=message):
        TokenTagger.from_pretrained(tmp_path)
