"""What a language teacher says of a pair rests on the pairs of other posts alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import CHECKOUT, schema_of
from rukh import language_teacher
from rukh.answers import ANSWERS, Answers, digest
from rukh.bank import RelationBank
from rukh.config import load_config
from rukh.corpus import DataConfig, read_corpus
from rukh.errors import InputError
from rukh.files import read_json
from rukh.language_model import Asked
from rukh.language_teacher import (
    LanguageTeacherConfig,
    examples,
    question,
    train_language_teacher,
)
from rukh.orders import width
from rukh.readers import load_posts, write
from rukh.records import Pair, Post
from rukh.schema import RelationSchema

SCHEMA = schema_of()
BANK = RelationBank.unembedded(SCHEMA)


class Spy:
    """A language model whose state tells whether the text says ``works``."""

    asked: list[Asked]

    @classmethod
    def load(cls, folder: Path, layer: int) -> Spy:
        cls.asked = []
        return cls()

    def quantize(self, sample: Any) -> None: ...

    def read(self, asked: list[Asked]) -> torch.Tensor:
        self.asked.extend(asked)
        rows = [
            [float("works" in one.text), float("Ann" in one.text)]
            for one in asked
            for _ in one.questions
        ]
        return torch.tensor(rows)


def posts(count: int = 60) -> list[Post]:
    """Half of them say that Ann works at Acme; the data lists some with Acme first."""
    draw = random.Random(0)
    out = []
    for i in range(count):
        works = i % 2 == 0
        text = f"Ann {'works' if works else 'stood'} {i} at Acme"
        entities = (
            {"id": "a", "start": 0, "end": 3, "type": "PER"},
            {"id": "c", "start": len(text) - 4, "end": len(text), "type": "ORG"},
        )
        turned = draw.random() < 0.5
        relation = ("employs" if turned else "works_at") if works else "none"
        pair = Pair(head="c" if turned else "a", tail="a" if turned else "c", relation=relation)
        out.append(Post(id=str(i), text=text, entities=entities, pairs=(pair,)))
    return out


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LanguageTeacherConfig:
    monkeypatch.setattr(language_teacher, "LanguageModel", Spy)
    monkeypatch.setattr("rukh.language_model.find_spec", lambda _: True)  # gguf is not needed here
    (tmp_path / "model.gguf").write_bytes(b"weights")
    write(posts(), tmp_path / "posts.jsonl")
    (tmp_path / "schema.yaml").write_text(SCHEMA.to_yaml(), encoding="utf-8")
    (tmp_path / "teacher.yaml").write_text(
        f"""\
task: language-teacher
data: {{train: {tmp_path}/posts.jsonl, format: jsonl, fold: 0.2}}
relations: {tmp_path}/schema.yaml
tagger: null
language_model: {tmp_path}
words: {{PER: person}}
head: {{epochs: 40, count: 2, learning_rate: 0.01, dropout: 0}}
""",
        encoding="utf-8",
    )
    return load_config(tmp_path / "teacher.yaml", LanguageTeacherConfig)


def test_it_learns_and_answers_all_but_the_fold(
    config: LanguageTeacherConfig, tmp_path: Path
) -> None:
    figures = train_language_teacher(config, tmp_path / "out")
    assert figures["fold"]["order_free"] == 1.0
    assert figures["cross_fitted"]["order_free"] == 1.0
    corpus = read_corpus(config.data, None, [SCHEMA])
    assert figures["pairs"] == figures["answers"] == len(corpus.train) == 48
    said = Answers.load(tmp_path / "out" / ANSWERS, BANK, "joint")
    works = 1 + BANK.names.index("works_at")
    for i, post in enumerate(corpus.posts):
        told = said.of(post, "a", "c")
        if i in corpus.fold:
            assert told is None
        else:
            assert told is not None and told.shape == (width(BANK, "joint"),)
            assert abs(float(told.sum()) - 1) < 0.01
            assert (float(told[works]) > 0.5) == ("works" in post.text)


def test_what_was_asked_before_is_not_asked_again(
    config: LanguageTeacherConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_language_teacher(config, tmp_path / "out")
    monkeypatch.setattr(Spy, "load", lambda *_: pytest.fail("loaded again"))
    assert train_language_teacher(config, tmp_path / "again") == first
    (tmp_path / "model.gguf").write_bytes(b"other weights")
    with pytest.raises(pytest.fail.Exception, match="loaded again"):
        train_language_teacher(config, tmp_path / "other")


def test_no_answer_rests_on_its_own_label(config: LanguageTeacherConfig, tmp_path: Path) -> None:
    """Labels of one part are changed: what is said of this part stays as it was."""
    train_language_teacher(config, tmp_path / "before")
    corpus = read_corpus(config.data, None, [SCHEMA])
    part = language_teacher.parts(corpus.posts, config.parts)
    changed = [
        post.model_copy(
            update={"pairs": tuple(p.model_copy(update={"relation": "none"}) for p in post.pairs)}
        )
        if part[i] == 0 and i in set(corpus.train)
        else post
        for i, post in enumerate(load_posts(config.data.train, "jsonl"))
        if post.pairs is not None
    ]
    write(changed, config.data.train)
    train_language_teacher(config, tmp_path / "after")
    before, after = (
        Answers.load(tmp_path / name / ANSWERS, BANK, "joint") for name in ("before", "after")
    )
    # The temperature is the fold's, whose heads saw the changed labels: the order must stay.
    moved = 0
    for i in corpus.train:
        a, b = before.of(corpus.posts[i], "a", "c"), after.of(corpus.posts[i], "a", "c")
        assert a is not None and b is not None
        if part[i] == 0:
            assert torch.equal(a.argsort(descending=True)[:2], b.argsort(descending=True)[:2])
        else:
            moved += float((a - b).abs().max()) > 0.05
    assert moved


def test_a_pair_is_asked_in_the_order_of_the_text(config: LanguageTeacherConfig) -> None:
    told = posts()
    found = examples(told, range(len(told)), BANK, SCHEMA)
    assert {(e.first, e.second) for e in found} == {("a", "c")} and len(found) == len(told)
    works = 1 + BANK.names.index("works_at")
    assert {e.gold for e in found} == {0, works}
    for e in found:
        assert e.given == (told[e.post].pairs[0].head == "a")  # type: ignore[index]
    for head, tail in (("a", "c"), ("c", "a")):
        unlabelled = told[0].model_copy(update={"pairs": (Pair(head=head, tail=tail),)})
        (found_one,) = examples([unlabelled], [0], BANK, SCHEMA)
        assert (found_one.first, found_one.second, found_one.gold) == ("a", "c", None)


def test_a_question_says_things_of_unknown_types() -> None:
    asked = question(posts()[0], "a", "c", {"PER": "person"})
    assert asked[1] == "Ann" and asked[3] == "Acme" and "Acme (thing)" not in asked[2]
    assert "(thing)?\nAnswer: Ann is" in asked[4] and "(person)" in asked[2]


def test_nothing_to_train_on(config: LanguageTeacherConfig, tmp_path: Path) -> None:
    write([p.model_copy(update={"pairs": ()}) for p in posts()], config.data.train)
    with pytest.raises(InputError, match="too few posts with labelled pairs of two entities"):
        train_language_teacher(config, tmp_path / "out")


def test_what_is_not_there_is_told_first(
    config: LanguageTeacherConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_teacher, "read_corpus", lambda *_: pytest.fail("read"))
    data = config.data.model_copy(update={"part": (0, 3)})
    with pytest.raises(InputError, match=r"data\.part"):
        train_language_teacher(config.model_copy(update={"data": data}), tmp_path / "out")
    (tmp_path / "model.gguf").unlink()
    with pytest.raises(InputError, match=r"holds no model\.gguf"):
        train_language_teacher(config, tmp_path / "out")


def test_unlabelled_sentences_never_bring_labels_along(
    config: LanguageTeacherConfig, tmp_path: Path
) -> None:
    """Those of the training posts, and of the fold, are left to what was held out."""
    told = posts()
    words = [post.text.split() for post in told[:20]] + [["Ann", "works", "for", "Acme"]]
    tags = {"Ann": "B-PER", "Acme": "B-ORG"}
    lines = ["".join(f"{w}\t{tags.get(w, 'O')}\n" for w in sentence) for sentence in words]
    (tmp_path / "more.txt").write_text("\n".join(lines), encoding="utf-8")
    train_language_teacher(config, tmp_path / "before")
    more = config.model_copy(update={"unlabelled": (tmp_path / "more.txt",)})
    figures = train_language_teacher(more, tmp_path / "after")
    before, after = (
        Answers.load(tmp_path / name / ANSWERS, BANK, "joint").told for name in ("before", "after")
    )
    assert len(after) == figures["answers"] == len(before) + 1 and set(before) < set(after)


def test_the_answers_in_the_repository_are_of_mnre(rukh_data: Path) -> None:
    folder = CHECKOUT / "studies" / "results" / "mnre-language"
    schema = RelationSchema.load("mnre")
    bank = RelationBank.unembedded(schema)
    kept = Answers.load(folder / ANSWERS, bank, "joint")
    told = read_json(folder / "config.json")
    assert told["figures"]["answers"] == len(kept.told)
    # Nothing is said of the fold of those who learn from them, and something of all the rest.
    mnre = DataConfig(train=rukh_data / "mnre/train.txt", images=rukh_data / "mnre/images/train")
    corpus = read_corpus(mnre, None, [schema])
    assert kept.fold == digest(corpus.posts[i] for i in corpus.fold)
    for chosen, answered in ((corpus.fold, False), (corpus.train, True)):
        asked = examples(corpus.posts, chosen, bank, schema)
        said = [kept.of(corpus.posts[e.post], e.first, e.second) for e in asked]
        assert all((one is not None) == answered for one in said)
