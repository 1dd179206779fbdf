"""Labelled pairs, their none-of-the-above label, overlaps, repeats and imbalance."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers_audit import ENTITIES, instance
from rukh.audit.dataset import find_nota, imbalance, overlaps, read_instances, repeats
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.records import Post


def test_instances_are_numbered_by_line_and_unlabelled_pairs_skipped(tmp_path: Path) -> None:
    pairs = ({"head": "x", "tail": "y", "relation": "r"}, {"head": "y", "tail": "x"})
    posts = [
        Post(id="1", text="Ann Bob", entities=ENTITIES, pairs=pairs),
        Post(id="2", text="Ann BOB", entities=ENTITIES, pairs=pairs[:1] * 2, image=Path("i.jpg")),
        Post(id="3", text="Ann Bob"),
    ]
    write(posts, tmp_path / "posts.jsonl")
    instances = read_instances(tmp_path / "posts.jsonl", "jsonl")
    assert [(i.number, i.image, i.label) for i in instances] == [
        (0, None, "r"), (1, "i.jpg", "r"), (1, "i.jpg", "r")
    ]  # fmt: skip
    assert (instances[1].head.id, instances[1].tail.id) == ("x", "y")
    write(posts[2:], tmp_path / "unlabelled.jsonl")
    with pytest.raises(InputError, match="unlabelled.jsonl: relation"):
        read_instances(tmp_path / "unlabelled.jsonl", "jsonl")


def test_the_nota_label_is_found_or_given() -> None:
    assert find_nota(["None", "r"], None, "f") == "None"
    assert find_nota(["None", "r"], "r", "f") == "r"


@pytest.mark.parametrize(
    ("labels", "name", "named"),
    [
        (["None", "r", "NA"], None, "NA"),  # two common names
        (["r", "s"], None, "s"),  # none
        (["None", "r"], "Nune", "did you mean 'None'"),
        (["None"], None, "None"),  # no relation
    ],
)
def test_an_unclear_nota_label_is_an_error(labels: list[str], name: str | None, named: str) -> None:
    with pytest.raises(InputError, match=f"f: .*--nota .*{named}"):
        find_nota(labels, name, "f")


def test_splits_share_sentences_images_and_entity_pairs() -> None:
    one, far = instance(0, "a.jpg"), instance(1, None, "Eve Dan")
    other = instance(0, "a.jpg", "bob ANN")
    found = overlaps({"train": [one, one, far], "val": [other, instance(1, None, "Eve Dan far")]})
    shared = {row["kind"]: (row["shared"], row["first_rows"], row["second_rows"]) for row in found}
    # Pairs without an image share none.
    assert shared == {"sentences": (0, 0, 0), "pictures": (1, 2, 1), "entity pairs": (2, 3, 2)}
    assert found[1]["first_share"] == pytest.approx(2 / 3)
    assert overlaps({"train": [one]}) == []


def test_repeats() -> None:
    instances = [
        instance(0, "a.jpg", "Ann Bob"),
        instance(1, "a.jpg", "Ann Bob"),
        instance(2, "a.jpg", "Ann Bob", "r"),
        instance(3, "a.jpg", "Ann Bob", reverse=True),
        instance(4, "b.jpg", "Ann Bob", "s"),
    ]
    assert repeats(instances) == {
        "duplicates": 1,
        "contradictions": 1,
        "contradictory_rows": 3,
        "both_orders": 2,
        "contradictions_across_pictures": 1,
    }


def test_imbalance() -> None:
    found = imbalance(["None"] * 20 + ["r"] * 10 + ["s"] * 2, "None")
    assert [row["label"] for row in found["labels"]] == ["None", "r", "s"]
    assert (found["labels"][0]["share"], found["rare"]) == (20 / 32, 1)
