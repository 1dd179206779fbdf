"""Re-DocRED's documents, one post a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rukh.data.readers import read
from rukh.errors import InputError
from rukh.records import Post


def mention(sentence: int, start: int, end: int, kind: str = "PER") -> dict[str, Any]:
    return {"name": "x", "sent_id": sentence, "pos": [start, end], "type": kind}


def label(head: int, tail: int, relation: str, *evidence: int) -> dict[str, Any]:
    return {"h": head, "t": tail, "r": relation, "evidence": list(evidence)}


# 0 Ann, 1 Bob, 2 Rome, 3 Oslo; the second sentence names Ann twice, the later mention first.
DOCUMENT = {
    "title": "Ann",
    "sents": [
        ["Ann", "and", "Bob", "met", "in", "Rome"],
        ["Ann", ",", "Ann", "left", "Rome", "for", "Oslo"],
        ["Bob", "did", "not"],
    ],
    "vertexSet": [
        [mention(1, 2, 3), mention(0, 0, 1), mention(1, 0, 1, "ORG")],
        [mention(0, 2, 3), mention(2, 0, 1)],
        [mention(1, 4, 5, "LOC"), mention(0, 5, 6, "LOC")],
        [mention(1, 6, 7, "LOC")],
    ],
    "labels": [
        label(0, 1, "P26", 0),
        label(1, 0, "P26", 0),
        label(1, 0, "P3373"),
        label(0, 2, "P551", 0),
        label(2, 3, "P190", 2),
        label(1, 3, "P19", 0, 1),
    ],
}


def put(folder: Path, masked: Any = None) -> Path:
    if masked is not None:
        (folder / "redocred_masked_pairs.json").write_text(json.dumps(masked))
    path = folder / "dev.json"
    path.write_text(json.dumps([DOCUMENT]), encoding="utf-8")
    return path


def pairs(post: Post) -> list[tuple[str, str, str | None]]:
    return [(p.head, p.tail, p.relation) for p in post.pairs or ()]


def test_sentences_of_two_entities_are_posts(tmp_path: Path) -> None:
    first, second = read(put(tmp_path), "redocred")
    assert (first.id, second.id) == ("dev:0:0", "dev:0:1")
    assert second.meta == {"title": "Ann", "sentence": 1}
    assert [(e.id, e.start, e.end, e.type) for e in second.entities] == [
        ("e0", 0, 3, "ORG"),  # the first mention in the text, not in the list
        ("e2", 15, 19, "LOC"),
        ("e3", 24, 28, "LOC"),
    ]


def test_a_pair_has_the_relations_of_its_sentence_or_none(tmp_path: Path) -> None:
    first, second = read(put(tmp_path), "redocred")
    assert pairs(first) == [
        ("e0", "e1", "P26"),
        ("e1", "e0", "P26"),
        ("e1", "e0", "P3373"),  # it lists no evidence, so that any sentence may be evidence
        ("e0", "e2", "P551"),
        ("e1", "e2", "none"),
    ]
    # Ann and Rome are related, but not by this sentence; Rome and Oslo neither.
    assert pairs(second) == [("e0", "e3", "none")]


@pytest.mark.parametrize(("head", "tail"), [(1, 2), (2, 1)])
def test_masked_pairs_are_left_out_in_both_directions(tmp_path: Path, head: int, tail: int) -> None:
    masked = [{"title": "Ann", "h": head, "t": tail}, {"title": "Bob", "h": 0, "t": 3}]
    first, second = read(put(tmp_path, masked), "redocred")
    assert ("e1", "e2", "none") not in pairs(first) and len(pairs(first)) == 4
    assert pairs(second) == [("e0", "e3", "none")]


@pytest.mark.parametrize("masked", [[{"title": "Ann", "h": 1}], [3], 3])
def test_a_bad_list_of_masked_pairs_is_named(tmp_path: Path, masked: Any) -> None:
    with pytest.raises(InputError, match=r"redocred_masked_pairs\.json"):
        list(read(put(tmp_path, masked), "redocred"))
    (tmp_path / "redocred_masked_pairs.json").write_text("[")
    with pytest.raises(InputError, match=r"redocred_masked_pairs\.json"):
        list(read(tmp_path / "dev.json", "redocred"))


def test_all_of_redocred_is_read(rukh_data: Path) -> None:
    posts = list(read(rukh_data / "wikidata_re" / "redocred_dev.json", "redocred"))
    assert len(posts) == 3079
    assert all(len(set(pairs(post))) == len(pairs(post)) for post in posts)
