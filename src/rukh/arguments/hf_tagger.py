"""Hugging Face token classifiers as taggers: ``hf:FOLDER``, or ``hf:NAME`` in the hub's cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from rukh.arguments.hf_loading import load_hf_model
from rukh.arguments.sliding_window import Label, TokenClassifier
from rukh.errors import WeightsError
from rukh.hub import find_weights
from rukh.modeling.text_encoder import TextEncoder


class HfTagger(TokenClassifier):
    """A pretrained Hugging Face token classifier.

    Args:
        model: A BERT-like ``transformers`` model for token classification.
        tokenizer: Its fast tokenizer.
        name: Name or path of the model.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model = model
        self.encoder = TextEncoder(model.base_model, tokenizer, name)
        names = model.config.id2label
        self.parsed_labels = [Label.parse(str(names[i])) for i in range(model.config.num_labels)]

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """The folder of a model, given a path or a name in the hub's cache. Raises WeightsError."""
        return find_weights(source, kind="tagger")

    @classmethod
    def from_pretrained(cls, source: str | Path) -> HfTagger:
        """Load a model from a folder or from the hub's cache; nothing is downloaded.

        Raises:
            WeightsError: The model is not found, has no safetensors, or is not a BERT-like token
                classifier with a fast tokenizer.
        """
        folder = cls.locate(source)
        model, tokenizer = load_hf_model(folder, "AutoModelForTokenClassification", "AutoTokenizer")
        if not (
            tokenizer.is_fast
            and tokenizer.cls_token_id is not None
            and hasattr(model.config, "max_position_embeddings")
        ):
            raise WeightsError(f"{folder} is not a BERT-like model with a fast tokenizer")
        return cls(model, tokenizer, str(source))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Compute label logits ``(B, T, labels)`` of token ids, given ids and mask ``(B, T)``."""
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).logits
        return logits
