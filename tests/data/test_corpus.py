"""The posts of a training run, and what is told of them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from rukh.data.corpus import DataConfig, read_corpus
from rukh.data.readers import write
from rukh.records import Post
from rukh.schema.schema import RelationSchema


def test_what_is_trained_on_is_told(tmp_path: Path, tiny_schema: RelationSchema) -> None:
    ends = ({"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 4, "end": 8})
    pairs = [{"head": "a", "tail": "b", "relation": name} for name in ("none", "lives_in", None)]
    Image.new("RGB", (8, 8)).save(tmp_path / "here.png")
    posts = [
        Post(id=str(i), text=f"Ann Rome {i}", entities=ends, pairs=pairs[: 2 + i % 2],
             image=tmp_path / ("here.png" if i < 3 else f"gone-{i}.png"))
        for i in range(10)
    ]  # fmt: skip
    write(posts, tmp_path / "posts.jsonl")
    (tmp_path / "tweets.txt").write_text("Ann\tB-PER\nsaw\tO\nRome\tB-LOC\n")
    data = DataConfig(train=tmp_path / "posts.jsonl", format="jsonl", fold=0.3)
    corpus = read_corpus(data, None, [tiny_schema], [tmp_path / "tweets.txt"])
    # The three posts of one picture are on one side; a pair without a label is not counted.
    pictured = " (6 of 3 with a picture)"
    told = corpus.summary()
    assert len(corpus.train) + len(corpus.fold) == 10
    for chosen, where in ((corpus.train, "to train on"), (corpus.fold, "in the fold")):
        seen = pictured if 0 in chosen else " (0 of 0 with a picture)"
        assert f"{2 * len(chosen)} pairs of {len(chosen)} posts{seen} {where}" in told
    assert told.endswith("; 1 posts without labels")
