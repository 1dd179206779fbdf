"""Token sequences with markers around the arguments, which are the input of the text encoder.

There are two schemes (option ``markers``):

- ``post``: One sequence contains all pairs of a post, with markers around all arguments.
- ``pair``: Each pair has its own sequence, with markers around its two arguments. This is the usual
  approach. It takes one forward pass per pair and serves as a baseline in the benchmark.

A sequence consists of plain lists; :mod:`rukh.modeling.batch` pads sequences to tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from rukh.modeling.text_encoder import TextEncoder, TokenizedText
from rukh.records import Post, TextEntity

Markers: TypeAlias = Literal["post", "pair"]
WORD, START, END, HEAD_START, HEAD_END, TAIL_START, TAIL_END = range(7)
ROLE_WORDS = ("", "[", "]", "subject", "subject", "object", "object")
"""Words whose embeddings initialize the marker of each role."""
CONTEXT = 12
"""Number of context tokens reserved on each side of an argument when a text must be truncated."""
MAX_PAIRS = 128
"""Maximum number of pairs in a sequence whose text is truncated."""


class PairPositions(NamedTuple):
    """Positions of the arguments of a pair in a sequence.

    Attributes:
        pair: Index of the pair among the pairs of the post.
        head, tail: Positions of the start and end markers of the argument. For a visual object with
            index ``i`` in ``Post.objects``, both are ``-1 - i``.
    """

    pair: int
    head: tuple[int, int]
    tail: tuple[int, int]


class ArgumentSpan(NamedTuple):
    """Token span ``[start, end)`` of a text entity, or index ``object`` of a visual object."""

    start: int
    end: int
    type: str | None
    object: int | None


class TokenizedPost(NamedTuple):
    """Tokens of a post's text, token ids of its caption, and spans of its arguments by id."""

    text: TokenizedText
    caption: list[int]
    arguments: dict[str, ArgumentSpan]


@dataclass
class MarkedSequence:
    """One input sequence of the text encoder, with ``T`` positions.

    Attributes:
        ids: Token id of each position; 0 for markers.
        roles: Role of each position, from ``WORD`` to ``TAIL_END``.
        types: Type of the marked argument at each position; None at other positions.
        segments: 0 for the positions of the text, 1 for those of the caption, which follows it.
        tokens: Index of the text's token at each position; -1 at other positions.
        pairs: The pairs to score.
    """

    ids: list[int] = field(default_factory=list)
    roles: list[int] = field(default_factory=list)
    types: list[str | None] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    pairs: list[PairPositions] = field(default_factory=list)

    def append(
        self,
        token_id: int = 0,
        role: int = WORD,
        type_: str | None = None,
        segment: int = 0,
        token: int = -1,
    ) -> int:
        """Append one token or marker and return its position."""
        self.ids.append(token_id)
        self.roles.append(role)
        self.types.append(type_)
        self.segments.append(segment)
        self.tokens.append(token)
        return len(self.ids) - 1

    def __len__(self) -> int:
        return len(self.ids)

    def without_caption(self) -> MarkedSequence:
        """Return the same sequence without the caption."""
        if 1 not in self.segments:
            return self
        end = self.segments.index(1)
        lists = {
            name: getattr(self, name)[:end]
            for name in ("ids", "roles", "types", "segments", "tokens")
        }
        return replace(self, **lists)

    def without_types(self) -> MarkedSequence:
        """Return the same sequence without argument types."""
        return replace(self, types=[None] * len(self))


def tokenize_post(post: Post, encoder: TextEncoder, caption_words: int) -> TokenizedPost:
    """Tokenize a post and map its arguments to tokens.

    Args:
        caption_words: Maximum number of words of the caption to use.
    """
    text = encoder.tokenize(post.text)
    caption = caption_ids(post, encoder, caption_words)
    arguments: dict[str, ArgumentSpan] = {}
    for entity in post.entities:
        arguments[entity.id] = _entity_span(entity, text)
    for index, thing in enumerate(post.objects):
        arguments[thing.id] = ArgumentSpan(0, 0, thing.type or thing.label, index)
    return TokenizedPost(text, caption, arguments)


def caption_ids(post: Post, encoder: TextEncoder, caption_words: int) -> list[int]:
    """Return the token ids of the first ``caption_words`` words of a post's caption."""
    if not post.caption or not caption_words:
        return []
    return encoder.tokenize(" ".join(post.caption.split()[:caption_words])).ids


def _entity_span(entity: TextEntity, text: TokenizedText) -> ArgumentSpan:
    overlapping = [
        index
        for index, (start, end) in enumerate(text.offsets)
        if start < entity.end and end > entity.start
    ]
    if overlapping:
        return ArgumentSpan(overlapping[0], overlapping[-1] + 1, entity.type, None)
    # The tokenizer drops some characters, such as zero-width spaces. Their span is empty.
    position = sum(end <= entity.start for _, end in text.offsets)
    return ArgumentSpan(position, position, entity.type, None)


def build_sequences(
    post: TokenizedPost,
    pairs: Sequence[tuple[str, str]],
    markers: Markers,
    encoder: TextEncoder,
    max_length: int,
) -> list[MarkedSequence]:
    """Build the sequences that contain all pairs of a post.

    In scheme ``post``, a post of at most ``max_length`` positions has one sequence. All arguments
    are marked in it, even those without a pair, so that the scores of a pair do not depend on the
    other pairs. A longer text is truncated to the tokens nearest to the arguments of the pairs. If
    too little context would remain, the pairs are distributed over several sequences.

    Args:
        pairs: Pairs of argument ids, head first.
    """
    if markers == "pair":
        return [
            _build_sequence(post, [(index, pair)], pair, markers, encoder, max_length)
            for index, pair in enumerate(pairs)
        ]
    numbered = list(enumerate(pairs))
    arguments = list(post.arguments)
    if pairs and _length(post, len(post.text.ids), arguments) <= max_length:
        return [_build_sequence(post, numbered, arguments, markers, encoder, max_length)]
    sequences: list[MarkedSequence] = []
    while numbered:
        count = _num_fitting(post, [pair for _, pair in numbered[:MAX_PAIRS]], max_length)
        chosen, numbered = numbered[:count], numbered[count:]
        names = _arguments_of([pair for _, pair in chosen])
        sequences.append(_build_sequence(post, chosen, names, markers, encoder, max_length))
    return sequences


def _arguments_of(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for pair in pairs for name in pair))


def _length(post: TokenizedPost, num_tokens: int, marked: Sequence[str]) -> int:
    """Return how long a sequence with ``num_tokens`` tokens of the text is at most.

    It also holds the caption, two markers for each of ``marked``, and special tokens.
    """
    return num_tokens + len(post.caption) + 2 * len(marked) + 3


def _num_fitting(post: TokenizedPost, pairs: Sequence[tuple[str, str]], max_length: int) -> int:
    """Return how many of the pairs, counted from the first, fit into one sequence; at least 1."""

    def num_tokens(names: Sequence[str]) -> int:
        spans = [post.arguments[name] for name in names]
        return sum(span.end - span.start + 2 * CONTEXT for span in spans)

    names = _arguments_of(pairs)
    if _length(post, min(len(post.text.ids), num_tokens(names)), names) <= max_length:
        return len(pairs)
    for count in range(1, len(pairs)):
        names = _arguments_of(pairs[: count + 1])
        if _length(post, num_tokens(names), names) > max_length:
            return count
    return len(pairs)


def _kept_tokens(spans: Sequence[ArgumentSpan], num_tokens: int, room: int) -> list[int]:
    """Return the indices of the tokens to keep: at most ``room``, those nearest to the spans."""
    room = max(0, room)
    if num_tokens <= room:
        return list(range(num_tokens))
    if not spans:
        return list(range(room))
    index = np.arange(num_tokens)
    distances = [np.maximum(span.start - index, index - span.end + 1) for span in spans]
    nearest = np.min(distances, axis=0).clip(0)
    limit = np.sort(nearest)[room]
    if limit > 0:
        return [int(i) for i in np.flatnonzero(nearest < limit)]
    # The arguments alone are too long, so keep only the beginning of each.
    share = max(1, room // len(spans))
    kept = {i for span in spans for i in range(span.start, min(span.end, span.start + share))}
    return sorted(kept)[:room]


def _build_sequence(
    post: TokenizedPost,
    pairs: Sequence[tuple[int, tuple[str, str]]],
    names: Sequence[str],
    markers: Markers,
    encoder: TextEncoder,
    max_length: int,
) -> MarkedSequence:
    """Build a sequence for pairs with their indices, and mark the arguments with ids ``names``."""
    roles = dict.fromkeys(names, (START, END))
    if markers == "pair":
        head, tail = names
        roles = {head: (HEAD_START, HEAD_END), tail: (TAIL_START, TAIL_END)}
    spans = {name: post.arguments[name] for name in names}
    positions = {
        name: (-1 - span.object, -1 - span.object)
        for name, span in spans.items()
        if span.object is not None
    }
    in_text = [name for name in names if name not in positions]
    caption = post.caption[: max_length // 2]
    num_tokens = len(post.text.ids)
    room = max_length - 2 * len(names) - 3 - len(caption)
    kept = _kept_tokens([spans[name] for name in in_text], num_tokens, room)
    # If spans are nested, the outer one opens first and closes last.
    opening = sorted(in_text, key=lambda name: (spans[name].start, -spans[name].end))
    closing = sorted(in_text, key=lambda name: (spans[name].end, -spans[name].start))
    starts: dict[str, int] = {}
    sequence = MarkedSequence()
    sequence.append(encoder.start_id)
    # If the token next to a marker was removed, the marker moves to the next token that is kept.
    for index in [*kept, num_tokens]:
        while closing and spans[closing[0]].end <= index:
            name = closing.pop(0)
            if name in starts:
                end = sequence.append(0, roles[name][1], spans[name].type)
                positions[name] = starts[name], end
        while opening and spans[opening[0]].start <= index:
            name = opening.pop(0)
            starts[name] = sequence.append(0, roles[name][0], spans[name].type)
            if spans[name].end <= index:  # an empty span
                end = sequence.append(0, roles[name][1], spans[name].type)
                positions[name] = starts[name], end
        if index < num_tokens:
            sequence.append(post.text.ids[index], token=index)
    sequence.append(encoder.end_id)
    for token_id in [*caption, encoder.end_id] if caption else []:
        sequence.append(token_id, segment=1)
    sequence.pairs = [
        PairPositions(i, positions[head], positions[tail]) for i, (head, tail) in pairs
    ]
    return sequence
