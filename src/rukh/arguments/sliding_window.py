"""Taggers that label each token and read long texts in overlapping windows."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rukh.arguments.label_map import normalize_label
from rukh.arguments.tagger import assign_missing_types, to_entities
from rukh.modeling.device import to_device
from rukh.modeling.text_encoder import TextEncoder, TokenizedText
from rukh.records import Post, TextEntity
from rukh.utils.batching import batches_by_length

BATCH_SIZE = 32


class Label(NamedTuple):
    """A label of a token classifier.

    Attributes:
        begins, ends: Whether a word with this label begins or ends an entity.
        name: The entity type as the model spells it; empty for words outside of entities.
        type: The type, see :mod:`rukh.arguments.label_map`. None for words outside of entities.
    """

    begins: bool
    ends: bool
    name: str
    type: str | None

    @classmethod
    def parse(cls, text: str) -> Label:
        """Parse a label of the scheme IO, BIO, BILOU or BIOES.

        Example:
            >>> Label.parse("B-person")
            Label(begins=True, ends=False, name='person', type='PER')
        """
        if text.upper() == "O":
            return cls(False, False, "", None)
        match = re.fullmatch(r"(?:([BILUES])-)?(.+)", text, re.I | re.S)
        prefix, name = ((match[1] or "I").upper(), match[2]) if match else ("I", text)
        return cls(prefix in "BUS", prefix in "LEUS", name, normalize_label(name) if name else None)


TokenLabels: TypeAlias = tuple[TokenizedText, Tensor]
"""The tokens of a text, and their label probabilities of shape ``(tokens, labels)``, which are in
the CPU's memory."""


class TokenClassifier(ABC):
    """Base class of taggers that predict a label for each token.

    Attributes:
        encoder: The text encoder, whose tokenizer and maximum length are used.
        parsed_labels: All labels, in the order of the logits.
    """

    encoder: TextEncoder
    parsed_labels: Sequence[Label]

    @abstractmethod
    def forward(self, ids: Tensor, mask: Tensor, cases: Tensor) -> Tensor:
        """Compute label logits ``(B, T, labels)``.

        Args:
            ids, mask: ``(B, T)`` token ids, and False for padding.
            cases: ``(B, T)`` letter case of each token, see :func:`letter_cases`.
        """

    def best_labels(self, probabilities: Tensor) -> list[int]:
        """Choose a label for each word, given the probabilities ``(words, labels)``."""
        return [int(label) for label in probabilities.argmax(1)]

    @torch.inference_mode()
    def classify(self, texts: Sequence[str]) -> list[TokenLabels]:
        """Predict the label probabilities of all tokens of each text.

        A long text is read in windows that overlap by half. The probabilities of a token are taken
        from the window in which it is farthest from an edge.
        """
        size = self.encoder.max_length - 2
        tokenized = [self.encoder.tokenize(text) for text in texts]
        cases = [letter_cases(text, one) for text, one in zip(texts, tokenized, strict=True)]
        windows = [
            (i, slice(start, min(start + size, len(tokens.ids))))
            for i, tokens in enumerate(tokenized)
            for start in range(0, max(1, len(tokens.ids) - size // 2), size // 2)
            if tokens.ids
        ]
        probabilities = [torch.zeros(len(t.ids), len(self.parsed_labels)) for t in tokenized]
        margins = [torch.full((len(t.ids),), -1) for t in tokenized]
        for batch in batches_by_length([w.stop - w.start for _, w in windows], BATCH_SIZE):
            chosen = [windows[b] for b in batch]
            ids, mask = pad(self.encoder, [tokenized[i].ids[window] for i, window in chosen])
            shown = pad_cases([cases[i][window] for i, window in chosen]).to(ids.device)
            predicted = self.forward(ids, mask, shown).softmax(-1).cpu()
            for (i, window), rows in zip(chosen, predicted, strict=True):
                position = torch.arange(window.stop - window.start)
                margin = torch.minimum(position, position.flip(0))
                better = margin > margins[i][window]
                probabilities[i][window][better] = rows[1 + position[better]]
                margins[i][window][better] = margin[better]
        return list(zip(tokenized, probabilities, strict=True))

    def detect_entities(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        """Detect the entities of each text. A word has the label of its first token."""
        detected = []
        for text, (tokens, probabilities) in zip(texts, self.classify(texts), strict=True):
            words = group_words(text, tokens)
            best = self.best_labels(probabilities[[word[0] for word in words]])
            spans: list[tuple[int, int, str]] = []
            previous = Label.parse("O")
            for word, index in zip(words, best, strict=True):
                label = self.parsed_labels[index]
                start, end = tokens.offsets[word[0]][0], tokens.offsets[word[-1]][1]
                continues = label.name == previous.name and not (label.begins or previous.ends)
                previous = label
                if label.type is not None and continues:
                    spans[-1] = (spans[-1][0], end, label.type)
                elif label.type is not None:
                    spans.append((start, end, label.type))
            detected.append(to_entities(text, spans))
        return detected

    def assign_types(self, posts: Sequence[Post]) -> list[Post]:
        """Assign the most probable type of its tokens, or MISC, to each entity without a type."""
        return assign_missing_types(posts, self.classify, self._type_of_span)

    def _type_of_span(self, entity: TextEntity, predicted: TokenLabels) -> tuple[str, float]:
        """Compute the most probable type, and its share of the total probability of types."""
        tokens, probabilities = predicted
        inside = [start < entity.end and end > entity.start for start, end in tokens.offsets]
        total: dict[str, float] = defaultdict(float)
        sums = probabilities[torch.tensor(inside, dtype=torch.bool)].sum(0).tolist()
        for label, value in zip(self.parsed_labels, sums, strict=True):
            if label.type is not None:
                total[label.type] += value
        if not any(inside) or not total:
            return "MISC", 0.0
        best = max(total, key=total.__getitem__)
        return best, total[best] / max(sum(total.values()), 1e-9)


def pad(encoder: TextEncoder, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Add special tokens and padding to token ids.

    Returns:
        The ids and their mask, both ``(B, T)``, on the device of the encoder.
    """
    rows = [torch.tensor([encoder.start_id, *row, encoder.end_id]) for row in ids]
    mask = [torch.ones(len(row), dtype=torch.bool) for row in rows]
    ids_and_mask = (pad_sequence(some, batch_first=True) for some in (rows, mask))
    padded, shown = (to_device(tensor, encoder.device) for tensor in ids_and_mask)
    return padded, shown


LETTER_CASES = 5
"""Number of values of :func:`letter_cases`."""


def letter_cases(text: str, tokens: TokenizedText) -> list[int]:
    """Return the letter case of each token, which uncased encoders do not see.

    The values are 0 for no letter, 1 for lower case, 2 for a first capital only, 3 for several
    capitals without lower case, and 4 for anything else.

    Example:
        >>> letter_cases("the US, Mac", TokenizedText([], [(0, 3), (4, 6), (6, 7), (8, 11)]))
        [1, 3, 0, 2]
    """
    cases = []
    for start, end in tokens.offsets:
        piece = text[start:end]
        if piece.lower() == piece.upper():
            cases.append(0)
        elif piece == piece.lower():
            cases.append(1)
        elif piece[1:] == piece[1:].lower():
            cases.append(2)
        else:
            cases.append(3 if piece == piece.upper() else 4)
    return cases


def pad_cases(cases: Sequence[Sequence[int]]) -> Tensor:
    """Pad letter cases as :func:`pad` does token ids; special tokens and padding have no letter."""
    return pad_sequence([torch.tensor([0, *row, 0]) for row in cases], batch_first=True)


def group_words(text: str, tokens: TokenizedText) -> list[list[int]]:
    """Group token indices into words.

    A token continues the previous word if neither white space nor punctuation separates them, or
    if they share a character, as the byte tokens of an emoji do.
    """
    words: list[list[int]] = []
    previous_end = -1
    for i, (start, end) in enumerate(tokens.offsets):
        if start == end:
            continue
        adjacent = previous_end == start and text[start - 1].isalnum() and text[start].isalnum()
        if adjacent or previous_end > start:
            words[-1].append(i)
        else:
            words.append([i])
        previous_end = end
    return words
