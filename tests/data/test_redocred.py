"""Re-DocRED's documents, a post a sentence."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rukh.data.readers import read, scan, write
from rukh.errors import InputError
from rukh.records import Post


def mention(sentence: int, start: int, end: int, kind: str = "PER") -> dict[str, Any]:
    return {"name": "x", "sent_id": sentence, "pos": [start, end], "type": kind}


def label(head: int, tail: int, relation: str, *evidence: int) -> dict[str, Any]:
    return {"h": head, "t": tail, "r": relation, "evidence": list(evidence)}


# 0 Ann, 1 Bob, 2 Rome, 3 Oslo; the second sentence names Ann twice, the later place first.
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


def put(folder: Path, *documents: Any, masked: Any = None) -> Path:
    if masked is not None:
        (folder / "redocred_masked_pairs.json").write_text(json.dumps(masked))
    path = folder / "dev.json"
    path.write_text(json.dumps(documents), encoding="utf-8")
    return path


def asked(post: Post) -> list[tuple[str, str, str | None]]:
    return [(p.head, p.tail, p.relation) for p in post.pairs or ()]


def test_sentences_of_two_entities_are_posts(tmp_path: Path) -> None:
    first, second = read(put(tmp_path, DOCUMENT), "redocred")
    assert (first.id, second.id) == ("dev:0:0", "dev:0:1")
    assert second.meta == {"title": "Ann", "sentence": 1}
    assert [(e.id, e.start, e.end, e.type) for e in second.entities] == [
        ("e0", 0, 3, "ORG"),  # its first mention in the sentence, wherever it is listed
        ("e2", 15, 19, "LOC"),
        ("e3", 24, 28, "LOC"),
    ]


def test_relations_stand_where_they_are_shown_and_none_where_nothing_is_known(
    tmp_path: Path,
) -> None:
    first, second = read(put(tmp_path, DOCUMENT), "redocred")
    assert asked(first) == [
        ("e0", "e1", "P26"),
        ("e1", "e0", "P26"),
        ("e1", "e0", "P3373"),  # no evidence is listed, so that any sentence may be it
        ("e0", "e2", "P551"),
        ("e1", "e2", "none"),
    ]
    # Ann and Rome are related, but not by this sentence; Rome and Oslo neither.
    assert asked(second) == [("e0", "e3", "none")]


@pytest.mark.parametrize("turned", [False, True])
def test_masked_pairs_are_left_out_in_both_orders(tmp_path: Path, turned: bool) -> None:
    pair = {"title": "Ann", "h": 2 if turned else 1, "t": 1 if turned else 2}
    other = {"title": "Bob", "h": 0, "t": 3}
    first, second = read(put(tmp_path, DOCUMENT, masked=[pair, other]), "redocred")
    assert ("e1", "e2", "none") not in asked(first) and len(asked(first)) == 4
    assert asked(second) == [("e0", "e3", "none")]


def test_a_broken_list_of_masked_pairs_is_told(tmp_path: Path) -> None:
    for rows, why in [([{"title": "Ann", "h": 1}], r"\[0\] is not a record"), ([3], r"\[0\]")]:
        path = put(tmp_path, DOCUMENT, masked=rows)
        with pytest.raises(InputError, match=rf"redocred_masked_pairs\.json: {why}"):
            list(read(path, "redocred"))
    (tmp_path / "redocred_masked_pairs.json").write_text("[")
    with pytest.raises(InputError, match=r"redocred_masked_pairs\.json:1: not JSON"):
        list(read(path, "redocred"))


def test_it_is_only_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="redocred is only read; write jsonl"):
        write(read(put(tmp_path, DOCUMENT), "redocred"), tmp_path / "out.json", "redocred")
    assert not (tmp_path / "out.json").exists()


def test_all_of_redocred_is_read(rukh_data: Path) -> None:
    path = rukh_data / "wikidata_re" / "redocred_dev.json"
    results = [result for _, result in scan(path, "redocred")]
    posts = [result for result in results if isinstance(result, Post)]
    assert len(posts) == len(results) == 3079
    documents = json.loads(path.read_text("utf-8"))
    masked = json.loads((path.parent / "redocred_masked_pairs.json").read_text("utf-8"))
    titles = {document["title"]: document for document in documents}
    hidden = Counter((row["title"], frozenset((row["h"], row["t"]))) for row in masked)
    related = {
        (title, frozenset((f["h"], f["t"]))) for title, d in titles.items() for f in d["labels"]
    }
    for post in posts:
        told = asked(post)
        assert len(set(told)) == len(told)
        for head, tail, relation in told:
            key = (post.meta["title"], frozenset((int(head[1:]), int(tail[1:]))))
            assert (relation == "none") == (key not in related)
            assert relation != "none" or key not in hidden
