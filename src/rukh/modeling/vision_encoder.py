"""Frozen vision encoders, which compute features of the patches of an image.

Images are padded to a square before they are encoded. A :class:`PatchMap` excludes the padding.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from rukh.errors import WeightsError
from rukh.hub import find_weights, load_transformer
from rukh.modeling.efficientnet import EfficientNetLite
from rukh.modeling.image_io import preprocess
from rukh.records import Box
from rukh.utils.files import read_json

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of each channel, as used by most vision models."""
BATCH_SIZE, GPU_BATCH_SIZE = 2, 32
"""Number of images per forward pass, on a CPU and on a GPU. On a CPU, larger batches are no faster,
because the C library then allocates and clears new buffers for every layer."""


class PatchMap(NamedTuple):
    """The features of an image.

    Attributes:
        states: ``(P, dim)`` states of the patches. Patches that contain only padding are left out,
            so ``P`` differs between images.
        boxes: ``(P, 4)`` boxes of the patches, as fractions of the image, clipped to the image.
    """

    states: Tensor
    boxes: Tensor


class VisionEncoder(nn.Module):
    """Base class of vision encoders.

    Attributes:
        name: Name or path of the weights.
        size: Side length ``S`` of the square input, in pixels.
        mean, std: Mean and standard deviation of each channel, for pixel values in [0, 1].
        dim: Size of the state vectors.
        grid: Number of rows and columns of patches; ``P`` is their product.
        coverage: Fraction of the side of the square that the patches cover. It is below 1 if ``S``
            is not a multiple of the patch size; the last pixels are then ignored.
    """

    name: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dim: int
    grid: tuple[int, int]
    coverage: float = 1.0

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode normalized pixels ``(B, 3, S, S)`` to states ``(B, P, dim)``, row by row."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return the settings, other than the weights, that affect the states."""
        return {"size": self.size, "mean": self.mean, "std": self.std}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the settings and weights. Computing it takes about one second per gigabyte."""
        settings = json.dumps(self.settings(), sort_keys=True, default=str)
        digest = hashlib.sha256(settings.encode())
        for key, value in self.state_dict().items():
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


class EfficientNetEncoder(VisionEncoder):
    """EfficientNet-Lite0. The cells of its feature map are the patches."""

    mean = (127 / 255,) * 3
    std = (128 / 255,) * 3

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
    """A Hugging Face vision model: ViT, DINOv2, the vision encoder of CLIP or SigLIP, or a CNN.

    States of class, distillation and register tokens, which belong to no patch, come first in the
    sequence and are dropped.

    Args:
        model: The model, or a model with a ``vision_model``.
        name: Name or path of the weights.
        preprocessing: The contents of the model's ``preprocessor_config.json``.
        size: Side length of the square input, in pixels. None: as in ``preprocessing``.

    Raises:
        WeightsError: The model does not accept images of this size, or returns fewer states than
            patches.
    """

    def __init__(
        self, model: Any, name: str, preprocessing: dict[str, Any], size: int | None = None
    ) -> None:
        super().__init__()
        model = getattr(model, "vision_model", model)
        pooler = getattr(model, "pooler", None)
        if pooler is not None and any(True for _ in pooler.parameters()):
            model.pooler = None  # not used, and random if the weights do not contain it
        self.model, self.name = model, name
        self.mean = tuple(map(float, preprocessing.get("image_mean") or IMAGENET[0]))
        self.std = tuple(map(float, preprocessing.get("image_std") or IMAGENET[1]))
        if preprocessing.get("do_normalize") is False:
            self.mean, self.std = (0.0,) * 3, (1.0,) * 3
        pretrained = getattr(model.config, "image_size", None)
        sizes = preprocessing.get("crop_size") or preprocessing.get("size") or pretrained
        self.size = size or _side(sizes)
        # Models with learned positions must be told to interpolate them for another input size;
        # models that need no telling do not have this parameter.
        can_interpolate = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        interpolate = can_interpolate and pretrained is not None and _side(pretrained) != self.size
        self._options = {"interpolate_pos_encoding": True} if interpolate else {}
        try:
            with torch.no_grad():
                shape = self._states(torch.zeros(1, 3, self.size, self.size)).shape
        except (ValueError, RuntimeError, TypeError) as error:
            square = f"{self.size} x {self.size}"
            raise WeightsError(f"{name} does not accept {square} pixels: {error}") from None
        if len(shape) == 4:
            self.grid, self.dim = (shape[2], shape[3]), shape[1]
            return
        patch = _side(getattr(model.config, "patch_size", None) or self.size)
        side = self.size // patch
        self.grid, self.dim, self.coverage = (side, side), shape[2], side * patch / self.size
        if shape[1] < side * side:
            raise WeightsError(
                f"{name} gives {shape[1]} states for its {side} x {side} patches; "
                "use a model that gives at least one state per patch"
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

    def settings(self) -> dict[str, Any]:
        """See :meth:`VisionEncoder.settings`."""
        config = self.model.config.to_dict()
        for key in ("transformers_version", "_name_or_path", "dtype"):
            config.pop(key, None)
        return super().settings() | {"config": config}


def load_vision_encoder(
    name: str, *, size: int | None = None, intermediate_features: bool = False
) -> VisionEncoder:
    """Load a vision encoder by name or path; see :func:`rukh.hub.find_weights`.

    Args:
        name: Name or path of the weights.
        size: Side length of the square input, in pixels. In a larger input, smaller objects can be
            recognized, but the time grows with the square of the size. None: the size used in
            pretraining.
        intermediate_features: Whether to use intermediate features of EfficientNet-Lite0; see
            :meth:`~rukh.modeling.efficientnet.EfficientNetLite.use_intermediate_features`.

    Raises:
        WeightsError: The weights are not found, damaged, incomplete, or not of a vision encoder.

    Example:
        >>> load_vision_encoder("efficientnet-lite0").grid
        (7, 7)
    """
    path = find_weights(name, kind="vision")
    if path.is_file():
        network = EfficientNetLite.load(path)
        if intermediate_features:
            network.use_intermediate_features()
        return EfficientNetEncoder(network, name, size).eval()
    if intermediate_features:
        raise WeightsError(f"intermediate features need EfficientNet-Lite0, not {name}")

    try:
        model, report = load_transformer("AutoModel", path, output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"cannot load {name} from {path}: {reason}") from None
    if not hasattr(model, "vision_model") and model.main_input_name != "pixel_values":
        raise WeightsError(f"{name} is a {model.config.model_type} model, not a vision encoder")
    missing = sorted(key for key in report["missing_keys"] if "pooler." not in key)
    if missing:
        raise WeightsError(
            f"the weights in {path} lack {len(missing)} tensors of the model: {missing[0]} ..."
        )
    return HFVisionEncoder(model, name, _preprocessing(path), size).eval()


def _preprocessing(folder: Path) -> dict[str, Any]:
    """Read a model's preprocessing options; empty if its folder has none."""
    # Newer versions of transformers write them into processor_config.json.
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            options = read_json(folder / name)
            if isinstance(options, dict):
                options = options.get("image_processor", options)
            return options if isinstance(options, dict) else {}
    return {}


def _side(value: Any) -> int:
    """Read a side length in pixels from any of the forms used in configurations."""
    if isinstance(value, dict):
        value = value.get("height") or value.get("shortest_edge")
    elif isinstance(value, list | tuple):
        value = value[0]
    if not isinstance(value, int) or value < 1:
        raise WeightsError(f"cannot read the size of an image or a patch from {value!r}")
    return value


def patch_boxes(encoder: VisionEncoder, frame: Box) -> tuple[Tensor, Tensor]:
    """Return the boxes of the patches for an image that covers ``frame`` of the square input.

    Returns:
        Boxes ``(rows * cols, 4)`` as fractions of the image, clipped to it; and a bool tensor
        ``(rows * cols,)``, True if a patch shows any part of the image.
    """
    x1, y1, x2, y2 = frame
    ys, xs = (torch.linspace(0, encoder.coverage, n + 1, dtype=torch.float64) for n in encoder.grid)
    xs, ys = ((xs - x1) / (x2 - x1)).clamp(0, 1), ((ys - y1) / (y2 - y1)).clamp(0, 1)
    top, left = torch.meshgrid(ys[:-1], xs[:-1], indexing="ij")
    bottom, right = torch.meshgrid(ys[1:], xs[1:], indexing="ij")
    boxes = torch.stack([left, top, right, bottom], -1).reshape(-1, 4)
    # Thinner boxes are rounding errors: even a single pixel is far wider.
    visible = ((boxes[:, 2:] - boxes[:, :2]) > 1e-6).all(-1)
    return boxes.float(), visible


@torch.no_grad()
def encode_images(encoder: VisionEncoder, images: Sequence[Image.Image]) -> list[PatchMap]:
    """Encode RGB images, as returned by :func:`rukh.modeling.image_io.load_image`.

    The features are in the CPU's memory, whatever the device of the encoder.
    """
    device = next(encoder.parameters()).device
    size = BATCH_SIZE if device.type == "cpu" else GPU_BATCH_SIZE
    maps: list[PatchMap] = []
    for first in range(0, len(images), size):
        batch = [
            preprocess(image, encoder.size, encoder.mean, encoder.std)
            for image in images[first : first + size]
        ]
        pixels = torch.from_numpy(np.stack([image.pixels for image in batch]))
        for states, image in zip(encoder(pixels.to(device)).cpu(), batch, strict=True):
            boxes, visible = patch_boxes(encoder, image.frame)
            maps.append(PatchMap(states[visible], boxes[visible]))
    return maps
