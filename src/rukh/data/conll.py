"""Tagged sentences in CoNLL's two columns (token and BIO label), as in Twitter-2015/2017."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rukh.data.tokens import Tokens, bio_spans
from rukh.errors import InputError
from rukh.records import TextEntity
from rukh.utils.files import file_errors, open_input


def read_tagged(
    path: Path, rename: Callable[[str], str] = str
) -> Iterator[tuple[str, list[TextEntity]]]:
    """Yield the text and entities of each sentence. Blank or ``IMGID:`` lines separate sentences.

    Args:
        rename: Function that maps the entity types of the file to others, such as
            :func:`rukh.arguments.label_map.normalize_label`.

    Raises:
        InputError: The file cannot be read, or a line is not ``token<TAB>BIO label``.
    """
    words: list[str] = []
    labels: list[str] = []
    with file_errors(path), open_input(path) as stream:
        for number, line in enumerate(io.TextIOWrapper(stream, "utf-8", newline="\n"), 1):
            line = line.rstrip("\r\n")
            if line.startswith("IMGID:") or not line.strip():
                if words:
                    yield tagged_text(words, labels)
                    words, labels = [], []
                continue
            word, tab, label = line.rpartition("\t")
            if not tab or not (label == "O" or (label[:2] in {"B-", "I-"} and label[2:])):
                raise InputError(
                    f"{line[:80]!r} is not a token, a tab and a BIO label",
                    where=f"{path}:{number}",
                )
            words.append(word.strip() or "\N{REPLACEMENT CHARACTER}")
            labels.append(label if label == "O" else label[:2] + rename(label[2:]))
    if words:
        yield tagged_text(words, labels)


def tagged_text(words: Sequence[str], labels: Sequence[str]) -> tuple[str, list[TextEntity]]:
    """Join words with spaces and decode their BIO labels as entities ``e0``, ``e1``, ...

    Example:
        >>> text, (entity,) = tagged_text(["Ann", "Lee", "left"], ["B-PER", "I-PER", "O"])
        >>> text[entity.start:entity.end], entity.type
        ('Ann Lee', 'PER')
    """
    text, offsets = Tokens.join(words)
    return text, [
        TextEntity(id=f"e{i}", start=offsets[first][0], end=offsets[last - 1][1], type=type)
        for i, (first, last, type) in enumerate(bio_spans(labels))
    ]
