"""What the data file itself says of each row."""

from __future__ import annotations

from pathlib import Path

from test_studies_evidence import row, told

from rukh.audit.dataset_features import own_fields
from rukh.audit.instances import read_instances
from rukh.data.readers import write
from rukh.records import Post


def test_order_and_pairs_are_always_asked() -> None:
    rows = [row(0, "a", "t"), row(1, "a", "t", after=True), row(2, after=None)]
    order, pairs = own_fields(rows)
    assert told(order) == [{"head after tail": False}, {"head after tail": True}, None]
    assert told(pairs) == [{"pairs": 2}, {"pairs": 2}, {"pairs": 1}]


def test_what_else_the_data_gives_is_asked_where_rows_differ(tmp_path: Path) -> None:
    ends = ({"id": "x", "start": 0, "end": 3, "type": "PER"}, {"id": "y", "start": 4, "end": 7})
    asks = {"pairs": ({"head": "x", "tail": "y", "relation": "r"},)}
    thing = {"id": "o", "box": (0, 0, 1, 1)}
    posts = [
        Post(id="1", text="Ann Bob", entities=ends, **asks),
        Post(id="2", text="Ann BOB", entities=({"id": "x", "start": 0, "end": 3}, ends[1]),
             objects=(thing,), image=Path("i.jpg"), caption="a dog", **asks),
    ]  # fmt: skip
    write(posts, tmp_path / "posts.jsonl")
    found = own_fields(read_instances(tmp_path / "posts.jsonl", "jsonl"))
    assert {one.name: told(one) for one in found[2:]} == {
        "argument types": [["head PER"], None],
        "caption": [None, "a dog"],
        "picture": [{"picture": False}, {"picture": True}],
        "arguments a post": [{"entities": 2, "objects": 0}, {"entities": 2, "objects": 1}],
    }
    assert [one.name for one in own_fields(read_instances(tmp_path / "posts.jsonl", "jsonl")[:1])] == [
        "argument order", "pairs a post"
    ]  # fmt: skip


def test_posts_of_the_same_text_have_their_own_captions(tmp_path: Path) -> None:
    ends = ({"id": "x", "start": 0, "end": 3}, {"id": "y", "start": 4, "end": 7})
    pairs = ({"head": "x", "tail": "y", "relation": "r"},)
    posts = [
        Post(id=word, text="Ann Bob", entities=ends, pairs=pairs, caption=word) for word in "abc"
    ]
    write(posts, tmp_path / "posts.jsonl")
    captions = own_fields(read_instances(tmp_path / "posts.jsonl", "jsonl"))[-1]
    assert (captions.name, told(captions)) == ("caption", ["a", "b", "c"])
