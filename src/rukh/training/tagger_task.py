"""Training the tagger on tagged sentences (``task: tagger`` in a config file)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from rukh.arguments.token_tagger import TokenTagger
from rukh.data.conll import gold_spans, read_tagged
from rukh.errors import InputError, suggestion
from rukh.evaluation.tagger import span_f1, typing_accuracy
from rukh.modeling.adapters import add_lora, trained_state, tune_top_layers
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Record, TextEntity
from rukh.training.model_card import tagger_card
from rukh.training.trainer import TrainingConfig, fit
from rukh.utils.batching import length_buckets
from rukh.utils.files import atomic_folder, write_json


class TaggerConfig(Record):
    """A tagger to be trained.

    Attributes:
        train: CoNLL files; one tenth of their sentences is the fold that training is judged by.
        test: CoNLL files scored once, at the end; their sentences are dropped from ``train``.
        types: Entity types.
        text_encoder: Name or path.
        lora_rank: Rank of low-rank adapters in every linear layer; 0 tunes whole layers instead.
        trainable_layers: How many top layers are tuned where ``lora_rank`` is 0.
        notes: What its model card says of limits and rights, in Markdown.
    """

    task: Literal["tagger"]
    train: tuple[Path, ...]
    test: tuple[Path, ...] = ()
    types: tuple[str, ...] = ("PER", "LOC", "ORG", "MISC")
    text_encoder: str = "all-MiniLM-L6-v2"
    lora_rank: int = Field(default=64, ge=0)
    trainable_layers: int = Field(default=2, ge=0)
    notes: str = ""
    training: TrainingConfig = TrainingConfig()


class TaggerTask:
    """Token classification: cross-entropy over every piece of the words."""

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
        seen = {text for text, _ in self.test}
        examples = list(
            {text: (text, s) for text, s in self._read(config.train) if text not in seen}.values()
        )
        if len(examples) < 10:
            raise InputError("fewer than 10 sentences to train on", where=str(config.train))
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0)).tolist()
        cut = len(order) // 10
        self.fold = [examples[i] for i in order[:cut]]
        self.items = [self._item(*examples[i]) for i in order[cut:]]

    def _read(self, paths: Sequence[Path]) -> list[tuple[str, list[TextEntity]]]:
        """Sentences of files that hold a piece to be read, with their entities."""
        found = []
        for path in paths:
            for text, spans in map(gold_spans, read_tagged(path)):
                if unknown := {str(e.type) for e in spans} - set(self.config.types):
                    raise InputError(
                        f"type {min(unknown)!r} is none of the configuration's",
                        where=str(path),
                        fix=suggestion(min(unknown), self.config.types),
                    )
                if self.model.encoder.tokenize(text).ids:
                    found.append((text, spans))
        return found

    def _item(self, text: str, spans: Sequence[TextEntity]) -> tuple[list[int], list[int]]:
        """Piece ids and label ids of a sentence, cut at the encoder's length."""
        pieces = self.model.encoder.tokenize(text)
        labels = [0] * len(pieces.ids)
        index = {label: i for i, label in enumerate(self.model.labels)}
        for entity in spans:
            for k, (start, end) in enumerate(pieces.offsets):
                if start < entity.end and end > entity.start:
                    bio = "B" if start <= entity.start else "I"
                    labels[k] = index[f"{bio}-{entity.type}"]
        room = self.model.encoder.max_length - 2
        return pieces.ids[:room], labels[:room]

    def pretrained(self) -> set[str]:
        """See :class:`rukh.training.trainer.TrainingTask`."""
        return {n for n, _ in self.model.named_parameters() if n.startswith("encoder.")}

    def checkpointed(self) -> None:
        """See :class:`rukh.training.trainer.TrainingTask`."""

    def batches(self, epoch: int) -> list[list[int]]:
        """See :class:`rukh.training.trainer.TrainingTask`."""
        lengths = [len(ids) for ids, _ in self.items]
        seed = self.config.training.seed * 1000 + epoch
        return length_buckets(lengths, self.config.training.batch_size, seed)

    def loss(self, batch: list[int]) -> Tensor:
        """See :class:`rukh.training.trainer.TrainingTask`."""
        ids, mask = self.model.pad([self.items[i][0] for i in batch])
        target = torch.full_like(ids, -100)
        for row, i in enumerate(batch):
            labels = self.items[i][1]
            target[row, 1 : 1 + len(labels)] = torch.tensor(labels)
        logits = self.model(ids, mask)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())

    def validate(self) -> dict[str, float]:
        """See :class:`rukh.training.trainer.TrainingTask`."""
        return {"score": self.score(self.fold)}

    def score(self, examples: Sequence[tuple[str, list[TextEntity]]]) -> float:
        """Span F1 on examples."""
        found = self.model.find([text for text, _ in examples])
        return span_f1([spans for _, spans in examples], found)


def train_tagger(config: TaggerConfig, out: Path) -> dict[str, Any]:
    """Train in ``out/run``, then write the tagger to ``out``; returns its figures."""
    from safetensors.torch import save

    task = TaggerTask(config)
    result = fit(
        task,
        config.training,
        out.with_name(out.name + ".run"),
        config.model_dump(mode="json", exclude={"training", "notes"}),
    )
    figures: dict[str, Any] = {"fold_span_f1": result.best["score"]}
    if task.test:
        figures["test_span_f1"] = task.score(task.test)
        figures["test_typing_accuracy"] = typing_accuracy(task.model, task.test)
    with atomic_folder(out) as folder:
        state = {k: v.half().contiguous() for k, v in trained_state(task.model).items()}
        (folder / "model.safetensors").write_bytes(save(state))
        write_json(
            {
                "task": "tagger",
                "text_encoder": config.text_encoder,
                "types": list(config.types),
                "figures": figures,
            },
            folder / "config.json",
        )
        (folder / "README.md").write_text(
            tagger_card(config.model_dump(mode="json"), figures), encoding="utf-8"
        )
    return figures
