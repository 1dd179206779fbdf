"""The embedded relations of a schema, and their cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rukh.errors import InputError
from rukh.modeling.relation_bank import RelationBank
from rukh.schema.schema import RelationSchema


class Encoder:
    """Embeds a text as its length and its first letter; counts what it embedded."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, texts: list[str]) -> Tensor:
        self.count += len(texts)
        return torch.tensor([[float(len(text)), float(ord(text[0]))] for text in texts])


def test_relations_are_in_the_order_of_the_schema(tiny_schema: RelationSchema) -> None:
    bank = RelationBank.build(tiny_schema, Encoder())
    assert bank.names == ("near", "works_at", "employs", "lives_in")
    assert bank.prototypes.tolist() == [[0, 1, -1], [2, -1, -1], [3, -1, -1], [4, 5, 6]]
    assert bank.reverse.tolist() == [0, 2, 1, -1]
    for r, name in enumerate(bank.names):
        for column, text in enumerate(tiny_schema.relation(name).descriptions):
            assert bank.description(r, column) == text
            vector = bank.vectors[bank.prototypes[r, column]]
            assert vector.tolist() == [len(text), ord(text[0])]


def test_class_indices(tiny_schema: RelationSchema) -> None:
    bank = RelationBank.build(tiny_schema, Encoder())
    indices = [bank.index(name, "none") for name in (None, "none", *bank.names)]
    assert indices == [0, 0, 1, 2, 3, 4]
    with pytest.raises(InputError):
        bank.index("nearby", "none")


def test_a_description_is_embedded_once_per_encoder(
    cache: Path, tiny_schema: RelationSchema
) -> None:
    encoder = Encoder()
    first = RelationBank.build(tiny_schema, encoder, "a")
    assert torch.equal(RelationBank.build(tiny_schema, encoder, "a").vectors, first.vectors)
    assert encoder.count == 7
    data = tiny_schema.model_dump()
    new = {"name": "new", "descriptions": ["quite new", first.descriptions[0]]}
    data["relations"] = [data["relations"][0], new, *data["relations"][1:]]
    larger = RelationBank.build(RelationSchema.parse(data), encoder, "a")
    assert encoder.count == 8
    assert torch.equal(larger.vectors[2:], first.vectors)
    assert torch.equal(larger.vectors[1], first.vectors[0])
    RelationBank.build(tiny_schema, encoder, "b")
    RelationBank.build(tiny_schema, encoder)  # no cache
    assert encoder.count == 8 + 2 * 7
    assert len(list((cache / "embeddings").iterdir())) == 2


def test_the_cache_may_be_unusable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_schema: RelationSchema
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "file"))
    assert RelationBank.build(tiny_schema, Encoder(), "a").vectors.shape == (7, 2)


def test_sampled_descriptions_belong_to_their_relations(tiny_schema: RelationSchema) -> None:
    bank = RelationBank.build(tiny_schema, Encoder())
    assert bank.sample(9) is bank
    drawn = set()
    for _ in range(50):
        one = bank.sample(1).prototypes
        assert one.shape == (4, 1) and (one >= 0).all()
        assert (bank.prototypes == one).any(1).all()
        drawn |= {*one.flatten().tolist()}
    assert drawn == set(range(7))
    assert all(len({*row}) == 2 for row in bank.sample(2).prototypes.tolist())
