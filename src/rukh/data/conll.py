"""Tagged sentences in CoNLL's two columns (token, tab, BIO label), as Twitter-2015/2017 come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rukh.arguments.label_map import normalize_label
from rukh.errors import InputError
from rukh.records import TextEntity


class TaggedSentence(NamedTuple):
    """Tokens with one BIO label each, their types in rukh's words; see :mod:`rukh.arguments.label_map`."""

    tokens: list[str]
    labels: list[str]


def read_tagged(path: Path) -> Iterator[TaggedSentence]:
    """Sentences of a file; blank lines and ``IMGID:`` lines part them.

    Raises:
        InputError: A line that is not ``token<TAB>label``, or a label outside BIO.
    """
    tokens: list[str] = []
    labels: list[str] = []
    try:
        with open(path, encoding="utf-8", newline="\n") as stream:
            for number, raw in enumerate(stream, 1):
                line = raw.rstrip("\r\n")
                if line.startswith("IMGID:") or not line.strip():
                    if tokens:
                        yield TaggedSentence(tokens, labels)
                        tokens, labels = [], []
                    continue
                token, tab, label = line.rpartition("\t")
                if not tab or not (label == "O" or (label[:2] in {"B-", "I-"} and label[2:])):
                    raise InputError(
                        f"not a token, a tab and a BIO label: {line[:80]!r}",
                        where=f"{path}:{number}",
                    )
                tokens.append(token.strip() or "\N{REPLACEMENT CHARACTER}")
                labels.append(label if label == "O" else label[:2] + normalize_label(label[2:]))
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", where=str(path)) from None
    if tokens:
        yield TaggedSentence(tokens, labels)


def gold_spans(sentence: TaggedSentence) -> tuple[str, list[TextEntity]]:
    """A sentence as text (tokens joined by a space) and its entities."""
    text = " ".join(sentence.tokens)
    spans: list[tuple[int, int, str]] = []
    start, previous = 0, "O"
    for token, label in zip(sentence.tokens, sentence.labels, strict=True):
        end = start + len(token)
        if label.startswith("B-") or (label != "O" and label[2:] != previous[2:]):
            spans.append((start, end, label[2:]))
        elif label != "O":
            spans[-1] = (spans[-1][0], end, label[2:])
        start, previous = end + 1, label
    return text, [
        TextEntity(id=f"e{i}", start=a, end=b, type=name) for i, (a, b, name) in enumerate(spans)
    ]
