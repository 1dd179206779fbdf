"""Text encoders: any BERT-like Hugging Face model, fed with embeddings so that markers can join.

The encoder works on *pieces* (word pieces with their character offsets). rukh puts its own marker
vectors between or behind the words, so the model is called with ``inputs_embeds``, never with ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rukh.hub import find_weights

# Models whose position ids are plain indices that a caller may choose freely. MPNet computes its
# own, RoBERTa's are shifted by the padding index.
TAKES_POSITIONS = frozenset({"bert", "electra", "ernie", "distilbert"})


class TokenizedText(NamedTuple):
    """The word pieces of a text: ``ids``, and character ``offsets`` (end-exclusive) of each."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class TextEncoder(nn.Module):
    """A pretrained text encoder with its tokenizer.

    Attributes:
        name: What it was loaded by; stored in a model's config.
        dim: Width ``d`` of its states.
        max_length: The most positions of one pass, special tokens included.
        sentence_length: The most positions that :meth:`sentences` reads.
        takes_positions: Whether :meth:`forward` may be given position ids (levitated markers
            need it).
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        super().__init__()
        self.model, self.tokenizer, self.name = model, tokenizer, name
        config = model.config
        self.dim = int(config.hidden_size)
        # RoBERTa and MPNet count positions from behind their padding index.
        table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)
        self.max_length = int(config.max_position_embeddings) - (
            0 if padding is None else padding + 1
        )
        # sentence-transformers' own bound for the shipped encoders.
        self.sentence_length = min(self.max_length, 256)
        self.takes_positions = config.model_type in TAKES_POSITIONS
        self.segments = int(getattr(config, "type_vocab_size", 1) or 1)
        self.start_id = tokenizer.cls_token_id
        self.end_id = tokenizer.sep_token_id

    @classmethod
    def load(cls, name: str, *, allow_hub: bool = False) -> TextEncoder:
        """Load by path, shipped name or (only if allowed) hub name. Raises WeightsError."""
        import transformers

        path = str(find_weights(name, kind="text", allow_hub=allow_hub))
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = transformers.AutoModel.from_pretrained(
            path, local_files_only=True, dtype=torch.float32, use_safetensors=True
        )
        if hasattr(model, "pooler"):
            model.pooler = None  # never used; its weights would count as ours
        return cls(model, tokenizer, name)

    def tokenize(self, text: str) -> TokenizedText:
        """Word pieces of a text, without special tokens."""
        out = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return TokenizedText(list(out["input_ids"]), [(a, b) for a, b in out["offset_mapping"]])

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings of piece ids: ``(...)`` to ``(..., d)``."""
        embeddings: Tensor = self.model.get_input_embeddings()(ids)
        return embeddings

    def forward(
        self,
        embeds: Tensor,
        mask: Tensor,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """Contextual states.

        Args:
            embeds: ``(B, T, d)`` input embeddings, before positions are added.
            mask: ``(B, T)`` which positions exist, or ``(B, T, T)`` who sees whom; bool.
            positions: ``(B, T)`` position ids, for encoders that take them.
            segments: ``(B, T)`` 0 for the text, 1 for the caption.

        Returns:
            ``(B, T, d)``.
        """
        extra: dict[str, Tensor] = {}
        if positions is not None and self.takes_positions:
            extra["position_ids"] = positions
        if segments is not None and self.segments > 1:
            extra["token_type_ids"] = segments
        if mask.dim() == 3:
            # Hugging Face passes a 4-D additive mask through as it is.
            mask = torch.zeros_like(mask, dtype=embeds.dtype).masked_fill(
                ~mask, torch.finfo(embeds.dtype).min
            )[:, None]
        else:
            mask = mask.long()
        out: Tensor = self.model(
            inputs_embeds=embeds, attention_mask=mask, **extra
        ).last_hidden_state
        return out

    def sentences(self, texts: Sequence[str], batch_size: int = 32) -> Tensor:
        """Sentence embeddings: mean of the states, L2-normalised, ``(N, d)``.

        This is how sentence-transformers pools all-MiniLM-L6-v2 and all-mpnet-base-v2.
        """
        out = torch.empty(len(texts), self.dim)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            batch = self.tokenizer(
                [texts[i] for i in chosen],
                padding=True,
                truncation=True,
                max_length=self.sentence_length,
                return_tensors="pt",
            )
            mask = batch["attention_mask"].bool()
            states = self(self.embed(batch["input_ids"]), mask)
            mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            out[torch.tensor(chosen)] = nn.functional.normalize(mean, dim=-1)
        return out
