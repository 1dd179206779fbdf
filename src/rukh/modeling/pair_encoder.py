"""The pair encoder, which computes one vector per pair of arguments from text and image.

As in ROC, section 3 ("pair encoder"), the text with type hints and the image are encoded,
concatenated and fused. The states at the positions of head and tail form the pair embedding. Where
the paper does not specify a detail, :class:`PairConfig` has an option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import layer_norm, logsigmoid, normalize

from rukh.errors import InputError
from rukh.modeling.adapters import add_lora, tune_top_layers
from rukh.modeling.batch import PairBatch
from rukh.modeling.device import to_device
from rukh.modeling.fusion import Fusion, RegionPooling, VisualGate, masked_mean
from rukh.modeling.markers import ROLE_WORDS, Markers
from rukh.modeling.regions import BoxGeometry, box_relation, pool_regions
from rukh.modeling.text_encoder import TextEncoder
from rukh.modeling.vision_encoder import VisionEncoder, load_vision_encoder
from rukh.records import Record

DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
"""Upper bounds of the buckets of the absolute distance in positions."""
FEATURE_DIM = 32
"""Width of the embeddings of a pair's distance, kind and box relation."""


class PairConfig(Record):
    """Options of the pair encoder.

    Attributes:
        text_encoder: Name or path of the text encoder.
        init_from: Name or path of a model that provides initial weights. A tagger provides its
            text encoder, a relation model all weights that fit. None: start from the pretrained
            text encoder and new weights.
        vision_encoder: Name or path of the vision encoder; None ignores images.
        image_size: Side in pixels of the square that images are fitted into. None: the size that
            the vision encoder was trained with.
        intermediate_features: Whether patch states are three concatenated intermediate feature maps
            of EfficientNet-Lite0, not its last feature map. They are less specialized to the
            classes of ImageNet and transfer better to images that are not photographs.
        markers: Marker scheme, see :mod:`rukh.modeling.markers`.
        type_hints: Whether markers include the types of the arguments.
        trainable_layers: Number of top layers of the text encoder that are trained.
        lora_rank: Rank of low-rank adapters, which are trained instead of the top layers; 0: none.
        fusion_layers: Number of transformer layers that fuse text and image.
        fusion_heads: Number of attention heads of the fusion layers.
        dropout: Dropout probability of the fusion layers and of the layers after them.
        image_fusion: How the image is combined with the text. ``concat``, as in the paper: The
            patches are additional positions of the fusion layers. The initial state of an object is
            the mean of the patches under its box. ``region_pooling``: The fusion layers only get
            the text and the positions of objects. Their output for a pair is concatenated with the
            pooled patches of the whole image and of the boxes of the pair.
        dim: Width of pair embeddings and of the fusion layers.
        distance_embedding: Whether to use the distance between the arguments, in positions of the
            sequence, as a feature.
        residual: Whether to add the learned pair embedding to the sentence encoder's own embedding
            of the text and the arguments. Pairs then stay in the space in which the embeddings of
            new descriptions are meaningful. ``dim`` must be the width of the text encoder.
        caption_words: Maximum number of words of the caption to use; 0 ignores captions.
        max_length: Maximum number of positions of a sequence. Longer texts are truncated to the
            tokens nearest to their arguments.
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
    def _check_heads(self) -> PairConfig:
        if self.dim % self.fusion_heads:
            raise ValueError(f"dim {self.dim} is not divisible by fusion_heads {self.fusion_heads}")
        return self


def configured_vision(config: PairConfig) -> VisionEncoder | None:
    """Load the vision encoder of a configuration, or return None if none is configured."""
    if config.vision_encoder is None:
        return None
    return load_vision_encoder(
        config.vision_encoder,
        size=config.image_size,
        intermediate_features=config.intermediate_features,
    )


class PairEncoding(NamedTuple):
    """Encodings of ``Q`` pairs, which are the input of a scorer.

    Attributes:
        embedding: ``(Q, dim)`` pair embeddings, L2-normalized.
        hidden: ``(Q, dim)`` inputs of the last layer, from which the logit of NOTA is computed.
        gate: ``(B,)`` predicted probability that the image matches the text; NaN without an image.
    """

    embedding: Tensor
    hidden: Tensor
    gate: Tensor


class PairEncoder(nn.Module):
    """Encoder of pairs of arguments.

    Args:
        config: Options.
        text_encoder: The text encoder.
        visual_dim: Width of the vision encoder's patch states.
    """

    distance_bounds: Tensor

    def __init__(self, config: PairConfig, text_encoder: TextEncoder, visual_dim: int) -> None:
        super().__init__()
        self.config, self.text_encoder = config, text_encoder
        self.max_length = min(config.max_length, text_encoder.max_length)
        if config.lora_rank:
            add_lora(text_encoder.model, config.lora_rank)
        else:
            tune_top_layers(text_encoder.model, config.trainable_layers)
        dim, text_dim = config.dim, text_encoder.dim
        self.role_embedding = nn.Parameter(self._word_vectors(ROLE_WORDS).clone())
        self.text_projection: nn.Module = (
            nn.Identity() if text_dim == dim else nn.Linear(text_dim, dim)
        )
        self.type_projection = nn.Linear(text_dim, dim)
        self.patch_projection: nn.Module | None = None
        self.region_pooling: RegionPooling | None = None
        num_states = 3  # head, tail, and their product
        if config.image_fusion == "concat":
            self.patch_projection = nn.Sequential(
                nn.LayerNorm(visual_dim), nn.Linear(visual_dim, dim)
            )
        else:
            self.region_pooling = RegionPooling(dim, visual_dim)
            num_states += 3  # the whole image, and the boxes of head and tail
        self.box_embedding = BoxGeometry(dim)
        self.missing_image = nn.Parameter(torch.randn(dim) * 0.02)
        self.image_embedding = nn.Parameter(torch.randn(dim) * 0.02)
        self.gate = VisualGate(dim)
        self.fusion = Fusion(dim, config.fusion_layers, config.fusion_heads, config.dropout)
        self.distance_embedding = nn.Embedding(2 * len(DISTANCES) + 3, FEATURE_DIM)
        self.kind_embedding = nn.Embedding(4, FEATURE_DIM)
        num_box_features = box_relation(torch.zeros(1, 4), torch.zeros(1, 4)).shape[-1]
        self.box_relation = nn.Linear(num_box_features, FEATURE_DIM)
        with torch.no_grad():
            # Offsets are a few tenths. Scale them to the size of the other two embeddings.
            self.box_relation.weight.mul_(8)
        width = num_states * dim + 3 * FEATURE_DIM
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, dim), nn.GELU(), nn.Dropout(config.dropout)
        )
        self.output = nn.Linear(dim, dim)
        if config.residual:
            if text_dim != dim:
                raise InputError(
                    f"needs pair.dim {text_dim}, the width of {text_encoder.name!r}, not {dim}",
                    field="pair.residual",
                    fix=f"set pair.dim={text_dim}, or pair.residual=false",
                )
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)
            self.residual_weights = nn.Parameter(torch.tensor([1.0, 0.5, 0.5]))
        self.register_buffer("distance_bounds", torch.tensor(DISTANCES), persistent=False)

    def forward(
        self,
        inputs: PairBatch,
        type_words: Mapping[str, str],
        *,
        both_directions: bool = False,
        words: Tensor | None = None,
    ) -> list[PairEncoding]:
        """Encode all pairs of a batch.

        Args:
            inputs: ``B`` sequences with ``Q`` pairs.
            type_words: Names of types in plain words, as far as the schema defines them.
            both_directions: Whether to encode the pairs from tail to head as well.
            words: ``(B, T, d_text)`` embeddings in place of those of the token ids.

        Returns:
            The encodings from head to tail, followed by those from tail to head if requested.
        """
        types = self._type_vectors(inputs.type_names, type_words)
        text = self._encode_text(inputs, types, words)
        has_image = inputs.has_patch.any(1)
        location = self.box_embedding(inputs.boxes) + self.type_projection(
            types[inputs.object_types]
        )
        areas: Tensor | None = None
        if self.patch_projection is not None:
            patches = self.patch_projection(inputs.patches)
            appearance = torch.where(
                has_image[:, None, None],
                pool_regions(patches, inputs.patch_boxes, inputs.has_patch, inputs.boxes),
                self.missing_image,
            )
            patches = patches + self.box_embedding(inputs.patch_boxes)
            image = masked_mean(patches, inputs.has_patch)
        else:
            assert self.region_pooling is not None
            appearance = self.missing_image
            areas = self.region_pooling(
                inputs.patches, inputs.patch_boxes, inputs.has_patch, inputs.boxes
            )
            image = layer_norm(areas[:, 0], areas.shape[2:])
        gate_logit = self.gate(masked_mean(text, inputs.mask), image)
        trust = torch.where(has_image, gate_logit.sigmoid(), 0.0)[:, None]
        objects = self.missing_image + trust[..., None] * (appearance - self.missing_image)
        objects = objects + location + self.image_embedding

        states = torch.cat([text, objects], 1)
        mask = torch.cat([inputs.mask, inputs.has_object], 1)
        log_trust = torch.zeros_like(mask, dtype=states.dtype)
        if areas is None:
            # Append the mean of the image, followed by its patches.
            image = self.missing_image + trust * (image - self.missing_image)
            visual = torch.cat([image[:, None], patches], 1) + self.image_embedding
            mask = torch.cat([mask, torch.ones_like(has_image)[:, None], inputs.has_patch], 1)
            patch_trust = logsigmoid(gate_logit)[:, None].expand_as(inputs.has_patch)
            log_trust = torch.cat([log_trust, torch.zeros_like(trust), patch_trust], 1)
            fused = self.fusion(torch.cat([states, visual], 1), mask, log_trust)
        else:
            # Fusion layers overfit to the objects of the training images, so they get no patches.
            areas = trust[..., None] * areas
            fused = self.fusion(states, mask, log_trust)
        gate = torch.where(has_image, trust[:, 0], float("nan"))
        directions = [inputs, inputs.swap_direction()] if both_directions else [inputs]
        return [self._encode_pairs(one, states, fused, areas, gate) for one in directions]

    def _encode_text(self, inputs: PairBatch, types: Tensor, words: Tensor | None) -> Tensor:
        """Compute contextual states of the text and the caption, ``(B, T, d)``."""
        tokens = self.text_encoder.embed_tokens(inputs.ids) if words is None else words
        markers = self.role_embedding[inputs.roles] + types[inputs.types]
        embeddings = torch.where((inputs.roles > 0)[..., None], markers, tokens)
        states: Tensor = self.text_encoder(embeddings, inputs.mask, inputs.segments)
        projected: Tensor = self.text_projection(states)
        return projected

    def _encode_pairs(
        self,
        inputs: PairBatch,
        states: Tensor,
        fused: Tensor,
        areas: Tensor | None,
        gate: Tensor,
    ) -> PairEncoding:
        """Combine the states of head and tail.

        Args:
            states: ``(B, T + R, d)`` states of text and objects before the fusion layers.
            fused: ``(B, S, d)`` states after the fusion layers; the first positions are the same.
            areas: ``(B, 1 + R, d)`` pooled patches of the whole image and of each box, or None.
            gate: ``(B,)`` predicted probability that the image matches the text.
        """
        sequence, head, tail = inputs.sequence, inputs.head, inputs.tail
        head_state = fused[sequence[:, None], head].mean(1)
        tail_state = fused[sequence[:, None], tail].mean(1)
        parts = [head_state, tail_state, head_state * tail_state]
        if areas is not None:
            parts.append(areas[sequence, 0])
            parts.append(inputs.of_objects(areas[:, 1:], inputs.head_object))
            parts.append(inputs.of_objects(areas[:, 1:], inputs.tail_object))
        hidden = self.mlp(torch.cat([*parts, *self._pair_features(inputs)], -1))
        embedding = self.output(hidden)
        if self.config.residual:
            text = states[:, : inputs.mask.shape[1]] * inputs.mask[..., None]
            own = torch.stack(
                [
                    text.sum(1)[sequence],
                    states[sequence[:, None], head].mean(1),
                    states[sequence[:, None], tail].mean(1),
                ]
            )
            weights = self.residual_weights[:, None, None]
            embedding = embedding + (weights * normalize(own, dim=-1)).sum(0)
        return PairEncoding(normalize(embedding, dim=-1), hidden, gate)

    def _pair_features(self, inputs: PairBatch) -> list[Tensor]:
        """Embed the distance, kind and box relation of each pair, as ``(Q, FEATURE_DIM)`` each."""
        size = torch.bucketize(inputs.distance.abs(), self.distance_bounds) + 1
        distance = self.distance_embedding(inputs.distance.sign() * size + len(DISTANCES) + 1)
        if not self.config.distance_embedding:
            distance = torch.zeros_like(distance)
        boxes = [
            inputs.of_objects(inputs.boxes, objects)
            for objects in (inputs.head_object, inputs.tail_object)
        ]
        relation = self.box_relation(box_relation(*boxes))
        both_objects = (inputs.kind == 3)[:, None]
        relation = torch.where(both_objects, relation, 0.0)
        return [distance, self.kind_embedding(inputs.kind), relation]

    def _type_vectors(self, names: Sequence[str], type_words: Mapping[str, str]) -> Tensor:
        """Embed type names, ``(K + 1, d_text)``. The last vector is zero and stands for no type."""
        words = [type_words.get(name, name.replace("_", " ").lower()) for name in names]
        vectors = self._word_vectors([*words, ""])
        return vectors if self.config.type_hints else torch.zeros_like(vectors)

    def _word_vectors(self, words: Sequence[str]) -> Tensor:
        """Compute mean token embeddings of words or phrases, ``(K, d_text)``; zero for ``""``."""
        ids = [self.text_encoder.tokenize(text).ids for text in words]
        flat = torch.tensor([i for some in ids for i in some], dtype=torch.long)
        tokens = self.text_encoder.embed_tokens(to_device(flat, self.text_encoder.device)).detach()
        zero = tokens.new_zeros(self.text_encoder.dim)
        parts = torch.split(tokens, [len(some) for some in ids])
        return torch.stack([part.mean(0) if len(part) else zero for part in parts])
