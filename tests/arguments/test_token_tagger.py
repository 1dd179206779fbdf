"""Tests of the shipped tagger's architecture: best label sequences, and windows of long texts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from rukh.arguments.sliding_window import pad
from rukh.arguments.token_tagger import TokenTagger
from rukh.errors import WeightsError
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Post


@pytest.fixture(scope="module")
def tagger(tiny_text: str) -> TokenTagger:
    torch.manual_seed(5)
    tagger = TokenTagger(TextEncoder.load(tiny_text), ["PER", "LOC"]).eval()
    torch.nn.init.normal_(tagger.head.weight, std=0.5)
    return tagger


def is_valid(path: tuple[str, ...]) -> bool:
    return all(
        not label.startswith("I-") or before[2:] == label[2:]
        for before, label in zip(("O", *path), path, strict=False)
    )


def test_best_labels_maximize_over_all_valid_sequences(tagger: TokenTagger) -> None:
    labels = tagger.labels
    assert labels == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    paths = [
        path
        for path in itertools.product(range(len(labels)), repeat=4)
        if is_valid(tuple(labels[k] for k in path))
    ]
    for seed in range(20):
        torch.manual_seed(seed)
        scores = torch.randn(4, len(labels)).log_softmax(-1)
        best = max(paths, key=lambda path: sum(float(scores[i, k]) for i, k in enumerate(path)))
        assert tagger.best_labels(scores.exp()) == list(best)
    assert tagger.best_labels(scores[:0]) == []


@pytest.mark.parametrize("words", [1, 125, 126, 127, 188, 189, 190, 700])
def test_every_token_of_a_long_text_has_probabilities(tagger: TokenTagger, words: int) -> None:
    text = "ann boat " * (words // 2) + "ann"[: words % 2 * 3]
    ((tokens, probabilities),) = tagger.classify([text])
    assert len(tokens.ids) == len(probabilities) == words
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(words))


def test_token_is_read_in_the_window_with_most_context(tagger: TokenTagger) -> None:
    size = tagger.encoder.max_length - 2
    ((tokens, probabilities),) = tagger.classify(["ann lives in oslo . " * 60])
    start = middle = size // 2
    with torch.inference_mode():
        ids, mask = pad(tagger.encoder, [tokens.ids[start : start + size]])
        window = tagger(ids, mask, mask.long()).softmax(-1)[0, 1:-1]
    torch.testing.assert_close(probabilities[start + middle], window[middle], atol=1e-5, rtol=1e-4)


def test_assign_types(tagger: TokenTagger) -> None:
    post = Post(
        id="p",
        text="Ann in Oslo \u200b",
        entities=(
            {"id": "o", "start": 7, "end": 11},
            {"id": "without tokens", "start": 12, "end": 13},
        ),
    )
    (typed,) = tagger.assign_types([post])
    ((_, probabilities),) = tagger.classify([post.text])
    by_type = probabilities[2, 1:].reshape(2, 2).sum(1)
    assert typed.entities[0].type == tagger.types[int(by_type.argmax())]
    confidence = float(by_type.max() / by_type.sum())
    assert typed.entities[0].type_confidence == pytest.approx(confidence)
    assert (typed.entities[1].type, typed.entities[1].type_confidence) == ("MISC", 0.0)


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ([], "tagger"),
        ({"task": "relations"}, "tagger"),
        ({"task": "tagger", "types": ["PER"]}, "'text_encoder'"),
        ({"task": "tagger", "types": ["PER"], "text_encoder": "TINY"}, "model.safetensors"),
    ],
)
def test_folder_without_a_tagger(tmp_path: Path, tiny_text: str, config: object, part: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config).replace("TINY", tiny_text))
    with pytest.raises(WeightsError, match=part):
        TokenTagger.from_pretrained(tmp_path)
