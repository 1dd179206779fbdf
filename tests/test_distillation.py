"""Learning from teachers: who may answer, what is averaged, and what is mixed with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import schema_of
from rukh.answers import ANSWERS, Answers, digest, pair_key
from rukh.corpus import unlabelled_posts
from rukh.distillation import DistillationConfig, mixed, teach
from rukh.errors import InputError
from rukh.folds import parts
from rukh.model import RelationModel
from rukh.orders import turned, width
from rukh.readers import load_posts
from rukh.records import Post
from rukh.scoring import score_posts

TAGGED = """\
Ann\tB-PER
Lee\tI-PER
of\tO
Rome\tB-LOC
sees\tO
Bob\tB-PER

Ann\tB-PER
sleeps\tO
"""


@pytest.fixture
def many() -> list[Post]:
    """Twelve posts, each with a text of its own."""
    return [
        Post(
            id=str(i),
            text=f"Ann {i} near Rome",
            entities=(
                {"id": "a", "start": 0, "end": 3, "type": "PER"},
                {"id": "r", "start": len(f"Ann {i} near "), "end": len(f"Ann {i} near Rome")},
            ),
        )
        for i in range(12)
    ]


@pytest.fixture
def saved(tiny_model: Any, tmp_path: Path) -> Any:
    """Saves a teacher of a seed and part; returns its folder and the model."""

    def save(
        seed: int, part: tuple[int, int] | None = None, **changes: Any
    ) -> tuple[str, RelationModel]:
        model = tiny_model(seed=seed, **changes)
        model.config = model.config.model_copy(
            update={"order": "joint", "part": part, "temperature": 1.5}
        )
        folder = tmp_path / f"teacher-{seed}-{part}"
        model.save(folder, "")
        return str(folder), RelationModel.from_pretrained(folder)

    return save


def said(model: RelationModel, posts: list[Post], asked: list[list[tuple[str, str]]]) -> Tensor:
    scored = score_posts(model, model.bank(), posts, asked, [None] * len(posts))
    return torch.stack([(s.logits / 1.5).softmax(-1) for s in scored])


def test_teachers_are_averaged(saved: Any, many: list[Post]) -> None:
    (first, one), (second, two) = saved(1), saved(2)
    chosen = [3, 5]
    asked = [[("a", "r"), ("r", "a")]] * 2
    told = teach(DistillationConfig(teachers=(first, second)), many, 12, chosen, asked, one, None)
    some = [many[i] for i in chosen]
    expected = (said(one, some, asked) + said(two, some, asked)) / 2
    for answer, row in zip(told, expected, strict=True):
        assert answer is not None and answer.shape == (2, 6)
        torch.testing.assert_close(answer, row)
        assert answer.sum(-1).tolist() == pytest.approx([1, 1])


def test_a_teacher_of_a_part_answers_on_that_part_and_on_what_is_unlabelled(
    saved: Any, many: list[Post]
) -> None:
    folder, teacher = saved(1, part=(1, 3))
    part = parts(many[:9], 3)
    told = teach(
        DistillationConfig(teachers=(folder,)),
        many,
        9,
        list(range(12)),
        [[("a", "r")]] * 12,
        teacher,
        None,
    )
    answered = [i for i, answer in enumerate(told) if answer is not None]
    assert answered == [i for i in range(12) if i >= 9 or part[i] == 1]


def test_a_language_teacher_answers_what_it_was_asked(
    saved: Any, many: list[Post], tmp_path: Path
) -> None:
    folder, teacher = saved(1)
    bank = teacher.bank()
    told = torch.rand(width(bank, "joint")).softmax(-1)
    language = tmp_path / "language"
    language.mkdir()
    (language / "config.json").write_text("{}", encoding="utf-8")
    known = Answers({pair_key(many[3], "a", "r"): told}, bank, "joint", digest([many[7]]))
    known.save(language / ANSWERS)
    asked = [[("a", "r"), ("r", "a")]] * 2
    alone = DistillationConfig(teachers=(str(language),))
    answer, nothing = teach(alone, many, 12, [3, 5], asked, teacher, None, [7])
    assert answer is not None and nothing is None
    torch.testing.assert_close(answer[0], told, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(answer[1], turned(answer[0], bank))
    # Where two answer, their mean counts; where one does, what it says.
    both = DistillationConfig(teachers=(str(language), folder))
    mean, other = teach(both, many, 12, [3, 5], asked, teacher, None, [7])
    expected = said(teacher, [many[3], many[5]], asked)
    assert mean is not None and other is not None
    torch.testing.assert_close(mean, (answer + expected[0]) / 2)
    torch.testing.assert_close(other, expected[1])
    # Another fold, or a part that is left out: labels would be repeated that are held out.
    with pytest.raises(InputError, match="rest on labels that this run holds out"):
        teach(alone, many, 12, [3, 5], asked, teacher, None, [8])
    with pytest.raises(InputError, match="answers on none of the posts"):
        teach(alone, many, 12, [5], asked[:1], teacher, None, [7])
    teacher.config = teacher.config.model_copy(update={"part": (0, 3)})
    with pytest.raises(InputError, match=r"data\.part is set"):
        teach(alone, many, 12, [3, 5], asked, teacher, None, [7])


def test_a_teacher_of_another_kind_is_refused(saved: Any, many: list[Post]) -> None:
    folder, teacher = saved(1)
    fewer = [r for r in schema_of().relations if r.name != "lives_in"]
    student = saved(2, schema=schema_of(relations=[r.model_dump() for r in fewer]))[1]
    config = DistillationConfig(teachers=(folder,))
    with pytest.raises(InputError, match="another relations"):
        teach(config, many, 12, [0], [[("a", "r")]], student, None)
    teacher.config = teacher.config.model_copy(update={"order": "both"})
    with pytest.raises(InputError, match="another order"):
        teach(config, many, 12, [0], [[("a", "r")]], teacher, None)


def test_mixed() -> None:
    gold, told = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert mixed(gold, told, 0.25).tolist() == [[0.75, 0.25]]
    assert mixed(gold, None, 0.25) is gold and mixed(None, told, 0.25) is told
    with pytest.raises(ValueError, match="neither"):
        mixed(None, None, 0.5)


def test_no_unlabelled_tweet_is_a_sentence_of_val(rukh_data: Path) -> None:
    """As docs/mnre.md says of the files that configs/mnre.yaml names."""
    files = [f"twitter2015_{split}.txt" for split in ("train", "valid", "test")]
    files.append("twitter2017_train.txt")
    posts = unlabelled_posts([rukh_data / "twitter_ner" / name for name in files])
    assert len(posts) == 5562
    val = {post.text for post in load_posts(rukh_data / "mnre" / "val.txt", "mnre")}
    assert not val & {post.text for post in posts}


def test_unlabelled_posts_carry_spans_but_no_types(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TAGGED)
    found = unlabelled_posts([tmp_path / "a.txt", tmp_path / "a.txt"])
    (post,) = found  # one entity makes no pair, and a sentence is taken once
    assert [post.surface(e.id) for e in post.entities] == ["Ann Lee", "Rome", "Bob"]
    assert all(e.type is None for e in post.entities)
    assert [(p.head, p.tail, p.relation) for p in post.pairs or ()] == [
        ("e0", "e1", None), ("e0", "e2", None), ("e1", "e2", None),
    ]  # fmt: skip


def test_a_teacher_is_asked_once(
    saved: Any, many: list[Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUKH_CACHE", str(tmp_path / "cache"))
    folder, teacher = saved(1)
    config = DistillationConfig(teachers=(folder,))

    def ask() -> Tensor | None:
        return teach(config, many, 12, [4], [[("a", "r")]], teacher, None)[0]

    first = ask()
    assert len([*(tmp_path / "cache" / "teachers").iterdir()]) == 1
    monkeypatch.setattr("rukh.distillation.score_posts", None)
    assert torch.equal(ask(), first)  # type: ignore[arg-type]
    many[4] = many[4].model_copy(update={"caption": "a hat"})
    with pytest.raises(TypeError):  # another post is another question
        ask()
