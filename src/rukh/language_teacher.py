"""A teacher over a frozen language model (``task: language-teacher`` in a config file).

The model is asked how one argument is related to the other, and a small head over the state with
which it begins its answer tells the relation. It is asked in the order of the text, so that the
order of the data can tell it nothing. Heads are cross-fitted: what one says of a pair never rests
on that pair's label. The teacher does not ship, its answers do; see :mod:`rukh.answers`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from rukh.answers import ANSWERS, Answers, digest, pair_key
from rukh.bank import RelationBank
from rukh.calibration import Calibration, calibrate
from rukh.candidates import both_orders
from rukh.corpus import DataConfig, labelled_pairs, read_corpus
from rukh.errors import InputError
from rukh.files import atomic_folder, sha256, write_json
from rukh.folds import parts
from rukh.language_model import OPENING, Asked, LanguageModel, Precision, model_files
from rukh.orders import turned, width
from rukh.records import Post, Record
from rukh.schema import RelationSchema
from rukh.tensor_cache import kept

_TOGETHER = 32  # posts whose states are kept in one file
_SAMPLE = 24  # posts by which whole numbers know their ranges
_MOST_NAME = 100  # characters of an argument in the question
_LEAST = 1e-9  # probability


class HeadConfig(Record):
    """The head over the states: one hidden layer.

    Attributes:
        hidden: Its width.
        dropout: Before the output.
        epochs, batch_size, learning_rate, weight_decay: Of AdamW; the rate rises and falls once.
        count: How many, each of another seed; their probabilities are averaged.
    """

    hidden: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    epochs: int = Field(default=12, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    count: int = Field(default=4, ge=1)


class LanguageTeacherConfig(Record):
    """A language model's answers to be made.

    Attributes:
        data, relations, tagger: As of a relation model. Captions are not read, nor pictures, but
            these tell posts apart when the fold is made.
        unlabelled: CoNLL files whose pairs are answered too.
        language_model: Folder of the model.
        words: What an entity of a type is called in the question; others are things.
        layer: After which of its layers states are read.
        precision: See :data:`rukh.language_model.Precision`.
        parts: A pair's head saw the pairs of all other parts.
        head: See :class:`HeadConfig`.
    """

    task: Literal["language-teacher"]
    data: DataConfig
    relations: str = "mnre"
    tagger: str | None = "tagger"
    unlabelled: tuple[Path, ...] = ()
    language_model: Path
    words: dict[str, str] = {}
    layer: int = Field(default=24, ge=1)
    precision: Precision = "int8"
    parts: int = Field(default=3, ge=2)
    head: HeadConfig = HeadConfig()


class Example(NamedTuple):
    """A pair in the order of the text.

    Attributes:
        post: Index of its post.
        first, second: Its entities.
        gold: Its column (see :mod:`rukh.orders`), or None where it has no label.
        given: Whether the data lists it in this order.
    """

    post: int
    first: str
    second: str
    gold: int | None
    given: bool


def examples(
    posts: Sequence[Post], chosen: Sequence[int], bank: RelationBank, schema: RelationSchema
) -> list[Example]:
    """The pairs of two entities in the chosen posts, each once."""
    found: dict[tuple[int, str, str], Example] = {}
    for i in chosen:
        post = posts[i]
        place = {e.id: (e.start, e.end, e.id) for e in post.entities}
        asked, gold = labelled_pairs(post, bank, schema, "joint", post.id)
        told: list[tuple[tuple[str, str], int | None]] = list(zip(asked, gold, strict=True))
        if not told:
            told = [(order, None) for order in both_orders(post.pairs or ())]
        for number, ((head, tail), column) in enumerate(told):
            if head not in place or tail not in place or place[head] > place[tail]:
                continue
            # A labelled pair is asked in the order of the data, and then in the other.
            example = Example(i, head, tail, column, column is None or number % 2 == 0)
            found.setdefault((i, head, tail), example)
    return list(found.values())


def question(
    post: Post, first: str, second: str, words: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    r"""What is asked of a pair, in parts.

    Args:
        words: See :class:`LanguageTeacherConfig`.

    Example:
        >>> post = Post.model_validate({"id": "1", "text": "Ada in Rome", "entities": [
        ...     {"id": "a", "start": 0, "end": 3, "type": "PER"},
        ...     {"id": "b", "start": 7, "end": 11, "type": "LOC"}]})
        >>> "".join(question(post, "a", "b", {"PER": "person", "LOC": "place"}))
        '\nQuestion: How is "Ada" (person) related to "Rome" (place)?\nAnswer: Ada is'
    """
    known = {e.id: e for e in post.entities}
    names = [post.text[known[one].start : known[one].end][:_MOST_NAME] for one in (first, second)]
    kinds = [(words or {}).get(str(known[one].type), "thing") for one in (first, second)]
    return (
        '\nQuestion: How is "',
        names[0],
        f'" ({kinds[0]}) related to "',
        names[1],
        f'" ({kinds[1]})?\nAnswer: {names[0]} is',
    )


def train_language_teacher(config: LanguageTeacherConfig, out: Path) -> dict[str, Any]:
    """Ask the language model, fit the heads, write the answers to ``out``.

    States are kept in the cache, so that an interrupted run goes on where it stopped.

    Returns:
        ``fold`` and ``cross_fitted``: see :class:`rukh.calibration.Calibration`; of the fold, and
        of what heads say of train's pairs that they did not learn, each at its own temperature.
        ``pairs``: how many were learned from. ``answers``: how many are kept.

    Raises:
        InputError: No language model, or too little to learn from or to be measured on.
    """
    # What is not there is told before any work.
    model_files(config.language_model)
    if config.data.part is not None:
        raise InputError(
            "its heads are cross-fitted already", field="data.part", fix="leave it out"
        )
    schema = RelationSchema.load(config.relations)
    bank = RelationBank.unembedded(schema)
    corpus = read_corpus(config.data, config.tagger, [schema], config.unlabelled)
    posts, labelled = corpus.posts, corpus.labelled
    known = {post.text for post in posts[:labelled]}
    more = [i for i in range(labelled, len(posts)) if posts[i].text not in known]
    asked = examples(posts, [*corpus.fold, *corpus.train, *more], bank, schema)
    fold, part = set(corpus.fold), parts(posts[:labelled], config.parts)
    # Of the fold and of what has no label, heads of all of train are asked.
    group = torch.tensor(
        [part[e.post] if e.post < labelled and e.post not in fold else -1 for e in asked],
        dtype=torch.long,
    )
    gold = torch.tensor([-1 if e.gold is None else e.gold for e in asked], dtype=torch.long)
    in_fold = torch.tensor([e.post in fold for e in asked], dtype=torch.bool)
    held_out = in_fold & (gold >= 0)
    learned = (group >= 0) & (gold >= 0)
    if not held_out.any() or len(set(group[learned].tolist())) < config.parts:
        raise InputError(
            "too few posts with labelled pairs of two entities: the fold and each of the "
            f"{config.parts} parts need some",
            where=str(config.data.train),
        )
    print(f"{corpus.summary()}; {len(asked):,} pairs are asked", file=sys.stderr, flush=True)
    inputs = torch.cat([_states(config, posts, asked), _types(posts, asked, schema)], 1)

    columns = width(bank, "joint")
    said = torch.zeros(len(asked), columns)
    for left_out in range(-1, config.parts):
        these, rest = group == left_out, learned & (group != left_out)
        if these.any():
            said[these] = _heads(config.head, inputs[rest], gold[rest], inputs[these], columns)
    logits = said.clamp_min(_LEAST).log()

    # The data's order, and the other, as the fold of any model is judged.
    given = torch.tensor([e.given for e in asked])
    back = turned(logits, bank)
    first = torch.where(given[:, None], logits, back)
    second = torch.where(given[:, None], back, logits)
    labels = torch.where(given, gold, turned(torch.arange(columns), bank)[gold])

    def judged(which: Tensor) -> Calibration:
        both = torch.stack([first[which], second[which]], 1).flatten(0, 1)
        names = [str(schema.nota), *bank.names]
        told = [names[label] for label in labels[which].tolist()]
        return calibrate(both, told, bank, schema, "joint")

    held = judged(held_out)
    told = (logits / held.temperature).softmax(-1)
    answers = Answers(
        {
            pair_key(posts[e.post], e.first, e.second): row
            for e, row in zip(asked, told, strict=True)
            if e.post not in fold
        },
        bank,
        "joint",
        digest(posts[i] for i in fold),
    )
    figures = {
        "fold": held._asdict(),
        "cross_fitted": judged(learned)._asdict(),
        "pairs": int(learned.sum()),
        "answers": len(answers.told),
    }
    with atomic_folder(out) as folder:
        answers.save(folder / ANSWERS)
        about = config.model_dump(mode="json", exclude={"data", "language_model", "unlabelled"})
        write_json({**about, "figures": figures}, folder / "config.json")
    return figures


def _states(
    config: LanguageTeacherConfig, posts: Sequence[Post], asked: Sequence[Example]
) -> Tensor:
    """The language model's states, standardized, ``(N, D)``."""
    from tqdm import tqdm

    by_post: dict[int, list[Example]] = {}
    for example in asked:
        by_post.setdefault(example.post, []).append(example)
    told = [
        Asked(
            posts[i].text, tuple(question(posts[i], e.first, e.second, config.words) for e in some)
        )
        for i, some in by_post.items()
    ]

    @cache
    def model() -> LanguageModel:
        """Loaded where something was not asked before."""
        loaded = LanguageModel.load(config.language_model, config.layer)
        if config.precision == "int8":
            loaded.quantize(told[:_SAMPLE])
        return loaded

    def read(some: Sequence[Asked]) -> Tensor:
        return model().read(some).half()

    about = [*map(sha256, model_files(config.language_model)), config.layer, OPENING]
    about.append(told[:_SAMPLE] if config.precision == "int8" else config.precision)
    found = []
    with tqdm(total=len(told), unit="post", smoothing=0.05) as progress:
        for first in range(0, len(told), _TOGETHER):
            some = told[first : first + _TOGETHER]
            found.append(kept("language-states", [*about, some], partial(read, some)).float())
            progress.update(len(some))
    states = torch.cat(found)
    return (states - states.mean(0)) / (states.std(0) + 1e-4)


def _types(posts: Sequence[Post], asked: Sequence[Example], schema: RelationSchema) -> Tensor:
    """The pair of types, one-hot."""
    names = {name: k for k, name in enumerate([None, *sorted(schema.argument_types)])}
    out = []
    for e in asked:
        known = {entity.id: names.get(entity.type, 0) for entity in posts[e.post].entities}
        out.append(known[e.first] * len(names) + known[e.second])
    return one_hot(torch.tensor(out), len(names) ** 2).float()


def _heads(config: HeadConfig, x: Tensor, y: Tensor, asked: Tensor, columns: int) -> Tensor:
    """Probabilities ``(N, C)`` of heads that learned ``x`` and ``y``, averaged."""
    total = torch.zeros(len(asked), columns)
    for seed in range(config.count):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(x.shape[1], config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, columns),
        )
        optimizer = torch.optim.AdamW(net.parameters(), weight_decay=config.weight_decay)
        steps = config.epochs * -(-len(x) // config.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=steps + 1, pct_start=0.1
        )
        for _ in range(config.epochs):
            for batch in torch.split(torch.randperm(len(x)), config.batch_size):
                optimizer.zero_grad()
                loss = cross_entropy(net(x[batch]), y[batch])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        with torch.inference_mode():
            total += net.eval()(asked).softmax(-1)
    return total / config.count
