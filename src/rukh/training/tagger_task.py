"""Training a tagger on tagged sentences (``task: tagger`` in a configuration file)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from rukh.arguments.label_map import normalize_label
from rukh.arguments.sliding_window import pad
from rukh.arguments.token_tagger import TokenTagger
from rukh.data.conll import read_tagged
from rukh.errors import InputError, suggestion
from rukh.evaluation.tagger import Example, span_f1, typing_accuracy
from rukh.modeling.adapters import add_lora, trained_state, tune_top_layers
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Record, TextEntity
from rukh.training.model_card import tagger_card
from rukh.training.trainer import TrainingConfig, fit
from rukh.utils.batching import batches_by_length
from rukh.utils.files import atomic_folder, write_json


class TaggerConfig(Record):
    """The configuration of a tagger and its training.

    Attributes:
        train: CoNLL files for training. A tenth of their sentences is used as the dev set.
        test: CoNLL files for evaluation after training; their sentences are not used in training.
        types: Entity types to predict.
        text_encoder: Name or path of the text encoder.
        lora_rank: Rank of low-rank adapters in all linear layers; 0 trains whole layers instead.
        trainable_layers: Number of top layers that are trained if ``lora_rank`` is 0.
        card_notes: Markdown text on limits and rights for the model card.
    """

    task: Literal["tagger"]
    train: tuple[Path, ...]
    test: tuple[Path, ...] = ()
    types: tuple[str, ...] = ("PER", "LOC", "ORG", "MISC")
    text_encoder: str = "all-MiniLM-L6-v2"
    lora_rank: int = Field(default=64, ge=0)
    trainable_layers: int = Field(default=2, ge=0)
    card_notes: str = ""
    training: TrainingConfig = TrainingConfig()


class TaggerTask:
    """Training of a token classifier; see :class:`rukh.training.trainer.TrainingTask`.

    Raises:
        InputError: A file cannot be read or has an unknown type, or there are too few sentences.
        WeightsError: The text encoder is missing.
    """

    pretrained_prefix = "encoder."

    def __init__(self, config: TaggerConfig) -> None:
        torch.manual_seed(config.training.seed)
        self.config = config
        encoder = TextEncoder.load(config.text_encoder)
        if config.lora_rank:
            add_lora(encoder.model, config.lora_rank)
        else:
            tune_top_layers(encoder.model, config.trainable_layers)
        self.model = TokenTagger(encoder, config.types)
        self.test = self._read(config.test)
        test_texts = {text for text, _ in self.test}
        by_text = dict(self._read(config.train))
        examples = [example for example in by_text.items() if example[0] not in test_texts]
        if len(examples) < 10:
            raise InputError(
                f"{len(examples)} training sentences are too few; at least 10 are needed",
                where=", ".join(map(str, config.train)),
            )
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0)).tolist()
        dev_size = len(order) // 10
        self.dev = [examples[i] for i in order[:dev_size]]
        self.items = [self._item(*examples[i]) for i in order[dev_size:]]

    def _read(self, paths: Sequence[Path]) -> list[Example]:
        """Read sentences; leave out those for which the tokenizer returns no token."""
        examples = []
        for path in paths:
            for text, entities in read_tagged(path, normalize_label):
                if unknown := {str(e.type) for e in entities} - set(self.config.types):
                    raise InputError(
                        f"type {min(unknown)!r} is not among the configured types",
                        where=str(path),
                        fix=suggestion(min(unknown), self.config.types),
                    )
                if self.model.encoder.tokenize(text).ids:
                    examples.append((text, entities))
        return examples

    def _item(self, text: str, entities: Sequence[TextEntity]) -> tuple[list[int], list[int]]:
        """Return token ids and label ids, truncated to the maximum length of the encoder."""
        tokens = self.model.encoder.tokenize(text)
        labels = [0] * len(tokens.ids)
        for entity in entities:
            for k, (start, end) in enumerate(tokens.offsets):
                if start < entity.end and end > entity.start:
                    prefix = "B" if start <= entity.start else "I"
                    labels[k] = self.model.labels.index(f"{prefix}-{entity.type}")
        length = self.model.encoder.max_length - 2
        return tokens.ids[:length], labels[:length]

    def batches(self, epoch: int) -> list[list[int]]:
        """Draw batches of sentences of similar length, as indices of sentences."""
        config, lengths = self.config.training, [len(ids) for ids, _ in self.items]
        return batches_by_length(lengths, config.batch_size, seed=config.epoch_seed(epoch))

    def loss(self, batch: list[int]) -> Tensor:
        """Compute the cross-entropy of the labels of all tokens."""
        ids, mask = pad(self.model.encoder, [self.items[i][0] for i in batch])
        target = torch.full_like(ids, -100)  # -100: ignored (special tokens and padding)
        for row, i in enumerate(batch):
            labels = self.items[i][1]
            target[row, 1 : 1 + len(labels)] = torch.tensor(labels)
        logits = self.model(ids, mask)
        return cross_entropy(logits.flatten(0, 1), target.flatten())

    def validate(self) -> dict[str, float]:
        """Compute the span F1 on the dev set as ``score``."""
        return {"score": self.span_f1(self.dev)}

    def span_f1(self, examples: Sequence[Example]) -> float:
        """Compute the span F1 of the predictions on some examples."""
        predicted = self.model.detect_entities([text for text, _ in examples])
        return span_f1([entities for _, entities in examples], predicted)


def train_tagger(config: TaggerConfig, out: Path) -> dict[str, Any]:
    """Train a tagger, or resume the run in ``<out>.run``, and write it to ``out``.

    Returns:
        The metrics: ``dev_span_f1``, and if there are test files also ``test_span_f1`` and
        ``test_typing_accuracy``.

    Raises: See :class:`TaggerTask` and :func:`rukh.training.trainer.fit`.
    """
    from safetensors.torch import save

    task = TaggerTask(config)
    identity = config.model_dump(mode="json", exclude={"training", "card_notes"})
    best = fit(task, config.training, out.with_name(f"{out.name}.run"), identity)
    metrics = {"dev_span_f1": best["score"]}
    if task.test:
        metrics["test_span_f1"] = task.span_f1(task.test)
        metrics["test_typing_accuracy"] = typing_accuracy(task.model, task.test)
    description = config.model_dump(mode="json", include={"task", "text_encoder", "types"})
    description["metrics"] = metrics
    state = {k: v.half().contiguous() for k, v in trained_state(task.model).items()}
    card = tagger_card(config.model_dump(mode="json"), metrics, out.name)
    with atomic_folder(out) as folder:
        (folder / "model.safetensors").write_bytes(save(state))
        write_json(description, folder / "config.json")
        (folder / "README.md").write_text(card, encoding="utf-8")
    return metrics
