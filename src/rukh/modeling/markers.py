"""How arguments are pointed out to the text encoder: rows of pieces and markers.

Three schemes (``design.md``, "The pair tower"), one option, ``markers``:

- ``post``: a marker before and after every argument, once; all pairs are formed after the encoder.
- ``levitated``: the words stay as they are; behind them stand four markers for each unordered
  pair, which share the positions of the words they mark, see the words and their own pair's
  markers, and are seen by nothing else (PL-Marker, Ye et al., ACL 2022).
- ``pair``: markers in the text, one row for every ordered pair: the field's habit, the reference.

A row is plain lists; :mod:`rukh.modeling.batch` pads rows into tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Literal, NamedTuple, TypeAlias

from rukh.modeling.text_encoder import TextEncoder, TokenizedText
from rukh.records import Post, TextEntity

Markers: TypeAlias = Literal["post", "levitated", "pair"]
WORD, START, END, HEAD_START, HEAD_END, TAIL_START, TAIL_END = range(7)
ROLE_WORDS = ("", "[", "]", "subject", "subject", "object", "object")
"""The words whose embeddings a role's marker starts from; index is the role."""
PAIRS_A_ROW = 64
"""The most unordered pairs whose levitated markers share a row."""
CONTEXT = 12
"""Pieces kept on each side of an argument when a text is too long to be read whole."""


class PairPositions(NamedTuple):
    """One ordered pair of a row.

    Attributes:
        pair: Which of the post's pairs it is.
        head, tail: Positions of each argument's start and end marker in the row; for a visual
            object ``-1 - i`` twice, ``i`` being its index in ``Post.objects``.
    """

    pair: int
    head: tuple[int, int]
    tail: tuple[int, int]


class ArgumentSpan(NamedTuple):
    """An argument as the encoder sees it: pieces ``[start, end)``, or an object's index."""

    start: int
    end: int
    type: str | None
    object: int | None


@dataclass
class MarkedSequence:
    """One sequence for the text encoder; all lists are as long as the row."""

    ids: list[int] = field(default_factory=list)
    roles: list[int] = field(default_factory=list)
    types: list[str | None] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    asks: list[PairPositions] = field(default_factory=list)

    def add(
        self,
        id_: int = 0,
        role: int = WORD,
        type_: str | None = None,
        *,
        position: int | None = None,
        segment: int = 0,
        group: int = 0,
        object_: int = -1,
    ) -> int:
        """Append one position; returns where it stands."""
        at = len(self.ids)
        self.ids.append(id_)
        self.roles.append(role)
        self.types.append(type_)
        self.positions.append(at if position is None else position)
        self.segments.append(segment)
        self.groups.append(group)
        self.objects.append(object_)
        return at

    def __len__(self) -> int:
        return len(self.ids)

    def without_caption(self) -> MarkedSequence:
        """The same row as if the post had no caption; itself where it has none."""
        if 1 not in self.segments:
            return self
        kept = [k for k, segment in enumerate(self.segments) if segment != 1]
        place = {k: at for at, k in enumerate(kept)}
        lists = ("ids", "roles", "types", "positions", "segments", "groups", "objects")
        row = MarkedSequence(**{name: [getattr(self, name)[k] for k in kept] for name in lists})
        for ask in self.asks:
            a, b, c, d = (place.get(p, p) for p in (*ask.head, *ask.tail))
            row.asks.append(PairPositions(ask.pair, (a, b), (c, d)))
        return row

    def without_types(self) -> MarkedSequence:
        """The same row as if nobody knew its arguments' types."""
        return replace(self, types=[None] * len(self.types))


class TokenizedPost(NamedTuple):
    """A post ready to be laid out: its pieces, its caption's, and where its arguments stand."""

    pieces: TokenizedText
    caption: list[int]
    arguments: dict[str, ArgumentSpan]


def tokenize_post(post: Post, encoder: TextEncoder, caption_words: int) -> TokenizedPost:
    """Tokenize a post and locate its arguments; types are those the post carries."""
    pieces = encoder.tokenize(post.text)
    caption: list[int] = []
    if post.caption and caption_words:
        caption = encoder.tokenize(" ".join(post.caption.split()[:caption_words])).ids
    arguments: dict[str, ArgumentSpan] = {}
    objects = 0
    for argument in post.arguments:
        if isinstance(argument, TextEntity):
            inside = [
                k
                for k, (start, end) in enumerate(pieces.offsets)
                if start < argument.end and end > argument.start
            ]
            # A span that the tokenizer drops (zero-width characters) is an empty one in its place.
            at = sum(end <= argument.start for _, end in pieces.offsets)
            start, end = (inside[0], inside[-1] + 1) if inside else (at, at)
            arguments[argument.id] = ArgumentSpan(start, end, argument.type, None)
        else:
            arguments[argument.id] = ArgumentSpan(0, 0, argument.type or argument.label, objects)
            objects += 1
    return TokenizedPost(pieces, caption, arguments)


def build_sequences(
    post: TokenizedPost,
    pairs: Sequence[tuple[str, str]],
    markers: Markers,
    encoder: TextEncoder,
    limit: int,
) -> list[MarkedSequence]:
    """The rows that ask all ``pairs`` (argument ids, ordered) of a post.

    A text that fits in ``limit`` positions is one row in schemes ``post`` and ``levitated`` (up to
    64 pairs). In scheme ``post`` all its arguments are marked, asked or not, so that an answer
    does not depend on what else is asked. A longer text is cut to the words nearest the arguments
    that are asked; where even those are too many, the pairs are shared out over several rows.
    """
    if markers == "levitated" and not encoder.takes_positions:
        markers = "post"
    rows: list[MarkedSequence] = []
    everything = list(post.arguments)
    size = len(post.pieces.ids) + len(post.caption) + 3
    if markers == "post" and pairs and size + 2 * len(everything) <= limit:
        return [_row(post, list(enumerate(pairs)), everything, markers, encoder, limit)]
    first = 0
    while first < len(pairs):
        count = _fitting(post, pairs[first : first + 2 * PAIRS_A_ROW], markers, limit)
        chosen = list(enumerate(pairs[first : first + count], first))
        names = _names(pairs[first : first + count])
        rows.append(_row(post, chosen, names, markers, encoder, limit))
        first += count
    return rows


def _names(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for pair in pairs for name in pair))


def _fitting(
    post: TokenizedPost, pairs: Sequence[tuple[str, str]], markers: Markers, limit: int
) -> int:
    """How many of the first pairs go into one row, at least one."""
    if markers == "pair":
        return 1
    if markers == "levitated":
        bound = set(list(dict.fromkeys(map(frozenset, pairs)))[:PAIRS_A_ROW])
        pairs = list(takewhile(lambda pair: frozenset(pair) in bound, pairs))
    room = limit - 3 - len(post.caption)
    # Asking every pair is the common case; only long posts need the slow count.
    names = _names(pairs)
    words = min(len(post.pieces.ids), sum(_span(post, name) + 2 * CONTEXT for name in names))
    if words + _marker_count(names, pairs, markers) <= room:
        return len(pairs)
    count, names, used = 0, [], 0
    for pair in pairs:
        new = [name for name in dict.fromkeys(pair) if name not in names]
        cost = sum(_span(post, name) + 2 * CONTEXT for name in new)
        total = used + cost + _marker_count(names + new, pairs[: count + 1], markers)
        if count and total > room:
            break
        count, names, used = count + 1, names + new, used + cost
    return count


def _marker_count(names: Sequence[str], pairs: Sequence[tuple[str, str]], markers: Markers) -> int:
    if markers == "levitated":
        return 4 * len({frozenset(pair) for pair in pairs})
    return 2 * len(names)


def _span(post: TokenizedPost, name: str) -> int:
    return post.arguments[name].end - post.arguments[name].start


def _kept(post: TokenizedPost, names: Sequence[str], room: int) -> list[int]:
    """Indices of the pieces to keep: all, or those nearest the arguments."""
    size = len(post.pieces.ids)
    if size <= room:
        return list(range(size))
    spans = [post.arguments[n] for n in names if post.arguments[n].object is None]
    if not spans:
        return list(range(max(0, room)))

    def within(radius: int) -> list[int]:
        keep: set[int] = set()
        for span in spans:
            keep.update(range(max(0, span.start - radius), min(size, span.end + radius)))
        return sorted(keep)

    low, high = 0, size
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(within(middle)) <= room else (low, middle - 1)
    keep = within(low)
    if len(keep) > room:
        # The arguments alone are too long: keep the beginning of each.
        share = max(1, room // len(spans))
        keep = sorted({k for s in spans for k in range(s.start, min(s.end, s.start + share))})
    return keep[: max(0, room)]


def _row(
    post: TokenizedPost,
    pairs: Sequence[tuple[int, tuple[str, str]]],
    names: Sequence[str],
    markers: Markers,
    encoder: TextEncoder,
    limit: int,
) -> MarkedSequence:
    row = MarkedSequence()
    plain = [pair for _, pair in pairs]
    caption = post.caption[: max(0, limit // 2)]
    extra = _marker_count(names, plain, markers) + 3 + len(caption)
    keep = _kept(post, names, limit - extra)
    roles = dict.fromkeys(names, (START, END))
    if markers == "pair":
        roles = {plain[0][0]: (HEAD_START, HEAD_END), plain[0][1]: (TAIL_START, TAIL_END)}
    slots: dict[str, tuple[int, int]] = {}
    opening: dict[int, list[str]] = {}
    closing: dict[int, list[str]] = {}
    if markers != "levitated":
        for name in names:
            located = post.arguments[name]
            if located.object is None:
                opening.setdefault(located.start, []).append(name)
                closing.setdefault(located.end, []).append(name)
    # An enclosing span opens first and closes last.
    for starts in opening.values():
        starts.sort(key=lambda n: -post.arguments[n].end)
    for ends in closing.values():
        ends.sort(key=lambda n: -post.arguments[n].start)
    starts_at: dict[str, int] = {}
    ends_at: dict[str, int] = {}
    row.add(encoder.start_id)
    place: dict[int, int] = {}
    opens, closes = sorted(opening), sorted(closing)
    # Boundaries whose piece was cut away move to the next kept one.
    for k in [*keep, len(post.pieces.ids)]:
        while closes and closes[0] <= k:
            for name in closing[closes.pop(0)]:
                if name in starts_at:
                    ends_at[name] = row.add(0, roles[name][1], post.arguments[name].type)
        while opens and opens[0] <= k:
            for name in opening[opens.pop(0)]:
                located = post.arguments[name]
                starts_at[name] = row.add(0, roles[name][0], located.type)
                if located.end <= k:
                    ends_at[name] = row.add(0, roles[name][1], located.type)
        if k < len(post.pieces.ids):
            place[k] = row.add(post.pieces.ids[k])
    row.add(encoder.end_id)
    for id_ in caption:
        row.add(id_, segment=1)
    if caption:
        row.add(encoder.end_id, segment=1)
    for name in starts_at:
        slots[name] = (starts_at[name], ends_at[name])
    for name in names:
        if (number := post.arguments[name].object) is not None:
            slots[name] = (-1 - number, -1 - number)
    if markers != "levitated":
        row.asks = [PairPositions(i, slots[head], slots[tail]) for i, (head, tail) in pairs]
        return row
    groups: dict[frozenset[str], dict[str, tuple[int, int]]] = {}
    for i, (head, tail) in pairs:
        key = frozenset((head, tail))
        if key not in groups:
            groups[key] = {}
            for name in sorted(key, key=names.index):
                groups[key][name] = _levitate(row, post, name, place, len(groups))
        row.asks.append(PairPositions(i, groups[key][head], groups[key][tail]))
    return row


def _levitate(
    row: MarkedSequence, post: TokenizedPost, name: str, place: dict[int, int], group: int
) -> tuple[int, int]:
    """Two markers behind the words, at the positions of an argument's first and last piece."""
    located = post.arguments[name]
    if located.object is not None:
        first = last = 0
    else:
        inside = [place[k] for k in range(located.start, located.end) if k in place]
        first, last = (inside[0], inside[-1]) if inside else (0, 0)
    number = -1 if located.object is None else located.object
    a = row.add(0, START, located.type, position=first, group=group, object_=number)
    b = row.add(0, END, located.type, position=last, group=group, object_=number)
    return a, b
