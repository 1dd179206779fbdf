"""Training a tagger on tagged sentences (``task: tagger`` in a configuration file)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from rukh.arguments.label_map import normalize_label
from rukh.arguments.sliding_window import letter_cases, pad, pad_cases
from rukh.arguments.token_tagger import TokenTagger
from rukh.data.conll import read_tagged
from rukh.data.corpus import corpus_files
from rukh.data.readers import read_posts
from rukh.errors import InputError, suggestion
from rukh.evaluation.tagger import Example, span_f1
from rukh.modeling.adapters import add_lora, trained_state, tune_top_layers
from rukh.modeling.device import to_device
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Record, TextEntity
from rukh.training.loop import fit
from rukh.training.losses import LossTerm
from rukh.training.model_card import tagger_card
from rukh.training.processes import on_main_process, start_processes
from rukh.training.training_config import TrainingConfig, check_options
from rukh.utils.batching import batches_by_length
from rukh.utils.files import atomic_folder, write_json


class TaggedCorpusConfig(Record):
    """A corpus of texts with entities, and what its labels mean.

    Attributes:
        path: A file, or a folder of which all files ``*.jsonl`` are read.
        format: ``conll`` (lines of a token and its BIO label), or a format of posts.
        labels: The type of each label whose name is not that of a type.
        covers: Further types that a type of this corpus includes, such as ``MISC: [EVENT, WORK]``
            for a corpus whose MISC contains events and works.
        unlabelled: Types whose entities this corpus does not label.
    """

    path: Path
    format: str = "conll"
    labels: dict[str, str] = {}
    covers: dict[str, tuple[str, ...]] = {}
    unlabelled: tuple[str, ...] = ()

    def read(self) -> list[Example]:
        """Read the texts and entities, with labels replaced by types.

        Raises:
            InputError: A file cannot be read.
        """
        examples: list[Example] = []
        for path in corpus_files(self.path):
            if self.format == "conll":
                examples += read_tagged(path)
            else:
                posts = read_posts(path, self.format)
                examples += ((post.text, list(post.entities)) for post in posts)
        return [(text, [self._rename(e) for e in entities]) for text, entities in examples]

    def _rename(self, entity: TextEntity) -> TextEntity:
        label = str(entity.type)
        return entity.model_copy(update={"type": self.labels.get(label, normalize_label(label))})

    def as_labelled(self, entities: Sequence[TextEntity]) -> list[TextEntity]:
        """Convert predicted entities to the types of this corpus, without those not labelled."""
        wider = {narrow: wide for wide, types in self.covers.items() for narrow in types}
        return [
            entity.model_copy(update={"type": wider.get(str(entity.type), entity.type)})
            for entity in entities
            if entity.type not in self.unlabelled
        ]


class TaggerConfig(Record):
    """The configuration of a tagger and its training.

    Attributes:
        train: Corpora for training. A tenth of their texts is used as the dev set.
        test: Corpora for evaluation after training; their texts are not used in training.
        types: Entity types to predict.
        text_encoder: Name or path of the text encoder.
        lora_rank: Rank of low-rank adapters in all linear layers; 0 trains whole layers instead.
        trainable_layers: Number of top layers that are trained if ``lora_rank`` is 0.
        start_from: Name or folder of a tagger with the same types and options, to train further.
        case_dropout: Probability that a training text is shown as if it had no capitals.
        card_notes: Markdown text on limits and rights for the model card.
    """

    task: Literal["tagger"]
    train: tuple[TaggedCorpusConfig, ...] = Field(min_length=1)
    test: tuple[TaggedCorpusConfig, ...] = ()
    types: tuple[str, ...] = ("PER", "LOC", "ORG", "MISC")
    text_encoder: str = "all-MiniLM-L6-v2"
    lora_rank: int = Field(default=64, ge=0)
    trainable_layers: int = Field(default=2, ge=0)
    start_from: str | None = None
    case_dropout: float = Field(default=0.0, ge=0, lt=1)
    card_notes: str = ""
    training: TrainingConfig = TrainingConfig()


class TaggerItem(NamedTuple):
    """Token ids, letter cases and gold labels of a training text, and the index of its corpus."""

    ids: list[int]
    cases: list[int]
    labels: list[int]
    corpus: int


class TaggerTask:
    """Training of a token classifier; see :class:`rukh.training.loop.TrainingTask`.

    The corpora may label different types. A token's loss is the negative logarithm of the total
    probability of all labels that agree with its gold label: outside of the entities of a corpus
    that does not label times, a token may be one.

    Raises:
        InputError: A file cannot be read or has an unknown type, or there are too few sentences.
        WeightsError: The text encoder is missing.
    """

    pretrained_prefix = "encoder."

    def __init__(self, config: TaggerConfig, device: str | torch.device = "cpu") -> None:
        torch.manual_seed(config.training.seed)
        self.config = config
        encoder = TextEncoder.load(config.text_encoder)
        if config.lora_rank:
            add_lora(encoder.model, config.lora_rank)
        else:
            tune_top_layers(encoder.model, config.trainable_layers)
        self.model = TokenTagger(encoder, config.types)
        if config.start_from is not None:
            self.model.copy_weights(config.start_from)
        self.model.to(device)
        self.test = [self._read(corpus) for corpus in config.test]
        test_texts = {text for examples in self.test for text, _ in examples}
        train = {
            text: (number, entities)
            for number, corpus in enumerate(config.train)
            for text, entities in self._read(corpus)
            if text not in test_texts
        }
        examples = list(train.items())
        if len(examples) < 10:
            raise InputError(
                f"{len(examples)} training sentences are too few; at least 10 are needed",
                where=", ".join(str(corpus.path) for corpus in config.train),
            )
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0)).tolist()
        dev_size = len(order) // 10
        self.dev: list[list[Example]] = [[] for _ in config.train]
        for text, (number, entities) in (examples[i] for i in order[:dev_size]):
            self.dev[number].append((text, entities))
        chosen = (examples[i] for i in order[dev_size:])
        self.items = [self._item(text, *labelled) for text, labelled in chosen]
        # For each corpus, which labels agree with each gold label: (corpora, labels, labels).
        self.agreeing = torch.stack([self._agreeing(corpus) for corpus in config.train])

    def _read(self, corpus: TaggedCorpusConfig) -> list[Example]:
        """Read sentences; leave out those for which the tokenizer returns no token."""
        examples = []
        mentioned = {*corpus.labels.values(), *corpus.covers, *corpus.unlabelled}
        mentioned |= {name for types in corpus.covers.values() for name in types}
        for text, entities in corpus.read():
            mentioned |= {str(entity.type) for entity in entities}
            if self.model.encoder.tokenize(text).ids:
                examples.append((text, entities))
        if unknown := mentioned - set(self.config.types):
            raise InputError(
                f"type {min(unknown)!r} is not among the configured types",
                where=str(corpus.path),
                fix=suggestion(min(unknown), self.config.types),
            )
        return examples

    def _agreeing(self, corpus: TaggedCorpusConfig) -> Tensor:
        labels = self.model.labels
        agreeing = torch.eye(len(labels), dtype=torch.bool)
        for prefix in "BI":
            for wide, narrow in corpus.covers.items():
                row = labels.index(f"{prefix}-{wide}")
                agreeing[row, [labels.index(f"{prefix}-{name}") for name in narrow]] = True
            agreeing[0, [labels.index(f"{prefix}-{name}") for name in corpus.unlabelled]] = True
        return agreeing

    def _item(self, text: str, corpus: int, entities: Sequence[TextEntity]) -> TaggerItem:
        """Tokenize a text, truncated to the maximum length of the encoder."""
        tokens = self.model.encoder.tokenize(text)
        labels = [0] * len(tokens.ids)
        for entity in entities:
            for k, (start, end) in enumerate(tokens.offsets):
                if start < entity.end and end > entity.start:
                    prefix = "B" if start <= entity.start else "I"
                    labels[k] = self.model.labels.index(f"{prefix}-{entity.type}")
        length = self.model.encoder.max_length - 2
        cases = letter_cases(text, tokens)
        return TaggerItem(tokens.ids[:length], cases[:length], labels[:length], corpus)

    def batches(self, epoch: int) -> list[list[tuple[int, bool]]]:
        """Draw batches of texts of similar length: text indices, and whether capitals are shown."""
        config, lengths = self.config.training, [len(item.ids) for item in self.items]
        seed = config.epoch_seed(epoch)
        draws = torch.rand(len(lengths), generator=torch.Generator().manual_seed(seed)).tolist()
        batches = batches_by_length(lengths, config.batch_size, seed=seed)
        return [[(i, draws[i] >= self.config.case_dropout) for i in batch] for batch in batches]

    def loss(self, batch: Sequence[tuple[int, bool]]) -> list[LossTerm]:
        """Compute the mean over all tokens of the loss that the class describes."""
        items = [self.items[i] for i, _ in batch]
        ids, mask = pad(self.model.encoder, [item.ids for item in items])
        shown = [
            item.cases if capitals else [min(case, 1) for case in item.cases]
            for item, (_, capitals) in zip(items, batch, strict=True)
        ]
        logits = self.model(ids, mask, to_device(pad_cases(shown), ids.device))
        tokens = torch.cat(
            [row[1 : 1 + len(item.ids)] for row, item in zip(logits, items, strict=True)]
        )
        agreeing = torch.cat([self.agreeing[item.corpus][item.labels] for item in items])
        agreeing = to_device(agreeing, ids.device)
        agreed = tokens.masked_fill(~agreeing, -math.inf).logsumexp(-1)
        total = (tokens.logsumexp(-1) - agreed).float().sum()
        return [LossTerm(total, torch.full_like(total, len(tokens)))]

    def validate(self) -> dict[str, float]:
        """Compute the span F1 on the dev set as ``score``."""
        return {"score": self.span_f1(self.dev, self.config.train)}

    def span_f1(
        self, examples: Sequence[Sequence[Example]], corpora: Sequence[TaggedCorpusConfig]
    ) -> float:
        """Compute the span F1 over the examples of each corpus, in the types of the corpus."""
        gold: list[list[TextEntity]] = []
        predicted: list[list[TextEntity]] = []
        for corpus, some in zip(corpora, examples, strict=True):
            detected = self.model.detect_entities([text for text, _ in some])
            gold += [entities for _, entities in some]
            predicted += map(corpus.as_labelled, detected)
        return span_f1(gold, predicted)


def train_tagger(
    config: TaggerConfig, out: Path, device: str | torch.device = "auto"
) -> dict[str, Any]:
    """Train a tagger, or resume the run in ``<out>.run``, and write it to ``out``.

    Returns:
        The metrics: ``dev_span_f1``, and if there are test files also ``test_span_f1``.

    Raises: See :func:`rukh.training.processes.start_processes`, :class:`TaggerTask` and
        :func:`rukh.training.loop.fit`.
    """
    _, device = start_processes(device)
    check_options(config.training, device)
    task = TaggerTask(config, device)
    identity = config.model_dump(mode="json", exclude={"training", "card_notes"})
    best = fit(task, config.training, out.with_name(f"{out.name}.run"), identity)
    return on_main_process(lambda: _finish(task, best["score"], out))


def _finish(task: TaggerTask, score: float, out: Path) -> dict[str, Any]:
    """Evaluate a trained tagger, write it to ``out``, and return the metrics."""
    from safetensors.torch import save

    config = task.config
    metrics = {"dev_span_f1": score}
    if task.test:
        metrics["test_span_f1"] = task.span_f1(task.test, config.test)
    description = config.model_dump(mode="json", include={"task", "text_encoder", "types"})
    description["metrics"] = metrics
    state = {k: v.half().contiguous() for k, v in trained_state(task.model).items()}
    card = tagger_card(config.model_dump(mode="json"), metrics, out.name)
    with atomic_folder(out) as folder:
        (folder / "model.safetensors").write_bytes(save(state))
        write_json(description, folder / "config.json")
        (folder / "README.md").write_text(card, encoding="utf-8")
    return metrics
