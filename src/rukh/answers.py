"""Answers of a teacher that does not ship, kept in a file: what it said of each pair.

A pair is known by a hash of its text and of where its arguments stand, so that the file holds
numbers alone, and no text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from rukh.bank import RelationBank
from rukh.errors import InputError
from rukh.files import atomic_open
from rukh.orders import Order, turned, width
from rukh.records import Post

ANSWERS = "answers.safetensors"
"""The file in a teacher's folder."""


def pair_key(post: Post, first: str, second: str) -> int:
    """A hash of a text and the places of two of its entities, in 63 bits.

    Example:
        >>> post = Post.model_validate({"id": "1", "text": "Ada met Bob", "entities": [
        ...     {"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 8, "end": 11}]})
        >>> pair_key(post, "a", "b") == pair_key(post, "b", "a")
        False
    """
    spans = {entity.id: (entity.start, entity.end) for entity in post.entities}
    told = json.dumps([post.text, spans[first], spans[second]])
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big") >> 1


def digest(posts: Iterable[Post]) -> str:
    """A hash of the texts of some posts, in whatever order."""
    texts = sorted({post.text for post in posts})
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


class Answers:
    """Probabilities ``(C,)`` over the columns of a bank, by pair.

    Args:
        told: By :func:`pair_key`; each in the order of its key.
        bank, order: What the columns stand for; see :mod:`rukh.orders`.
        fold: Digest of the posts that no answer rests on; see :func:`digest`.
    """

    def __init__(
        self, told: Mapping[int, Tensor], bank: RelationBank, order: Order, fold: str = ""
    ) -> None:
        self.told, self.bank, self.order, self.fold = dict(told), bank, order, fold

    def of(self, post: Post, head: str, tail: str) -> Tensor | None:
        """What was said of a pair, asked in whichever order; None where nothing was."""
        known = {entity.id for entity in post.entities}
        if head not in known or tail not in known:
            return None
        if (said := self.told.get(pair_key(post, head, tail))) is not None:
            return said
        back = self.told.get(pair_key(post, tail, head))
        return None if back is None or self.order != "joint" else turned(back, self.bank)

    def of_all(self, post: Post, pairs: Sequence[tuple[str, str]]) -> Tensor | None:
        """``(Q, C)`` for a post's pairs; None where one of them, or any pair, is not known."""
        said = [self.of(post, head, tail) for head, tail in pairs]
        known = [one for one in said if one is not None]
        return torch.stack(known) if said and len(known) == len(said) else None

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        from safetensors.torch import save

        keys = torch.tensor(list(self.told))
        said = torch.stack(list(self.told.values())).half()
        about = {"relations": json.dumps(list(self.bank.names)), "order": self.order}
        about["fold"] = self.fold
        with atomic_open(path, "wb") as stream:
            stream.write(save({"keys": keys, "probabilities": said}, about))

    @classmethod
    def load(cls, path: Path, bank: RelationBank, order: Order) -> Answers:
        """Read the file.

        Raises:
            InputError: It is no file of answers, or one of other relations or another order.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                keys, said = file.get_tensor("keys"), file.get_tensor("probabilities").float()
            relations = json.loads(about["relations"])
            if said.ndim != 2 or keys.shape != said.shape[:1]:
                raise ValueError(f"{tuple(keys.shape)} keys, {tuple(said.shape)} probabilities")
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"cannot read answers: {error}", where=str(path)) from None
        if relations != list(bank.names):
            raise InputError("answers are of other relations than the student's", where=str(path))
        if about.get("order") != order or said.shape[1] != width(bank, order):
            raise InputError("answers are of another order than the student's", where=str(path))
        told = dict(zip(keys.tolist(), said, strict=True))
        return cls(told, bank, order, about.get("fold", ""))
