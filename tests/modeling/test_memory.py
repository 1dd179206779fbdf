"""The stored training pairs of a model: which are kept, and how they are stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import schema_of
from helpers_modeling import swapped
from rukh.errors import WeightsError
from rukh.modeling.directions import DirectionMode, num_columns
from rukh.modeling.inference import encode_memory
from rukh.modeling.memory import (
    Memory,
    MemoryConfig,
    background,
    memory_to_bytes,
    read_memory,
    sample_pairs,
)
from rukh.modeling.model import RelationModel
from rukh.modeling.model_files import MEMORY
from rukh.modeling.relation_bank import RelationBank
from rukh.records import Pair, Post


def make_memory(labels: list[str], dim: int = 8, seed: int = 0) -> Memory:
    names = tuple(dict.fromkeys(labels))
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(2, len(labels), dim, generator=generator)
    forward, backward = torch.nn.functional.normalize(vectors, dim=-1)
    nota = torch.randn(len(labels), 2, generator=generator)
    label = torch.tensor([names.index(name) for name in labels])
    return Memory(names, label, forward, backward, nota, torch.arange(len(labels)))


@given(
    st.lists(st.sampled_from(["none", "a", "b", None]), max_size=60),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 20),
)
def test_pairs_are_sampled_per_relation(
    labels: list[str | None], per_relation: int, min_pairs: int, unrelated: int
) -> None:
    config = MemoryConfig(
        pairs_per_relation=per_relation, min_pairs=min_pairs, unrelated_pairs=unrelated
    )
    kept = sample_pairs(labels, config, "none")
    assert kept == sorted(set(kept))
    counts = {name: [labels[k] for k in kept].count(name) for name in ("a", "b", "none", None)}
    for name in ("a", "b"):
        total = labels.count(name)
        assert counts[name] == (min(per_relation, total) if total >= min_pairs else 0)
    assert counts["none"] == min(unrelated, labels.count("none"))
    assert counts[None] == 0


def test_a_stored_memory_is_the_same_up_to_rounding(tmp_path: Path) -> None:
    memory = make_memory(["in", "near", "in", "none"])
    (tmp_path / "m").write_bytes(memory_to_bytes(memory))
    again = read_memory(tmp_path / "m", 8)
    assert again.labels == memory.labels and again.post.tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(again.forward, memory.forward, atol=0.5 / 127, rtol=0)
    torch.testing.assert_close(again.backward, memory.backward, atol=0.5 / 127, rtol=0)
    torch.testing.assert_close(again.nota, memory.nota, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("mode", ["joint", "both"])
def test_the_background_is_what_few_unrelated_pairs_reach(mode: DirectionMode) -> None:
    schema = schema_of()
    bank = RelationBank.build(schema, lambda texts: torch.zeros(len(texts), 2))
    columns = num_columns(bank, mode)
    generator = torch.Generator().manual_seed(0)
    forward, backward = torch.randn(2, 400, 1 + len(bank.names), generator=generator)
    values = background(forward, backward, bank, mode)
    assert values.shape == (columns,) and values[0] == 0
    # The order of head and tail says nothing, and neither does a number added to all logits.
    torch.testing.assert_close(background(backward, forward, bank, mode), values)
    torch.testing.assert_close(background(forward + 3, backward + 3, bank, mode), values)
    higher = forward.clone()
    higher[:, 1 + bank.one_way[0]] += 2
    raised = background(higher, backward, bank, mode) - values
    assert raised[1 + bank.one_way[0]] > 0.2 and (raised > 0.01).sum() == 1 + (mode == "joint")


def test_a_memory_is_restricted_to_a_label() -> None:
    memory = make_memory(["in", "near", "in"]).with_label("in")
    assert memory.labels == ["in", "in"] and memory.post.tolist() == [0, 2]
    assert len(memory.with_label(None)) == 0


def test_memories_are_joined_by_name() -> None:
    one, two = make_memory(["in", "near"]), make_memory(["near", "under"], seed=1)
    both = one.join(two)
    assert both.labels == ["in", "near", "near", "under"]
    assert torch.equal(both.backward[2:], two.backward)


@pytest.mark.parametrize("damage", ["width", "metadata", "truncated", "label", "missing"])
def test_a_damaged_memory_is_refused(tmp_path: Path, damage: str) -> None:
    file, memory = tmp_path / "m", make_memory(["in", "near"])
    data = memory_to_bytes(memory)
    if damage == "metadata":
        data = data.replace(rb"[\"in", rb"{\"in")
    if damage == "truncated":
        data = data[: len(data) // 2]
    if damage == "label":
        data = memory_to_bytes(replace(memory, names=("in",)))
    if damage != "missing":
        file.write_bytes(data)
    with pytest.raises(WeightsError):
        read_memory(file, 9 if damage == "width" else 8)


def test_a_model_stores_encoded_pairs(tiny_model: Any, posts: list[Post], tmp_path: Path) -> None:
    model = tiny_model()
    labelled = [
        posts[i].model_copy(update={"pairs": (Pair(head=head, tail=tail, relation=relation),)})
        for i, head, tail, relation in ((0, "a", "org", "works_at"), (1, "b", "hat", "near"))
    ]
    memory = encode_memory(model, model.bank(), labelled, [None, None], [7, 8])
    assert memory.labels == ["works_at", "near"] and memory.post.tolist() == [7, 8]
    other = encode_memory(model, model.bank(), [swapped(p) for p in labelled], [None, None])
    torch.testing.assert_close(other.forward, memory.backward, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other.nota, memory.nota.flip(1), atol=1e-5, rtol=1e-4)
    model.memory = memory
    model.save(tmp_path / "m", "# card\n")
    again = RelationModel.from_pretrained(tmp_path / "m").memory
    assert again is not None and again.labels == memory.labels
    assert b"Acme" not in (tmp_path / "m" / MEMORY).read_bytes()  # no text is stored
