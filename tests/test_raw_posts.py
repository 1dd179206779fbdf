"""Posts without arguments: what is detected; and types never come from labels."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import schema_of
from rukh import extractor as extraction
from rukh.arguments.candidates import MAX_ARGUMENTS_FOR_ALL_PAIRS
from rukh.arguments.tagger import to_entities
from rukh.arguments.token_tagger import TokenTagger
from rukh.data.readers import read, write
from rukh.extractor import Extractor
from rukh.modeling.model import RelationModel
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import MAX_PAIRS, EntityMention, ObjectMention, Post, TextEntity, both_orders
from rukh.utils import resumable_output

Make = Callable[..., RelationModel]
TYPES = {"Ann": "PER", "Bob": "PER", "Acme": "ORG", "Rome": "LOC"}
TEXT = "Ann and Bob work at Acme of Rome"


class NameTagger:
    """Detects the names of ``TYPES``, and records which texts it read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def detect_entities(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        self.read += texts
        names = re.compile("|".join(TYPES))
        return [
            to_entities(text, [(m.start(), m.end(), TYPES[m[0]]) for m in names.finditer(text)])
            for text in texts
        ]

    def assign_types(self, posts: Sequence[Post]) -> list[Post]:
        return list(posts)


@pytest.fixture
def extractor(tiny_model: Make) -> Extractor:
    return Extractor(tiny_model(vision=True), tagger=NameTagger(), threshold=0)


def test_triples_of_detected_entities(extractor: Extractor) -> None:
    raw = Post(id="p", text=TEXT)
    triples = extractor.extract([raw])
    assert len(triples) == 6  # near allows every type, and each two entities get one triple
    for triple in triples:
        for mention in (triple.head, triple.tail):
            assert isinstance(mention, EntityMention)
            assert mention.text == TEXT[mention.start : mention.end]
            assert mention.type == TYPES[mention.text]
            assert mention.id == f"e{list(TYPES).index(mention.text)}"
    # If they are given, the same entities get the same triples.
    assert extractor.extract(extractor.detect_entities([raw])) == triples
    extractor.threshold = 1
    assert extractor.extract([raw]) == []


def test_types_restrict_the_pairs(tiny_model: Make) -> None:
    narrow = schema_of(
        relations=[r.model_dump() for r in schema_of().relations if r.name != "near"]
    )
    extractor = Extractor(tiny_model(), tagger=NameTagger(), schema=narrow, threshold=0)
    triples = extractor.extract([Post(id="p", text=TEXT)])
    pairs = {tuple(sorted((t.head.id, t.tail.id))) for t in triples}
    assert pairs == {(person, other) for person in ("e0", "e1") for other in ("e2", "e3")}


def test_entities_are_detected_only_where_none_and_no_pairs_are_given(
    extractor: Extractor, posts: list[Post], caplog: pytest.LogCaptureFixture
) -> None:
    complete = [
        Post(id="no pairs", text=TEXT, pairs=()),
        Post(id="empty", text=""),
        Post(id="blank", text=" \n"),
        posts[0],
    ]
    queries = extractor.prepare([*complete, Post(id="raw", text="Ann")])
    assert [query.post for query in queries[:4]] == complete
    assert [query.pairs_given for query in queries] == [True, False, False, False, False]
    assert [entity.type for entity in queries[-1].post.entities] == ["PER"]
    assert isinstance(extractor.tagger, NameTagger) and extractor.tagger.read == ["Ann"]
    extractor.extract(complete)
    assert [record.args for record in caplog.records] == [(3,)]  # all but the last


def test_detected_ids_avoid_those_of_objects(extractor: Extractor, posts: list[Post]) -> None:
    objects = (
        {"id": "e1", "box": (0.1, 0.1, 0.4, 0.5)},
        {"id": "e2", "box": (0.5, 0.2, 0.9, 0.9), "label": "dog"},
    )
    post = Post(id="p", text=TEXT, image=posts[1].image, objects=objects)
    (full,) = extractor.detect_entities([post])
    assert [entity.id for entity in full.entities] == ["e0", "e3", "e4", "e5"]
    assert Post.model_validate(full.model_dump()) == full
    triples = extractor.extract([post])
    assert len(triples) == 6 * 5 // 2
    for mention in (m for t in triples for m in (t.head, t.tail)):
        assert isinstance(mention, ObjectMention) == (mention.id in {"e1", "e2"})


def test_without_a_tagger_no_entities_are_detected(tiny_model: Make, posts: list[Post]) -> None:
    extractor = Extractor(tiny_model(), threshold=0)
    assert extractor.tagger is None
    objects = posts[3].model_copy(update={"text": TEXT})
    triples = extractor.extract([Post(id="p", text=TEXT), objects])
    assert [(t.post_id, type(t.head)) for t in triples] == [("picture", ObjectMention)]


def test_the_number_of_detected_entities_is_bounded(
    extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    most = MAX_ARGUMENTS_FOR_ALL_PAIRS
    assert most * (most - 1) <= MAX_PAIRS < (most + 1) * most
    objects = [{"id": f"o{i}", "box": (0.0, 0.0, 1.0, 1.0)} for i in range(most - 3)]
    posts = [
        Post(id="crowd", text="Ann " * 600),
        Post(id="few", text="Ann " * 5, objects=objects),
        Post(id="calm", text="Ann " * 5),
    ]
    crowd, few, calm = extractor.detect_entities(posts)
    assert [e.start for e in crowd.entities] == [4 * i for i in range(600)]
    assert (len(few.entities), len(few.arguments), len(calm.entities)) == (3, most, 5)
    extractor.across_windows = True
    (fewer,) = extractor.detect_entities(posts[:1])
    assert len(fewer.entities) == most
    assert [record.args for record in caplog.records] == [("few", 2, 5), ("crowd", 600 - most, 600)]


def test_long_texts_are_read_in_windows(extractor: Extractor) -> None:
    # The model reads 128 positions.
    text = "Ann works at Acme. Bob is in Rome. " * 40
    (post,) = extractor.detect_entities([Post(id="long", text=text)])
    assert len(post.entities) == 160
    triples = extractor.extract([post])
    assert triples == extractor.extract([Post(id="long", text=text)])
    distances = []
    for triple in triples:
        head, tail = triple.head, triple.tail
        assert isinstance(head, EntityMention) and isinstance(tail, EntityMention)
        assert text[head.start : head.end] == head.text != tail.text
        assert post.argument(head.id).start == head.start
        distances.append(abs(head.start - tail.start))
    assert len({(t.head.id, t.tail.id) for t in triples}) == len(triples)
    assert max(distances) < 600 and {e.id for e in post.entities} == {
        mention.id for t in triples for mention in (t.head, t.tail)
    }
    # Pairs that the post lists are answered wherever they are; others on request.
    far = Post.model_validate(post.model_dump() | {"pairs": [{"head": "e0", "tail": "e159"}]})
    assert len(extractor.extract([far])) == 1
    extractor.across_windows = True
    short = post.model_copy(update={"entities": (*post.entities[:2], *post.entities[-2:])})
    assert {(t.head.id, t.tail.id) for t in extractor.extract([short])} & {
        ("e0", "e159"),
        ("e159", "e0"),
    }


@pytest.fixture
def run(
    tiny_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rukh: Callable[..., Any]
) -> Callable[..., Any]:
    """Runs a command on a post without arguments, one with many names, and one with a pair."""
    tiny_model().save(tmp_path / "model", "")
    given = Post(
        id="given",
        text=TEXT,
        entities=({"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 8, "end": 11}),
        pairs=({"head": "a", "tail": "b", "relation": "near"},),
    )
    posts = [Post(id="raw", text=TEXT), given, Post(id="empty", text="")]
    write(posts, tmp_path / "posts.jsonl")
    monkeypatch.setattr(
        "rukh.arguments.token_tagger.TokenTagger.from_pretrained", lambda name: NameTagger()
    )
    model = ("--model", tmp_path / "model")
    return lambda command, *arguments: rukh(command, *arguments, *model)


def test_the_command_reports_detected_entities(run: Callable[..., Any], tmp_path: Path) -> None:
    posts = tmp_path / "posts.jsonl"
    done = run("extract", posts, "--threshold", 0, "--tagger", "tagger")
    rows = [json.loads(line) for line in done.out.splitlines()]
    raw = [row for row in rows if row["post_id"] == "raw"]
    assert done.code == 0 and {row["head"]["text"] for row in raw} <= set(TYPES) and len(raw) == 6
    table = run("extract", posts, "--threshold", 0, "--tagger", "tagger", "--table").out
    assert any(f"    {row['head']['text']}  --" in table for row in raw)
    assert "    e0" not in table
    done = run("extract", posts, "--threshold", 0)  # the model has no tagger of its own
    assert done.code == 0 and len(done.out.splitlines()) == 1
    assert "posts without triples, as they have no given or detected arguments: 2" in done.err
    done = run("evaluate", "--data", posts, "--tagger", "tagger", "--json", "-")
    assert json.loads(done.out)["pairs"] == 1
    for command in (["extract", posts], ["evaluate", "--data", posts]):
        assert run(*command, "--tagger", "spcy:en").code == 2


def test_another_tagger_does_not_resume_the_output(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities: list[str] = []
    original = resumable_output.ResumableOutput

    def recorded(path: Path, identity: Any, header: Any) -> Any:
        identities.append(json.dumps(identity, sort_keys=True, default=str))
        return original(path, identity, header)

    monkeypatch.setattr(resumable_output, "ResumableOutput", recorded)
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text("1" if folder == "a" else "2")
    command = ["extract", tmp_path / "posts.jsonl", "--out", tmp_path / "out.jsonl"]
    run(*command)
    for folder in "aab":
        run(*command, "--tagger", tmp_path / folder)
    (tmp_path / "a" / "config.json").write_text("3")
    run(*command, "--tagger", tmp_path / "a")
    assert identities[1] == identities[2] and len(set(identities)) == 4


def test_types_never_come_from_labels(tiny_model: Make, tiny_text: str, tmp_path: Path) -> None:
    """Gold relations name types (``/per/org/...``); shuffling them must change nothing."""
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
    gold = [record["relation"] for record in records]
    torch.manual_seed(5)
    tagger = TokenTagger(TextEncoder.load(tiny_text), ["PER", "LOC", "ORG", "MISC"]).eval()
    torch.nn.init.normal_(tagger.head.weight, std=0.5)
    extractor = Extractor(tiny_model(), tagger=tagger, threshold=0)

    def results(relations: list[str], name: str) -> tuple[list[list[Any]], list[Any]]:
        lines = [repr(r | {"relation": g}) for r, g in zip(records, relations, strict=True)]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        posts = list(read(tmp_path / name, "mnre"))
        assert [p.pairs[0].relation for p in posts if p.pairs] == relations
        assert all(entity.type is None for post in posts for entity in post.entities)
        typed = extractor.assign_types(posts)
        scores = extractor.scores(typed, [both_orders(post.pairs or ()) for post in typed])
        triples = [t.model_copy(update={"post_id": ""}) for t in extractor.extract(posts)]
        types = [[entity.type for entity in post.entities] for post in typed]
        return types, [[one.logits.tolist() for one in scores], triples]

    first = results(gold, "a.txt")
    assert {name for types in first[0] for name in types} - {None} and None not in first[0][0]
    assert results(chance.sample(gold, len(gold)), "b.txt") == first
    assert results(["None"] * len(gold), "c.txt") == first


@pytest.mark.parametrize("stored", [False, True])
def test_threads_can_share_an_extractor(
    tiny_model: Make, posts: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    stored: bool,
) -> None:  # fmt: skip
    loads: list[str] = []

    def load(name: str, **_: Any) -> NameTagger:
        loads.append(name)
        time.sleep(0.05)  # so that the other threads come meanwhile
        return NameTagger()

    monkeypatch.setattr(extraction, "load_tagger", load)
    model = tiny_model(vision=True)
    model.config = model.config.model_copy(update={"tagger": "names"})
    posts = [*posts, Post(id="raw", text=TEXT)]
    alone = Extractor(model, threshold=0).extract(posts)
    loads.clear()
    vars(model).pop("_vision")
    folder = tmp_path / "features" if stored else None
    shared = Extractor(model, threshold=0, feature_folder=folder)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(shared.extract, [posts] * 8))
    assert loads == ["names"] and alone
    assert results == [alone] * 8
