"""Posts without arguments: what is found is asked, told by its words, and bounded; and types never
come from labels.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import schema_of
from rukh import cli
from rukh.arguments.token_tagger import TokenTagger
from rukh.candidates import MAX_ARGUMENTS_FOR_ALL_PAIRS, MAX_DETECTED_ENTITIES, both_orders
from rukh.data.readers import group_posts, read, write
from rukh.extractor import Extractor
from rukh.modeling.model import RelationModel
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import MAX_PAIRS, Post, TextEntity, Triple
from rukh.utils import resumable_output as journal

Make = Callable[..., RelationModel]
KNOWN = {"Ann": "PER", "Bob": "PER", "Acme": "ORG", "Rome": "LOC"}
TEXT = "Ann and Bob work at Acme of Rome"


class Names:
    """Finds the words that it knows, and notes what it was asked."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def find(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        self.read += texts
        found = []
        for text in texts:
            at = [i for i in range(len(text)) if i == 0 or text[i - 1] == " "]
            words = [(i, text[i:].partition(" ")[0]) for i in at]
            known = [(i, word) for i, word in words if word in KNOWN]
            found.append(
                [
                    TextEntity(id=f"e{n}", start=i, end=i + len(word), type=KNOWN[word])
                    for n, (i, word) in enumerate(known)
                ]
            )
        return found

    def type_posts(self, posts: Sequence[Post]) -> list[Post]:
        return list(posts)


@pytest.fixture
def extractor(tiny_model: Make) -> Extractor:
    return Extractor(tiny_model(vision=True), tagger=Names(), threshold=0)


def test_found_entities_are_asked_and_told(extractor: Extractor) -> None:
    raw = Post(id="p", text=TEXT)
    told = extractor.extract([raw])
    assert len(told) == 6  # near takes every type, and of each two the better order comes out
    for triple in told:
        for entity, name in ((triple.head_entity, triple.head), (triple.tail_entity, triple.tail)):
            assert entity is not None
            assert entity.text == TEXT[entity.start : entity.end]
            assert entity.type == KNOWN[entity.text]
            assert name == f"e{list(KNOWN).index(entity.text)}"
    # Given, the same entities get the same answers, and need no explanation.
    (given,) = extractor.found([raw])
    bare = {"head_entity": None, "tail_entity": None}
    assert extractor.extract([given]) == [triple.model_copy(update=bare) for triple in told]
    extractor.threshold = 1
    assert extractor.extract([raw]) == []


def test_the_types_decide_what_is_asked(tiny_model: Make) -> None:
    relations = [r.model_dump() for r in schema_of().relations if r.name not in {"near"}]
    narrow = schema_of(relations=relations)
    told = Extractor(tiny_model(), tagger=Names(), schema=narrow, threshold=0).extract(
        [Post(id="p", text=TEXT)]
    )
    pairs = {frozenset((t.head, t.tail)) for t in told}
    assert pairs == {frozenset(pair) for pair in (("e0", "e2"), ("e0", "e3"), ("e1", "e2"),
                                                  ("e1", "e3"))}  # fmt: skip


def test_only_posts_that_leave_it_open_are_read(extractor: Extractor, posts: list[Post]) -> None:
    closed = [
        Post(id="asks nothing", text=TEXT, pairs=()),
        Post(id="empty", text=""),
        Post(id="blank", text=" \n"),
        posts[0],
    ]
    assert extractor.found(closed) == closed and extractor.tagger is not None
    raw = Post(id="raw", text="Ann")
    seen = [*closed, raw]
    list(extractor.stream(seen))
    assert extractor.tagger.read == ["Ann"]
    assert extractor.silent == 3  # all but "words" and the one with a name alone


def test_ids_leave_those_of_objects_alone(extractor: Extractor, posts: list[Post]) -> None:
    objects = (
        {"id": "e1", "box": (0.1, 0.1, 0.4, 0.5)},
        {"id": "e2", "box": (0.5, 0.2, 0.9, 0.9), "label": "dog"},
    )
    post = Post(id="p", text=TEXT, image=posts[1].image, objects=objects)
    (full,) = extractor.found([post])
    assert [entity.id for entity in full.entities] == ["e0", "e3", "e4", "e5"]
    assert Post.model_validate(full.model_dump()) == full
    told = extractor.extract([post])
    assert len(told) == 6 * 5 // 2
    for triple in told:
        assert (triple.head_entity is None) == (triple.head in {"e1", "e2"})
        assert (triple.tail_entity is None) == (triple.tail in {"e1", "e2"})


def test_without_a_tagger_raw_posts_stay_as_they_are(tiny_model: Make, posts: list[Post]) -> None:
    extractor = Extractor(tiny_model(), threshold=0)
    assert extractor.tagger is None
    objects = posts[3].model_copy(update={"text": TEXT})
    told = extractor.extract([Post(id="p", text=TEXT), objects])
    assert [(t.post_id, t.head_entity) for t in told] == [("picture", None)]
    assert extractor.silent == 1


def test_a_crowd_is_cut_and_counted(extractor: Extractor) -> None:
    assert (
        MAX_ARGUMENTS_FOR_ALL_PAIRS * (MAX_ARGUMENTS_FOR_ALL_PAIRS - 1)
        <= MAX_PAIRS
        < (MAX_ARGUMENTS_FOR_ALL_PAIRS + 1) * MAX_ARGUMENTS_FOR_ALL_PAIRS
    )
    crowd = Post(id="crowd", text="Ann " * 600)
    box = (0.0, 0.0, 1.0, 1.0)
    room = [{"id": f"o{i}", "box": box} for i in range(MAX_ARGUMENTS_FOR_ALL_PAIRS - 3)]
    full, few, calm = extractor.found(
        [crowd, Post(id="few", text="Ann " * 5, objects=room), Post(id="calm", text="Ann " * 5)]
    )
    assert [entity.start for entity in full.entities] == list(
        range(0, 4 * MAX_DETECTED_ENTITIES, 4)
    )
    assert (
        len(few.entities) == 3
        and len(few.arguments) == MAX_ARGUMENTS_FOR_ALL_PAIRS
        and len(calm.entities) == 5
    )
    assert extractor.cut == {"crowd": 600 - MAX_DETECTED_ENTITIES, "few": 2}


def test_what_is_not_found_is_absent_from_what_is_written() -> None:
    given = Triple(post_id="p", head="a", tail="b", relation="near", score=0.5)
    assert "entity" not in given.model_dump_json()
    assert json.loads(given.model_dump_json())["ranking"] is None
    data = given.model_dump() | {
        "tail_entity": {"start": 0, "end": 3, "type": "PER", "text": "Ann"}
    }
    found = Triple.model_validate(data)
    line = found.model_dump_json(exclude={"ranking"})
    assert list(json.loads(line)) == [
        "post_id", "head", "tail", "tail_entity", "relation", "score", "description", "gate",
    ]  # fmt: skip
    assert Triple.model_validate_json(line) == found


@pytest.fixture
def run(
    tiny_model: Make, tiny_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Runs a command on a raw post, a crowd and one that is given; gives the exit code."""
    tiny_model().save(tmp_path / "model", "")
    given = Post(
        id="given",
        text=TEXT,
        entities=({"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 8, "end": 11}),
        pairs=({"head": "a", "tail": "b", "relation": "near"},),
    )
    posts = [Post(id="raw", text=TEXT), given, Post(id="crowd", text="Ann Bob " * 100)]
    write(posts, tmp_path / "posts.jsonl")
    monkeypatch.setattr(
        "rukh.arguments.token_tagger.TokenTagger.from_pretrained", lambda name: Names()
    )
    # The crowd's 2,016 pairs are slow to tell, and are no concern of these tests.
    monkeypatch.setattr("rukh.extractor.MAX_FOUND", 4)

    def run_here(command: str, *arguments: object) -> int:
        given = ["rukh", command, *arguments, "--model", tmp_path / "model"]
        monkeypatch.setattr(sys, "argv", list(map(str, given)))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    return run_here


def test_the_command_tells_what_was_found(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    posts = tmp_path / "posts.jsonl"
    assert run("extract", posts, "--threshold", 0, "--tagger", "tagger") == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    raw = [row for row in rows if row["post_id"] == "raw"]
    assert {row["head_entity"]["text"] for row in raw} <= set(KNOWN) and len(raw) == 6
    assert [row for row in rows if row["post_id"] == "given" and "head_entity" in row] == []
    assert "ranking" not in said.out
    assert "warning: 1 posts hold more entities" in said.err and "crowd: 196 left out" in said.err
    assert "have no arguments" not in said.err
    assert run("extract", posts, "--threshold", 0, "--tagger", "tagger", "--table") == 0
    table = capsys.readouterr().out
    assert any(f"    {row['head_entity']['text']}  --" in table for row in raw)
    assert "    e0" not in table
    # Its own model has no tagger.
    assert run("extract", posts, "--threshold", 0) == 0
    said = capsys.readouterr()
    assert "warning: 2 posts have no arguments" in said.err and "entity" not in said.out
    assert run("extract", posts, "--tagger", "spcy:en") == 2
    assert "did you mean 'spacy'" in capsys.readouterr().err
    assert run("evaluate", "--data", posts, "--tagger", "tagger", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 1
    assert run("evaluate", "--data", posts, "--tagger", "spcy:en") == 2


def test_a_part_of_another_tagger_is_begun_anew(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities: list[str] = []
    real = journal.ResumableOutput

    def noted(path: Path, identity: Any) -> Any:
        identities.append(json.dumps(identity, sort_keys=True))
        return real(path, identity)

    monkeypatch.setattr(journal, "Journal", noted)
    for folder, weights in (("a", "1"), ("b", "1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(weights)
    posts = tmp_path / "posts.jsonl"
    command = ["extract", posts, "--out", tmp_path / "out.jsonl"]
    assert run(*command) == 0
    assert run(*command, "--tagger", tmp_path / "a") == 0
    assert run(*command, "--tagger", tmp_path / "a") == 0
    assert run(*command, "--tagger", tmp_path / "b") == 0
    (tmp_path / "a" / "config.json").write_text("2")
    assert run(*command, "--tagger", tmp_path / "a") == 0
    assert identities[1] == identities[2] and len(set(identities)) == 4


def test_types_never_come_from_labels(tiny_model: Make, tiny_text: str, tmp_path: Path) -> None:
    """Gold relations name types (``/per/org/...``); turning them about must change nothing."""
    labels = ["/per/org/member_of", "/org/loc/locate_at", "None", "/per/per/peer"]
    words = [*TEXT.split(), "🙂", "boat"]
    chance = random.Random(3)
    records = []
    for i in range(30):
        head, tail = chance.sample(range(len(words)), 2)
        records.append({
            "token": words, "img_id": f"{i % 4}.jpg",
            "h": {"name": words[head], "pos": [head, head + 1]},
            "t": {"name": words[tail], "pos": [tail, tail + 1]},
            "relation": labels[i % len(labels)],
        })  # fmt: skip
    golds = [record["relation"] for record in records]
    torch.manual_seed(5)
    tagger = TokenTagger(TextEncoder.load(tiny_text), ["PER", "LOC", "ORG", "MISC"]).eval()
    torch.nn.init.normal_(tagger.head.weight, std=0.5)
    extractor = Extractor(tiny_model(), tagger=tagger, threshold=0)

    def answers(relations: list[Any], name: str) -> tuple[list[list[Any]], list[Any]]:
        lines = [repr(r | {"relation": g}) for r, g in zip(records, relations, strict=True)]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        posts = list(read(tmp_path / name, "mnre"))
        assert [p.pairs[0].relation for p in posts if p.pairs] == relations
        assert all(entity.type is None for post in posts for entity in post.entities)
        # As training and evaluation see them, and as extraction does.
        grouped = extractor.typed(group_posts(posts))
        asks = [both_orders(post.pairs or ()) for post in grouped]
        scores = [answer.probabilities.tolist() for answer in extractor.answer(grouped, asks)]
        told = [t.model_copy(update={"post_id": ""}) for t in extractor.extract(posts)]
        types = [[entity.type for entity in p.entities] for p in extractor.typed(posts)]
        return types, [scores, told]

    first = answers(golds, "a.txt")
    assert {name for types in first[0] for name in types} - {None} and None not in first[0][0]
    assert answers(chance.sample(golds, len(golds)), "b.txt") == first
    assert answers(["None"] * len(golds), "c.txt") == first
