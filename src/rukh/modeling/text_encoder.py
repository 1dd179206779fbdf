"""Pretrained text encoders: any BERT-like Hugging Face model, with its tokenizer.

The encoder takes embeddings, not token ids, because the pair encoder inserts marker vectors that
are not in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rukh.hub import find_package, find_weights, load_transformer
from rukh.utils.files import sha256


class TokenizedText(NamedTuple):
    """Token ids of a text, without special tokens, and their end-exclusive character offsets."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class TextEncoder(nn.Module):
    """A pretrained text encoder with its tokenizer.

    Attributes:
        name: Name or path of the weights.
        dim: Size ``d`` of the state vectors.
        max_length: Maximum number of tokens, including special tokens.
        max_sentence_length: Maximum number of tokens in :meth:`embed_sentences`.
        start_id, end_id: Ids of the special tokens before and after a text.

    Example:
        >>> encoder = TextEncoder.load("all-MiniLM-L6-v2").eval()
        >>> encoder.tokenize("Hello world").offsets
        [(0, 5), (6, 11)]
        >>> encoder.embed_sentences(["Hello world"]).shape
        torch.Size([1, 384])
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        super().__init__()
        self.model, self.tokenizer, self.name = model, tokenizer, name
        config = model.config
        self.dim = int(config.hidden_size)
        # RoBERTa and MPNet number positions from one above their padding index.
        table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)
        unused = 0 if padding is None else padding + 1
        self.max_length = int(config.max_position_embeddings) - unused
        # sentence-transformers' limit for the shipped encoders.
        self.max_sentence_length = min(self.max_length, 256)
        self.start_id, self.end_id = tokenizer.cls_token_id, tokenizer.sep_token_id
        self._has_segments = (getattr(config, "type_vocab_size", 1) or 1) > 1

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @classmethod
    def load(cls, name: str) -> TextEncoder:
        """Load an encoder by name or path; see :func:`rukh.hub.find_weights`.

        Raises:
            WeightsError: The weights are not found or damaged.
        """
        import transformers

        path = str(find_weights(name, kind="text"))
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = load_transformer("AutoModel", path)
        if hasattr(model, "pooler"):
            model.pooler = None  # not used, and its weights need not be stored or trained
        return cls(model, tokenizer, name)

    def tokenize(self, text: str) -> TokenizedText:
        """Split a text into tokens, without special tokens."""
        out = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return TokenizedText(list(out["input_ids"]), [(a, b) for a, b in out["offset_mapping"]])

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Look up the input embeddings ``(..., d)`` of token ids ``(...)``."""
        embeddings: Tensor = self.model.get_input_embeddings()(ids)
        return embeddings

    def forward(self, embeddings: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """Compute contextual states ``(B, T, d)``.

        Args:
            embeddings: ``(B, T, d)`` input embeddings, without position embeddings.
            mask: ``(B, T)`` bool, False for padding.
            segments: ``(B, T)`` segment ids: 0 for the text, 1 for the caption. Models without
                segment embeddings ignore them.
        """
        options = {} if segments is None or not self._has_segments else {"token_type_ids": segments}
        out = self.model(inputs_embeds=embeddings, attention_mask=mask.long(), **options)
        states: Tensor = out.last_hidden_state
        return states

    def embed_sentences(self, texts: Sequence[str], batch_size: int = 32) -> Tensor:
        """Embed ``N`` texts as ``(N, d)``: mean-pool the states of each text and L2-normalize.

        The result is in the CPU's memory, whatever the device of the encoder.

        Texts longer than ``max_sentence_length`` are truncated. sentence-transformers uses the same
        pooling for all-MiniLM-L6-v2 and all-mpnet-base-v2.
        """
        out = torch.empty(len(texts), self.dim)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            batch = self.tokenizer(
                [texts[i] for i in chosen],
                padding=True,
                truncation=True,
                max_length=self.max_sentence_length,
                return_tensors="pt",
            ).to(self.device)
            mask = batch["attention_mask"].bool()
            states = self(self.embed_tokens(batch["input_ids"]), mask)
            mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            out[torch.tensor(chosen)] = nn.functional.normalize(mean, dim=-1).cpu()
        return out


def encoder_key(name: str) -> str:
    """Return an identifier of a text encoder's weights: a known name, else hashes of its files."""
    if find_package(name) is not None:
        return name
    files = sorted(find_weights(name, kind="text").iterdir())
    return " ".join(sha256(file) for file in files if file.suffix in {".json", ".safetensors"})
