"""Vision encoders: pictures in, one state for each patch of the picture out.

Pictures are fitted into a square, so part of what an encoder sees is padding. :class:`PatchMap`
speaks of the picture alone: what comes after it never meets the padding.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from rukh.errors import WeightsError
from rukh.hub import find_weights
from rukh.modeling.efficientnet import EfficientNetLite
from rukh.modeling.image_io import PreparedImage, prepare
from rukh.records import Box
from rukh.utils.files import read_json

if TYPE_CHECKING:
    from PIL import Image

Channels = tuple[float, float, float]
IMAGENET: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation that most vision models were trained with."""
BATCH = 2
"""Pictures of one pass. The buffers of more are larger than what the C library keeps: they would be
asked of the system and cleared anew at every layer, which takes as long as the network itself."""


class PatchMap(NamedTuple):
    """What an encoder sees of one picture.

    Attributes:
        states: ``(P, dim)``; padding is left out, so ``P`` differs between pictures.
        boxes: ``(P, 4)`` the patches' boxes as fractions of the picture, clipped to it.
    """

    states: Tensor
    boxes: Tensor


class VisionEncoder(nn.Module):
    """Base of all vision encoders.

    Attributes:
        name: What it was loaded by; stored in a model's config.
        size: Side ``S`` of the square that it takes, in pixels.
        mean, std: Of the channels, for values in [0, 1].
        dim: Width of its states.
        grid: Rows and columns of its patches; ``P`` is their product.
        cover: Share of the square's side that the patches cover: below 1 where their size does
            not divide ``S``, in which case the last pixels right and below are not seen.
    """

    name: str
    size: int
    mean: Channels
    std: Channels
    dim: int
    grid: tuple[int, int]
    cover: float = 1.0

    def forward(self, pixels: Tensor) -> Tensor:
        """Patch states ``(B, P, dim)``, row by row, of normalised pixels ``(B, 3, S, S)``."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        """It always computes as in evaluation, also where its weights are trained: batches are too
        small for statistics of their own.
        """
        return super().train(False)

    def prepared(self, image: Image.Image) -> PreparedImage:
        """An RGB picture as it takes one; see :func:`rukh.modeling.image_io.prepare`."""
        return prepare(image, self.size, self.mean, self.std)

    def traits(self) -> dict[str, Any]:
        """Whatever besides the weights decides what the states are."""
        return {"size": self.size, "mean": self.mean, "std": self.std}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of traits and weights as they are now; takes a second per gigabyte."""
        digest = hashlib.sha256(json.dumps(self.traits(), sort_keys=True, default=str).encode())
        for key, value in self.state_dict().items():
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


class EfficientNetEncoder(VisionEncoder):
    """EfficientNet-Lite: each cell of its feature map is a patch."""

    mean: Channels = (127 / 255,) * 3
    std: Channels = (128 / 255,) * 3

    def __init__(self, network: EfficientNetLite, name: str, size: int | None = None) -> None:
        super().__init__()
        self.network, self.name, self.dim = network, name, network.dim
        self.size = size or network.size
        self.grid = (-(-self.size // network.stride),) * 2

    def forward(self, pixels: Tensor) -> Tensor:
        """See :meth:`VisionEncoder.forward`."""
        states: Tensor = self.network(pixels)
        return states.flatten(2).transpose(1, 2)


class HFVisionEncoder(VisionEncoder):
    """A Hugging Face vision model: ViT, DINOv2, the vision tower of CLIP or SigLIP, or a CNN.

    States that stand for no patch (class and register tokens) come first and are left out.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        preprocessor: dict[str, Any] | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__()
        model = getattr(model, "vision_model", model)
        pooler = getattr(model, "pooler", None)
        if pooler is not None and any(True for _ in pooler.parameters()):
            model.pooler = None  # never used, and random where the weights have none
        self.model, self.name = model, name
        told = preprocessor or {}
        self.mean = _channels(told.get("image_mean"), IMAGENET[0])
        self.std = _channels(told.get("image_std"), IMAGENET[1])
        if told.get("do_normalize") is False:
            self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        trained = getattr(model.config, "image_size", None)
        self.size = size or _side(told.get("crop_size") or told.get("size") or trained)
        # Models with learned positions refuse another size than they were trained at, unless asked
        # to interpolate; those that do so by themselves have no such option.
        asks = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        other = asks and trained is not None and _side(trained) != self.size
        self._options = {"interpolate_pos_encoding": True} if other else {}
        self._probe()

    @torch.no_grad()
    def _probe(self) -> None:
        """Learn the grid from what the model makes of an empty picture."""
        try:
            states = self._states(torch.zeros(1, 3, self.size, self.size))
        except (ValueError, RuntimeError, TypeError) as error:
            raise WeightsError(
                f"{self.name} does not take pictures of {self.size} pixels: {error}"
            ) from None
        if states.dim() == 4:
            self.grid = (states.shape[2], states.shape[3])
            self.dim = states.shape[1]
            return
        patch = _side(getattr(self.model.config, "patch_size", None) or self.size)
        side = self.size // patch
        self.grid, self.dim, self.cover = (side, side), states.shape[2], side * patch / self.size
        if states.shape[1] < side * side:
            raise WeightsError(
                f"{self.name} gives {states.shape[1]} states, fewer than its {side} x {side} "
                "patches; only models that keep one state a patch can be used"
            )

    def _states(self, pixels: Tensor) -> Tensor:
        states: Tensor = self.model(pixel_values=pixels, **self._options).last_hidden_state
        return states

    def forward(self, pixels: Tensor) -> Tensor:
        """See :meth:`VisionEncoder.forward`."""
        states = self._states(pixels)
        if states.dim() == 4:
            return states.flatten(2).transpose(1, 2)
        return states[:, states.shape[1] - self.grid[0] * self.grid[1] :]

    def traits(self) -> dict[str, Any]:
        """See :meth:`VisionEncoder.traits`."""
        config = self.model.config.to_dict()
        for key in ("transformers_version", "_name_or_path", "dtype"):
            config.pop(key, None)
        return super().traits() | {"config": config}


def load_vision_encoder(
    name: str, *, size: int | None = None, middle: bool = False, allow_hub: bool = False
) -> VisionEncoder:
    """Load an encoder, ready to encode, by path, shipped name or (only if allowed) hub name.

    Args:
        name: What :func:`rukh.hub.find_weights` takes.
        size: Side of the square that pictures are fitted into, in pixels: more show smaller
            things, and cost as their square. None: what it was trained with.
        middle: Whether patches are the cells of three inner maps of an EfficientNet-Lite, side by
            side, in place of its last one; see :class:`EfficientNetLite`.
        allow_hub: Whether to download what is not on this machine.

    Raises:
        WeightsError: Nowhere to be found, damaged, incomplete, or no encoder of pictures.

    Example:
        >>> load_vision_encoder("efficientnet-lite0").grid
        (7, 7)
    """
    path = find_weights(name, kind="vision", allow_hub=allow_hub)
    if path.is_file():
        return EfficientNetEncoder(EfficientNetLite.load(path, middle), name, size).eval()
    if middle:
        raise WeightsError(f"{name} has no middle map; only an EfficientNet-Lite has one")
    return _load_hub(path, name, size)


def _load_hub(folder: Path, name: str, size: int | None) -> HFVisionEncoder:
    import transformers

    try:
        model, report = transformers.AutoModel.from_pretrained(
            str(folder),
            local_files_only=True,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"cannot load {name} from {folder}: {reason}") from None
    if not hasattr(model, "vision_model") and model.main_input_name != "pixel_values":
        raise WeightsError(f"{name} is a {model.config.model_type} model, no encoder of pictures")
    missing = sorted(key for key in report["missing_keys"] if "pooler." not in key)
    if missing:
        raise WeightsError(
            f"the weights in {folder} lack {len(missing)} tensors of the model: {missing[0]} ..."
        )
    return HFVisionEncoder(model, name, preprocessor(folder), size).eval()


def preprocessor(folder: Path) -> dict[str, Any]:
    """How a model's pictures are to be prepared, as its folder tells; empty where it does not.

    Newer versions of transformers keep it inside ``processor_config.json``.
    """
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            told = read_json(folder / name)
            told = told.get("image_processor", told) if isinstance(told, dict) else {}
            return told if isinstance(told, dict) else {}
    return {}


def patch_boxes(encoder: VisionEncoder, frame: Box) -> tuple[Tensor, Tensor]:
    """The patches of a framed picture, in its own coordinates.

    Returns:
        Boxes ``(rows * cols, 4)`` clipped to the picture, and ``(rows * cols,)`` bool: which of
        them show any of it.
    """
    rows, cols = encoder.grid
    x1, y1, x2, y2 = frame
    across, down = (
        torch.linspace(0, encoder.cover, count + 1, dtype=torch.float64) for count in (cols, rows)
    )
    xs, ys = ((across - x1) / (x2 - x1)).clamp(0, 1), ((down - y1) / (y2 - y1)).clamp(0, 1)
    top, left = torch.meshgrid(ys[:-1], xs[:-1], indexing="ij")
    bottom, right = torch.meshgrid(ys[1:], xs[1:], indexing="ij")
    boxes = torch.stack([left, top, right, bottom], -1).reshape(-1, 4)
    # Slivers come from rounding, not from the picture: one pixel is far wider.
    shown = ((boxes[:, 2:] - boxes[:, :2]) > 1e-6).all(-1)
    return boxes.float(), shown


def encode_prepared(encoder: VisionEncoder, pictures: Sequence[PreparedImage]) -> list[PatchMap]:
    """Patch maps of one batch of prepared pictures."""
    if not pictures:
        return []
    device = next(encoder.parameters()).device
    pixels = torch.from_numpy(np.stack([picture.pixels for picture in pictures]))
    states = encoder(pixels.to(device)).cpu()
    maps = []
    for state, picture in zip(states, pictures, strict=True):
        boxes, shown = patch_boxes(encoder, picture.frame)
        maps.append(PatchMap(state[shown], boxes[shown]))
    return maps


@torch.no_grad()
def encode_images(
    encoder: VisionEncoder, images: Sequence[Image.Image], batch_size: int = BATCH
) -> list[PatchMap]:
    """Patch maps of RGB pictures (see :func:`rukh.modeling.image_io.load_image`), without gradient."""
    maps: list[PatchMap] = []
    for first in range(0, len(images), batch_size):
        batch = [encoder.prepared(image) for image in images[first : first + batch_size]]
        maps += encode_prepared(encoder, batch)
    return maps


def _side(value: Any) -> int:
    """A side in pixels, in any of the ways that configurations spell it."""
    if isinstance(value, dict):
        value = value.get("height") or value.get("shortest_edge")
    elif isinstance(value, list | tuple):
        value = value[0]
    if not isinstance(value, int) or value < 1:
        raise WeightsError(f"cannot read a picture's or a patch's size from {value!r}")
    return value


def _channels(value: Any, default: Channels) -> Channels:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return default
    red, green, blue = (float(part) for part in value)
    return red, green, blue
