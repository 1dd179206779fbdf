"""Entity types for spans, and spans for raw text, by a tagger that never saw a relation label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rukh.batching import length_buckets
from rukh.encoders.adapt import load_trained_state, read_state
from rukh.encoders.text import Pieces, TextEncoder
from rukh.errors import WeightsError
from rukh.files import read_json
from rukh.records import Post, TextEntity
from rukh.weights import model_folder


class Tagger(Protocol):
    """Finds entities in text, and types entities whose spans are given."""

    def find(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Entities of each text, in order, with ids ``e0``, ``e1`` ..."""

    def type_posts(self, posts: Sequence[Post]) -> list[Post]:
        """The same posts; every text entity without a type has one."""


class TokenTagger(nn.Module):
    """A text encoder with a linear layer over BIO labels, one decision a word.

    Args:
        encoder: Reads the text.
        types: Entity types; the labels are ``O, B-<type>, I-<type> ...`` in their order.

    Example:
        >>> tagger = TokenTagger.from_pretrained("tagger")
        >>> [(e.start, e.end, e.type) for e in tagger.find(["Ann Lee moved to Rome"])[0]]
        [(0, 7, 'PER'), (17, 21, 'LOC')]
    """

    allowed: Tensor

    def __init__(self, encoder: TextEncoder, types: Sequence[str]) -> None:
        super().__init__()
        self.encoder, self.types = encoder, tuple(types)
        self.labels = ("O", *(f"{bio}-{name}" for name in types for bio in "BI"))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(encoder.dim, len(self.labels))
        allowed = torch.ones(len(self.labels), len(self.labels), dtype=torch.bool)
        for after, label in enumerate(self.labels):
            if label.startswith("I-"):
                before = [f"B-{label[2:]}", label]
                allowed[:, after] = torch.tensor([name in before for name in self.labels])
        self.register_buffer("allowed", allowed, persistent=False)

    @classmethod
    def from_pretrained(cls, source: str | Path) -> TokenTagger:
        """Load a shipped tagger by name, or a folder. Raises WeightsError."""
        folder = model_folder(source)
        config = read_json(folder / "config.json")
        if not isinstance(config, dict) or config.get("task") != "tagger":
            raise WeightsError(f"{folder} holds no tagger")
        if lacking := {"text_encoder", "types"} - config.keys():
            raise WeightsError(f"{folder / 'config.json'} lacks {min(lacking)!r}; it is damaged")
        tagger = cls(TextEncoder.load(config["text_encoder"]), config["types"])
        state = read_state(folder / "model.safetensors")
        load_trained_state(tagger, state)
        if lacking := {"head.weight", "head.bias"} - state.keys():
            raise WeightsError(f"{folder} lacks the weights of {min(lacking)!r}; it is damaged")
        return tagger.eval()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Label logits of pieces: ``ids`` and ``mask`` ``(B, T)`` to ``(B, T, labels)``."""
        states = self.encoder(self.encoder.embed(ids), mask)
        logits: Tensor = self.head(self.dropout(states))
        return logits

    @torch.inference_mode()
    def label_probabilities(self, texts: Sequence[str]) -> list[tuple[Pieces, Tensor]]:
        """Pieces of each text with their label probabilities, ``(pieces, labels)``.

        Texts longer than the encoder are read in windows that overlap by half; each piece takes
        its probabilities from the window in which it stands farthest from an edge.
        """
        room = self.encoder.max_length - 2
        pieces = [self.encoder.pieces(text) for text in texts]
        windows = [
            (i, first)
            for i, piece in enumerate(pieces)
            for first in range(0, max(1, len(piece.ids) - room // 2), room // 2)
            if piece.ids
        ]
        out = [torch.zeros(len(piece.ids), len(self.labels)) for piece in pieces]
        margin = [torch.full((len(piece.ids),), -1) for piece in pieces]
        sizes = [min(room, len(pieces[i].ids) - first) for i, first in windows]
        for batch in length_buckets(sizes, 32):
            ids, mask = self.pad([pieces[windows[b][0]].ids[windows[b][1] :][:room] for b in batch])
            probabilities = self(ids, mask).softmax(-1)
            for row, b in enumerate(batch):
                i, first = windows[b]
                span = torch.arange(sizes[b])
                edge = torch.minimum(span, sizes[b] - 1 - span)
                better = edge > margin[i][first : first + sizes[b]]
                where = first + span[better]
                out[i][where] = probabilities[row, 1 : 1 + sizes[b]][better]
                margin[i][where] = edge[better]
        return list(zip(pieces, out, strict=True))

    def pad(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Special tokens and padding around piece ids: ``ids`` and ``mask``, ``(B, T)``."""
        rows = [[self.encoder.start_id, *row, self.encoder.end_id] for row in ids]
        padded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        mask = torch.zeros_like(padded, dtype=torch.bool)
        for i, row in enumerate(rows):
            padded[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = True
        return padded, mask

    def find(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Entities of each text by the best label path that BIO allows, one label a word."""
        found = []
        for text, (pieces, probabilities) in zip(
            texts, self.label_probabilities(texts), strict=True
        ):
            words = _words(text, pieces)
            firsts = [pieces_of_word[0] for pieces_of_word in words]
            path = self._best_path(probabilities[firsts].clamp_min(1e-9).log())
            spans: list[list[Any]] = []
            for word, label in zip(words, path, strict=True):
                end = pieces.offsets[word[-1]][1]
                if label.startswith("B-"):
                    spans.append([pieces.offsets[word[0]][0], end, label[2:]])
                elif label.startswith("I-"):
                    spans[-1][1] = end
            found.append(
                [
                    TextEntity(id=f"e{i}", start=start, end=end, type=name)
                    for i, (start, end, name) in enumerate(spans)
                ]
            )
        return found

    def _best_path(self, scores: Tensor) -> list[str]:
        """Viterbi over the words' label scores, ``(words, labels)``."""
        if not len(scores):
            return []
        step = torch.zeros_like(self.allowed, dtype=scores.dtype).masked_fill(~self.allowed, -1e9)
        inside = torch.tensor([label.startswith("I-") for label in self.labels])
        best = scores[0].masked_fill(inside, -1e9)
        back = []
        for score in scores[1:]:
            total, previous = (best[:, None] + step).max(0)
            best = total + score
            back.append(previous)
        path = [int(best.argmax())]
        for previous in reversed(back):
            path.append(int(previous[path[-1]]))
        return [self.labels[i] for i in reversed(path)]

    def type_posts(self, posts: Sequence[Post]) -> list[Post]:
        """Types for entities that have none: the type with the most label mass over the span."""
        open_ = [i for i, post in enumerate(posts) if any(e.type is None for e in post.entities)]
        out = list(posts)
        answers = self.label_probabilities([posts[i].text for i in open_])
        for i, (pieces, probabilities) in zip(open_, answers, strict=True):
            mass = probabilities[:, 1:].reshape(-1, len(self.types), 2).sum(2)
            entities = []
            for entity in posts[i].entities:
                if entity.type is None:
                    inside = [
                        k
                        for k, (start, end) in enumerate(pieces.offsets)
                        if start < entity.end and end > entity.start
                    ]
                    best = int(mass[inside].sum(0).argmax())
                    entity = entity.model_copy(update={"type": self.types[best]})
                entities.append(entity)
            out[i] = posts[i].model_copy(update={"entities": tuple(entities)})
        return out


def _words(text: str, pieces: Pieces) -> list[list[int]]:
    """Pieces grouped into words: a piece goes on with its word if no white space or punctuation
    parts them.
    """
    words: list[list[int]] = []
    for i, (start, end) in enumerate(pieces.offsets):
        if start == end:
            continue
        joined = (
            words
            and pieces.offsets[words[-1][-1]][1] == start
            and text[start - 1].isalnum()
            and text[start].isalnum()
        )
        if joined:
            words[-1].append(i)
        else:
            words.append([i])
    return words
