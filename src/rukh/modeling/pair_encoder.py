"""The pair tower: a post's words, picture and arguments in, one vector for each pair out.

ROC, section 3 ("pair encoder"): the text with type hints and the picture are encoded, concatenated
and fused; the states at the head's and the tail's positions make the pair embedding. What the
paper leaves open (markers, gate, geometry, the form of the head) is an option of
:class:`PairConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rukh.errors import InputError
from rukh.modeling.adapters import add_lora, tune_top_layers
from rukh.modeling.batch import PairBatch
from rukh.modeling.fusion import Fusion, RegionPooling, VisualGate, masked_mean
from rukh.modeling.markers import ROLE_WORDS, Markers
from rukh.modeling.regions import BoxGeometry, box_relation, pool_regions
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import Record

DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
"""Upper ends of the buckets of a distance in pieces, either sign."""


class PairConfig(Record):
    """Options of the pair tower.

    Attributes:
        text_encoder: Name or path of the text encoder.
        init_from: Name or path of a tagger whose tuned text encoder the tower starts from, or of a
            relation model, from which training starts whatever fits; None starts from the base
            encoder itself.
        vision_encoder: Name or path of the vision encoder; None reads no pictures.
        image_size: Side of the square that pictures are fitted into, in pixels; None takes what
            the vision encoder was trained with.
        intermediate_features: Whether patches are the cells of three inner maps of an EfficientNet-Lite, side
            by side, in place of its last one. They were trained less to tell ImageNet's classes
            apart, and carry over better to pictures unlike its photographs.
        markers: How arguments are pointed out; see :mod:`rukh.modeling.markers`.
        type_hints: Whether markers carry the arguments' types.
        trainable_layers: Top layers of the text encoder that are trained.
        lora_rank: Low-rank adapters instead of tuned layers where above 0.
        fusion_layers, fusion_heads, dropout: The fusion.
        look: Whether each pair looks at the picture for itself: the head is told what all of it and
            what the pair's boxes show, and the gate reads this as well. The fusion then reads
            words, and of regions only where they are.
        dim: Width of the pair embedding, and of fusion.
        distance_embedding: Whether the head is told the distance between its arguments.
        residual: Whether the pair embedding starts as what the text encoder itself makes of the
            post, and the head adds to it; needs ``dim`` to be the text encoder's width. A head that
            starts at random forgets the sentence encoder's space, in which a description that no
            training showed lies near the posts that it fits.
        caption_words: Words of the caption that are read; 0 reads none.
        max_length: Positions of one row; a longer text is cut to the words near its arguments.
    """

    text_encoder: str = "all-MiniLM-L6-v2"
    init_from: str | None = None
    vision_encoder: str | None = "efficientnet-lite0"
    image_size: int | None = Field(default=None, ge=32, le=1024)
    intermediate_features: bool = False
    markers: Markers = "post"
    type_hints: bool = True
    trainable_layers: int = Field(default=4, ge=0)
    lora_rank: int = Field(default=0, ge=0)
    fusion_layers: int = Field(default=1, ge=0, le=12)
    fusion_heads: int = Field(default=6, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    image_fusion: Literal["concat", "region_pooling"] = "concat"
    dim: int = Field(default=384, ge=8)
    distance_embedding: bool = True
    residual: bool = False
    caption_words: int = Field(default=0, ge=0, le=200)
    max_length: int = Field(default=256, ge=64)

    @model_validator(mode="after")
    def _divides(self) -> PairConfig:
        if self.dim % self.fusion_heads:
            raise ValueError(f"fusion_heads {self.fusion_heads} does not divide dim {self.dim}")
        return self


class PairEncoding(NamedTuple):
    """What the tower makes of ``Q`` pairs.

    Attributes:
        embedding: ``(Q, dim)``, L2-normalised.
        hidden: ``(Q, dim)``, before the last layer; NOTA's logit is read from it.
        gate: ``(B,)`` trust in each row's picture; NaN where there is none.
        back: The same pairs from tail to head, where they were asked for.
    """

    embedding: Tensor
    hidden: Tensor
    gate: Tensor
    back: PairEncoding | None = None


class PairEncoder(nn.Module):
    """The pair tower.

    Args:
        config: Its options.
        text: The text encoder.
        visual_dim: Width of the vision encoder's patch states.
    """

    distance_edges: Tensor

    def __init__(self, config: PairConfig, text: TextEncoder, visual_dim: int) -> None:
        super().__init__()
        self.config, self.text_encoder, self.visual_dim = config, text, visual_dim
        self.limit = min(config.max_length, text.max_length)
        if config.lora_rank:
            add_lora(text.model, config.lora_rank)
        else:
            tune_top_layers(text.model, config.trainable_layers)
        dim = config.dim
        self.role_embedding = nn.Parameter(self._word_vectors(list(ROLE_WORDS)).clone())
        same = text.dim == dim
        self.text_projection: nn.Module = nn.Identity() if same else nn.Linear(text.dim, dim)
        self.type_projection = nn.Linear(text.dim, dim)
        pooling = config.image_fusion == "region_pooling"
        self.region_pooling = RegionPooling(dim, visual_dim) if pooling else None
        self.patch_projection = (
            None if pooling else nn.Sequential(nn.LayerNorm(visual_dim), nn.Linear(visual_dim, dim))
        )
        self.box_embedding = BoxGeometry(dim)
        self.missing_image = nn.Parameter(torch.randn(dim) * 0.02)
        self.image_embedding = nn.Parameter(torch.randn(dim) * 0.02)
        self.gate = VisualGate(dim)
        self.fusion = Fusion(dim, config.fusion_layers, config.fusion_heads, config.dropout)
        side = 32
        self.distance_embedding = nn.Embedding(2 * len(DISTANCES) + 3, side)
        self.kind_embedding = nn.Embedding(4, side)
        relation_width = box_relation(torch.zeros(1, 4), torch.zeros(1, 4)).shape[-1]
        self.box_relation = nn.Linear(relation_width, side)
        with torch.no_grad():
            # Offsets are a few tenths: as large as the other two, or the head hardly hears them.
            self.box_relation.weight.mul_(8)
        wide = (6 if pooling else 3) * dim + 3 * side
        self.mlp = nn.Sequential(
            nn.LayerNorm(wide), nn.Linear(wide, dim), nn.GELU(), nn.Dropout(config.dropout)
        )
        self.output = nn.Linear(dim, dim)
        if config.residual:
            if not same:
                raise InputError(
                    f"needs dim {text.dim}, the width of {text.name!r}", field="pair.residual"
                )
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)
            self.residual_weights = nn.Parameter(torch.tensor([1.0, 0.5, 0.5]))
        self.register_buffer("distance_edges", torch.tensor(DISTANCES), persistent=False)

    def _word_vectors(self, names: Sequence[str]) -> Tensor:
        """Mean word embedding of each name, ``(K, d_text)``; zeros for an empty name."""
        out = torch.zeros(len(names), self.text_encoder.dim)
        for i, name in enumerate(names):
            if ids := self.text_encoder.tokenize(name).ids:
                out[i] = self.text_encoder.embed_tokens(torch.tensor(ids)).detach().mean(0)
        return out

    def forward(
        self, inputs: PairBatch, type_words: Mapping[str, str], *, back: bool = False
    ) -> PairEncoding:
        """Embed every asked pair of a batch.

        Args:
            inputs: ``B`` rows with ``Q`` pairs; see :class:`~rukh.modeling.batch.PairBatch`.
            type_words: Words for a type, where the schema gives them.
            back: Whether to read each pair from tail to head as well.
        """
        words = [type_words.get(n, n.replace("_", " ").lower()) for n in inputs.type_names]
        table = torch.cat([self._word_vectors(words), torch.zeros(1, self.text_encoder.dim)])
        if not self.config.type_hints:
            table = torch.zeros_like(table)
        content, place, patches = self._see(inputs, table)
        states = self._read(inputs, table, content + place)
        found = None
        if self.region_pooling is None:
            seen = masked_mean(patches, inputs.has_patch)
        else:
            shown = inputs.patches, inputs.patch_boxes, inputs.has_patch, inputs.boxes
            found = self.region_pooling(*shown)
            seen = nn.functional.layer_norm(found[:, 0], found.shape[2:])
        logit = self.gate(masked_mean(states, inputs.groups == 0), seen)
        pictured = inputs.has_patch.any(1)
        trust = torch.where(pictured, logit.sigmoid(), 0.0)[:, None]
        regions = (
            self.missing_image
            + trust[..., None] * (content - self.missing_image)
            + place
            + self.image_embedding
        )
        read = torch.cat([states, regions], 1)
        groups = torch.cat([inputs.groups, torch.where(inputs.has_object, 0, -1)], 1)
        heard = torch.zeros_like(groups, dtype=states.dtype)
        if found is None:
            # The picture's gated mean, in the place of an absent one, then its patches.
            gated = self.missing_image + trust * (seen - self.missing_image)
            visual = torch.cat([gated[:, None], patches], 1) + self.image_embedding
            there = torch.where(inputs.has_patch, 0, -1)
            groups = torch.cat([groups, torch.zeros_like(groups[:, :1]), there], 1)
            nothing = heard.new_zeros(len(heard), 1)
            share = nn.functional.logsigmoid(logit)[:, None].expand_as(there)
            read, heard = torch.cat([read, visual], 1), torch.cat([heard, nothing, share], 1)
        else:
            # Patches that are looked at are not fused: what a fusion makes of them fits the very
            # things that training showed.
            found = trust[..., None] * found
        fused = self.fusion(read, groups >= 0, heard)
        gate = torch.where(pictured, trust[:, 0], float("nan"))
        forth = self._form(fused, read, inputs, gate, found)
        return (
            forth._replace(back=self._form(fused, read, inputs.turned(), gate, found))
            if back
            else forth
        )

    def _form(
        self,
        fused: Tensor,
        read: Tensor,
        inputs: PairBatch,
        gate: Tensor,
        found: Tensor | None,
    ) -> PairEncoding:
        """The pairs of a batch from its states ``(B, S, d)`` after the fusion and before it, and
        from what was found by a look ``(B, 1 + R, d)``.
        """
        h = fused[inputs.row[:, None], inputs.head].mean(1)
        t = fused[inputs.row[:, None], inputs.tail].mean(1)
        told = [h, t, h * t]
        if found is not None:
            told.append(found[inputs.row, 0])
            told += [inputs.of(found[:, 1:], o) for o in (inputs.head_object, inputs.tail_object)]
        hidden = self.mlp(torch.cat([*told, self._relative(inputs)], -1))
        pair = self.output(hidden)
        if self.config.residual:
            word = (inputs.groups == 0)[..., None]
            text = (read[:, : word.shape[1]] * word).sum(1)[inputs.row]  # its mean's direction
            ends = (read[inputs.row[:, None], ends].mean(1) for ends in (inputs.head, inputs.tail))
            start = torch.stack([nn.functional.normalize(v, dim=-1) for v in (text, *ends)])
            pair = pair + (self.residual_weights[:, None, None] * start).sum(0)
        return PairEncoding(nn.functional.normalize(pair, dim=-1), hidden, gate)

    def _see(self, inputs: PairBatch, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each object's region shows ``(B, R, d)``, where it stands and of what type it is
        ``(B, R, d)``, and the patches ``(B, P, d)``. With a look only that tells what is shown.
        """
        place = self.box_embedding(inputs.boxes) + self.type_projection(table[inputs.object_types])
        content = self.missing_image.expand(*inputs.boxes.shape[:2], -1)
        if self.patch_projection is None:
            return content, place, content.new_zeros(len(content), 0, content.shape[2])
        shown = self.patch_projection(inputs.patches)
        if inputs.patches.shape[1] and inputs.boxes.shape[1]:
            pooled = pool_regions(shown, inputs.patch_boxes, inputs.has_patch, inputs.boxes)
            content = torch.where(inputs.has_patch.any(1)[:, None, None], pooled, content)
        return content, place, shown + self.box_embedding(inputs.patch_boxes)

    def _read(self, inputs: PairBatch, table: Tensor, regions: Tensor) -> Tensor:
        """Text states ``(B, T, d)``."""
        marker = inputs.roles > 0
        embeds = self.text_encoder.embed_tokens(inputs.ids)
        hints = self.role_embedding[inputs.roles] + table[inputs.types]
        embeds = torch.where(marker[..., None], hints, embeds)
        states: Tensor = self.text_projection(
            self.text_encoder(embeds, inputs.groups >= 0, inputs.segments)
        )
        return states

    def _relative(self, inputs: PairBatch) -> Tensor:
        """How the two arguments stand to each other, ``(Q, 3 * 32)``."""
        size = torch.bucketize(inputs.distance.abs(), self.distance_edges) + 1
        middle = len(DISTANCES) + 1
        bucket = torch.where(inputs.distance == 0, middle, middle + inputs.distance.sign() * size)
        distance = self.distance_embedding(bucket.clamp(0, 2 * middle))
        if not self.config.distance_embedding:
            distance = torch.zeros_like(distance)
        visual = (inputs.kind == 3)[:, None]
        box = torch.where(
            visual, self.box_relation(box_relation(inputs.head_box, inputs.tail_box)), 0.0
        )
        return torch.cat([distance, self.kind_embedding(inputs.kind), box], -1)
