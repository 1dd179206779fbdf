"""The posts of a training run: reading, splitting, subsets, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import schema_of
from rukh.data.corpus import (
    CorpusConfig,
    DataConfig,
    check_labels,
    check_training_labels,
    list_all_pairs,
    load_val,
    merge_labels,
    read_corpus,
    warn_unseen_relations,
)
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.records import Post
from rukh.schema.schema import RelationSchema


def make_posts(count: int, *labels: str | None, **changes: Any) -> list[Post]:
    """Posts with one pair for each label."""
    ends = ({"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 4, "end": 8})
    pairs = [{"head": "a", "tail": "b", "relation": label} for label in labels]
    return [
        Post(id=str(i), text=f"Ann Rome {i}", entities=ends, pairs=pairs, **changes)
        for i in range(count)
    ]


def data(path: Path, posts: list[Post], **changes: Any) -> DataConfig:
    write(posts, path)
    return DataConfig(train=path, format="jsonl", dev_fraction=0.3, **changes)


def test_posts_that_share_an_image_are_on_the_same_side_of_the_split(
    tmp_path: Path, tiny_schema: RelationSchema
) -> None:
    posts = [
        post.model_copy(update={"image": tmp_path / ("same.png" if i < 3 else f"{i}.png")})
        for i, post in enumerate(make_posts(10, "none", "lives_in", None))
    ]
    corpus = read_corpus(data(tmp_path / "posts.jsonl", posts), tiny_schema)
    assert sorted(corpus.train + corpus.dev) == list(range(10))
    assert {0, 1, 2} <= {*corpus.train} or {0, 1, 2} <= {*corpus.dev}


def test_fractions_reduce_the_training_set_and_extra_corpora(
    tmp_path: Path, tiny_schema: RelationSchema
) -> None:
    config = data(tmp_path / "posts.jsonl", make_posts(20, "near"), train_fraction=0.5)
    extra = make_posts(10, "visits")
    write(
        [post.model_copy(update={"text": f"{post.text} again"}) for post in extra],
        tmp_path / "extra.jsonl",
    )
    visits = {"name": "visits", "id": "P1", "descriptions": ["the head goes to see the tail"]}
    other = RelationSchema.parse({"name": "other", "relations": [visits]})
    (tmp_path / "other.yaml").write_text(other.to_yaml())
    options = {
        "train": tmp_path / "extra.jsonl",
        "schema": str(tmp_path / "other.yaml"),
        "fraction": 0.4,
    }
    extra_corpus = CorpusConfig.model_validate(options)
    corpus = read_corpus(config, tiny_schema, [extra_corpus])
    assert corpus.source == corpus.corpus == [0] * 20 + [1] * 4
    assert corpus.schemas == [tiny_schema, other]
    whole = data(tmp_path / "posts.jsonl", make_posts(20, "near"))
    full = read_corpus(whole, tiny_schema, [extra_corpus])
    assert corpus.dev == full.dev
    assert {*corpus.train} < {*full.train} and len(corpus.train) == round(len(full.train) / 2)


def test_labels_become_names_of_their_schema(tmp_path: Path) -> None:
    relation = {"name": "residence", "id": "P551", "descriptions": ["where it lives"]}
    schema = RelationSchema.parse({"name": "s", "relations": [relation]})
    corpus = read_corpus(data(tmp_path / "posts.jsonl", make_posts(4, "P551")), schema)
    assert {pair.relation for post in corpus.posts for pair in post.pairs or ()} == {"residence"}
    config = data(tmp_path / "posts.jsonl", make_posts(4, "P9"))
    with pytest.raises(InputError, match=r"posts\.jsonl: post '0'.*'P9'"):
        read_corpus(config, schema)


def test_no_posts_are_an_error(tmp_path: Path, tiny_schema: RelationSchema) -> None:
    with pytest.raises(InputError):
        read_corpus(data(tmp_path / "posts.jsonl", []), tiny_schema)


def test_a_folder_has_a_schema_for_each_file(tmp_path: Path, tiny_schema: RelationSchema) -> None:
    folder = tmp_path / "folder"
    for name in ("b", "a"):
        posts = make_posts(2, "near", None)
        write(
            [p.model_copy(update={"text": f"{p.text} {name}"}) for p in posts],
            folder / f"{name}.jsonl",
        )
        (folder / f"{name}.yaml").write_text(tiny_schema.to_yaml())
    config = data(tmp_path / "posts.jsonl", make_posts(5, "near"))
    corpus = read_corpus(config, tiny_schema, [CorpusConfig(train=folder)])
    assert len(corpus.schemas) == 3
    assert corpus.source == [0] * 5 + [1, 1, 2, 2] and corpus.corpus == [0] * 5 + [1] * 4
    assert corpus.posts[5].text.endswith("a")
    (folder / "a.yaml").unlink()
    with pytest.raises(InputError, match=r"a\.yaml"):
        CorpusConfig(train=folder).read()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        CorpusConfig(train=tmp_path / "empty").read()
    with pytest.raises(InputError, match="schema"):
        CorpusConfig(train=tmp_path / "posts.jsonl").read()


def test_posts_of_a_complete_corpus_list_all_pairs(tiny_schema: RelationSchema) -> None:
    ends = [{"id": name, "start": i, "end": i + 1} for i, name in enumerate("abc")]
    listed = {"head": "b", "tail": "a", "relation": "near"}
    post = list_all_pairs(Post(id="1", text="abc", entities=ends, pairs=[listed]), "none")
    pairs = [(p.head, p.tail, p.relation) for p in post.pairs or ()]
    assert pairs == [("b", "a", "near"), ("a", "c", "none"), ("b", "c", "none")]


@pytest.mark.parametrize(
    ("nota", "excluded", "expected"),
    [
        ("None", [], ["none", "near", None]),
        ("None", ["near"], ["none", None]),
        (None, [], ["None", "near", None]),
    ],
)
def test_labels_are_translated_to_a_merged_schema(
    nota: str | None, excluded: list[str], expected: list[str | None]
) -> None:
    relations = [{"name": name, "descriptions": ["x"]} for name in ("None", "near")]
    own = schema_of(nota=nota, relations=relations)
    (post,) = make_posts(1, "None", "near", None)
    merged = merge_labels(post, own, schema_of(), excluded)
    assert [pair.relation for pair in merged.pairs or ()] == expected


def test_unknown_labels_are_listed_by_frequency(tiny_schema: RelationSchema) -> None:
    posts = make_posts(2, "near", "livs_in") + make_posts(1, "paints")
    check_labels(posts[:0] + make_posts(1, "none"), tiny_schema, "x")
    with pytest.raises(InputError, match=r"^x: 3 .*'livs_in', 'paints'.*'lives_in'"):
        check_labels(posts, tiny_schema, "x")
    with pytest.raises(InputError):
        check_labels(make_posts(2, None), tiny_schema, "x")


def test_val_has_to_be_labelled_with_the_schema(
    tmp_path: Path, tiny_schema: RelationSchema
) -> None:
    write(make_posts(2, "near"), tmp_path / "val.jsonl")
    config = data(tmp_path / "posts.jsonl", make_posts(4, "near"), val=tmp_path / "val.jsonl")
    assert len(load_val(config, tiny_schema)) == 2
    write(make_posts(2, "paints"), tmp_path / "val.jsonl")
    with pytest.raises(InputError, match=r"val\.jsonl"):
        load_val(config, tiny_schema)


@pytest.mark.parametrize(
    ("train", "dev", "named"),
    [
        ((None,), ("near",), "training set"),  # null means unlabelled
        (("near",), ("none", None), "dev set"),
        ((), ("near",), "training set"),
    ],
)
def test_a_set_without_relations_is_an_error(
    tiny_schema: RelationSchema, train: tuple[str, ...], dev: tuple[str, ...], named: str
) -> None:
    posts = make_posts(3, *train), make_posts(3, *dev)
    with pytest.raises(InputError, match=f"^x: the {named} .*data.dev_fraction"):
        check_training_labels(*posts, tiny_schema, "x")


def test_data_that_teaches_little_is_warned_of(
    tiny_schema: RelationSchema, caplog: pytest.LogCaptureFixture
) -> None:
    enough = make_posts(10, "works_at", "none")
    check_training_labels(enough, enough, tiny_schema, "x")
    assert not caplog.text
    check_training_labels(make_posts(10, "near"), make_posts(4, "near"), tiny_schema, "x")
    few, no_nota = caplog.messages
    assert "4" in few and "'none'" in no_nota
    caplog.clear()
    warn_unseen_relations(enough, tiny_schema, "x")  # `employs` is seen in the other direction
    assert caplog.messages[0].endswith(": near, lives_in")


def test_missing_files_say_how_to_go_without(tmp_path: Path, tiny_schema: RelationSchema) -> None:
    write(make_posts(2, "near"), tmp_path / "val.jsonl")
    missing = {"captions": Path("no"), "val": tmp_path / "val.jsonl", "val_captions": Path("no")}
    config = data(tmp_path / "posts.jsonl", make_posts(4, "near"), **missing)
    with pytest.raises(InputError, match=r"data\.captions=null"):
        read_corpus(config, tiny_schema)
    with pytest.raises(InputError, match=r"data\.val_captions=null"):
        load_val(config, tiny_schema)
    with pytest.raises(InputError, match=r"data\.val=null"):
        load_val(config.model_copy(update={"val": Path("no")}), tiny_schema)
