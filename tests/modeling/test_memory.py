"""What a model keeps of its training: which pairs, how they are stored, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_few_shot import EXAMPLES, memory_of

from conftest import schema_of
from rukh.errors import WeightsError
from rukh.modeling.inference import remember
from rukh.modeling.memory import UNRELATED, Memory, MemoryConfig, read_memory, sampled, stored
from rukh.modeling.model import MEMORY, RelationModel


@given(
    st.lists(st.sampled_from(["none", "a", "b", None]), max_size=60),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_each_relation_keeps_as_many_pairs_as_it_may(
    labels: list[str | None], pairs: int, least: int
) -> None:
    kept = sampled(labels, MemoryConfig(pairs=pairs, least=least), "none")
    assert kept == sorted(set(kept))
    found = [labels[k] for k in kept]
    assert None not in found
    for name in ("a", "b"):
        there = labels.count(name)
        assert found.count(name) == (min(pairs, there) if there >= least else 0)
    assert found.count("none") == min(UNRELATED * pairs, labels.count("none"))


def test_what_is_stored_is_read_again_but_for_rounding(tmp_path: Path) -> None:
    memory = memory_of(["in", "near", "in", "none"])
    (tmp_path / "m").write_bytes(stored(memory))
    again = read_memory(tmp_path / "m", 8)
    assert again.labels == ["in", "near", "in", "none"]
    assert again.post.tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(again.forward, memory.forward, atol=0.5 / 127, rtol=0)
    torch.testing.assert_close(again.backward, memory.backward, atol=0.5 / 127, rtol=0)
    torch.testing.assert_close(again.nota, memory.nota, atol=2e-3, rtol=2e-3)
    # 8 bits a number, and some 4 KB of the rest.
    large = memory_of(["in"] * 500, 384)
    assert len(stored(large)) < 500 * (2 * 384 + 24) + 4096


def test_memories_are_joined_by_name_and_parted() -> None:
    one, two = memory_of(["in", "near"]), memory_of(["near", "under"], seed=1)
    both = one.joined(two)
    assert both.labels == ["in", "near", "near", "under"]
    torch.testing.assert_close(both.backward[2:], two.backward)
    assert both.without(["near"]).labels == ["in", "under"]
    assert len(both.without(["in", "near", "under"])) == 0


def test_a_damaged_memory_is_refused(tmp_path: Path) -> None:
    memory = memory_of(["in", "near"])
    whole = stored(memory)
    (tmp_path / "m").write_bytes(whole)
    with pytest.raises(WeightsError, match="damaged or another's"):
        read_memory(tmp_path / "m", 9)
    (tmp_path / "m").write_bytes(whole.replace(rb"[\"in", rb"{\"in"))
    with pytest.raises(WeightsError, match="cannot read"):
        read_memory(tmp_path / "m", 8)
    (tmp_path / "m").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="cannot read"):
        read_memory(tmp_path / "m", 8)
    bad = Memory(("in",), torch.tensor([0, 1]), *(getattr(memory, n) for n in FIELDS))
    (tmp_path / "m").write_bytes(stored(bad))
    with pytest.raises(WeightsError, match="damaged or another's"):
        read_memory(tmp_path / "m", 8)


FIELDS = ("there", "back", "nota", "post")


def test_a_model_remembers_what_its_tower_makes_of_pairs(tiny_model: Any, tmp_path: Path) -> None:
    model = tiny_model(schema=schema_of())
    bank = model.bank()
    memory = remember(model, bank, EXAMPLES, [None] * len(EXAMPLES), [7, 8, 9])
    assert memory.labels == ["mends", "mends", "rivals"] and memory.post.tolist() == [7, 8, 9]
    turned = [
        post.model_copy(
            update={
                "pairs": tuple(
                    p.model_copy(update={"head": p.tail, "tail": p.head}) for p in post.pairs
                )
            }
        )
        for post in EXAMPLES
    ]
    other = remember(model, bank, turned, [None] * len(turned))
    torch.testing.assert_close(other.forward, memory.backward, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other.nota, memory.nota.flip(1), atol=1e-5, rtol=1e-4)
    model.memory = memory
    model.save(tmp_path / "m", "# card\n")
    assert (tmp_path / "m" / MEMORY).is_file()
    again = RelationModel.from_pretrained(tmp_path / "m").memory
    assert again is not None and again.labels == memory.labels
    assert b"Oslo" not in (tmp_path / "m" / MEMORY).read_bytes()  # no text
