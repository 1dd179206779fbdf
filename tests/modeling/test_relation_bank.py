"""The embedded schema: its order, and a cache that is only ever a short cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import schema_of
from rukh.errors import InputError
from rukh.modeling.relation_bank import RelationBank
from rukh.schema.schema import RelationSchema


class Embed:
    """Texts to vectors that tell their length and their first letter; counts its calls."""

    def __init__(self) -> None:
        self.calls, self.texts = 0, 0

    def __call__(self, texts: list[str]) -> Tensor:
        self.calls += 1
        self.texts += len(texts)
        return torch.tensor([[float(len(text)), float(ord(text[0]))] for text in texts])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path))
    return tmp_path / "banks"


def test_relations_keep_the_schemas_order_without_nota(tiny_schema: RelationSchema) -> None:
    bank = RelationBank.build(tiny_schema, Embed())
    assert bank.names == ("near", "works_at", "employs", "lives_in")
    assert bank.prototypes.tolist() == [[0, 1, -1], [2, -1, -1], [3, -1, -1], [4, 5, 6]]
    for name, row in zip(bank.names, bank.prototypes.tolist(), strict=True):
        texts = [bank.descriptions[k] for k in row if k >= 0]
        assert tuple(texts) == tiny_schema.relation(name).descriptions
        assert bank.vectors[row[0]].tolist() == [len(texts[0]), ord(texts[0][0])]


def test_index(tiny_schema: RelationSchema) -> None:
    bank = RelationBank.build(tiny_schema, Embed())
    indices = [bank.index(name, "none") for name in (None, "none", *bank.names)]
    assert indices == [0, 0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="'nearby'"):
        bank.index("nearby", "none")


def test_the_same_descriptions_are_embedded_once(cache: Path, tiny_schema: RelationSchema) -> None:
    embed = Embed()
    first = RelationBank.build(tiny_schema, embed, key="a")
    again = RelationBank.build(tiny_schema, embed, key="a")
    assert embed.calls == 1 and len(list(cache.iterdir())) == 1
    assert torch.equal(first.vectors, again.vectors)
    RelationBank.build(tiny_schema, embed, key="b")
    worded = tiny_schema.relations[1].model_copy(update={"descriptions": ("new words",)})
    other = tiny_schema.model_copy(update={"relations": (worded,)})
    assert RelationBank.build(other, embed, key="a").vectors.shape == (1, 2)
    assert embed.calls == 3
    RelationBank.build(tiny_schema, embed)
    assert embed.calls == 4 and len(list(cache.iterdir())) == 2  # one file a key


def test_a_schema_that_grows_costs_what_is_new(cache: Path, tiny_schema: RelationSchema) -> None:
    embed = Embed()
    before = RelationBank.build(tiny_schema, embed, key="a")
    new = {"name": "new", "descriptions": ["quite new", before.descriptions[0]]}
    grown = RelationSchema.parse(
        {**tiny_schema.model_dump(), "relations": [new, *tiny_schema.model_dump()["relations"]]}
    )
    after = RelationBank.build(grown, embed, key="a")
    assert embed.texts == len(before.descriptions) + 1
    assert torch.equal(after.vectors[2:], before.vectors)
    assert torch.equal(after.vectors[1], before.vectors[0])


def test_a_cache_that_cannot_be_written_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_schema: RelationSchema
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "file"))
    assert RelationBank.build(tiny_schema, Embed(), key="a").vectors.shape == (7, 2)
    if os.geteuid():  # root writes everywhere
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        monkeypatch.setenv("RUKH_CACHE", str(closed))
        assert RelationBank.build(tiny_schema, Embed(), key="a").vectors.shape == (7, 2)


def test_sampled_prototypes_are_the_relations_own() -> None:
    bank = RelationBank.build(schema_of(), lambda texts: torch.zeros(len(texts), 2))
    assert bank.sampled(9) is bank
    drawn = set()
    for _ in range(50):
        few = bank.sampled(1)
        assert few.prototypes.shape == (len(bank.names), 1)
        for own, one in zip(bank.prototypes.tolist(), few.prototypes.tolist(), strict=True):
            assert one[0] in own and one[0] >= 0
        drawn |= set(few.prototypes[:, 0].tolist())
    assert drawn == set(range(len(bank.descriptions)))  # each gets its turn
    two = bank.sampled(2).prototypes
    assert all(len({*row}) == 2 for row in two.tolist())
