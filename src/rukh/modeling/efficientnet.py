"""EfficientNet-Lite: a small convolutional network without squeeze-and-excitation.

Tan and Le, "EfficientNet" (ICML 2019); the Lite variants are TensorFlow's for mobile processors.
Attributes bear the names of the published PyTorch state dict, so that it loads as it stands.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rukh.errors import WeightsError

# Kernel, stride, expansion, channels and repeats of each stage of Lite0.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM, _HEAD = 32, 1280


class Variant(NamedTuple):
    """How far a variant widens and deepens Lite0, and the side of its pictures in pixels."""

    width: float
    depth: float
    size: int


VARIANTS = {
    "efficientnet-lite0": Variant(1.0, 1.0, 224),
    "efficientnet-lite2": Variant(1.1, 1.2, 260),
}


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": the odd pixel goes right and below."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(ins, outs, kernel, stride, groups=groups, bias=False)

    def padded(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        high, wide = (
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]
        )
        if not (high or wide):
            return x
        return functional.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.padded(x))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _normed(conv: _Conv, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """A convolution and its normalisation; by fixed statistics the two are one convolution, which
    saves a pass over maps that are far larger than the weights.
    """
    if norm.training or norm.running_var is None or norm.running_mean is None:
        return norm(conv(x))  # type: ignore[no-any-return]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    return functional.conv2d(conv.padded(x), weight, bias, conv.stride, groups=conv.groups)


def _relu6(x: Tensor) -> Tensor:
    return functional.relu6(x, inplace=True)


class _Expansion(nn.Module):
    """The first third of a block: it widens the map, and reads one cell at a time."""

    def __init__(self, ins: int, expansion: int) -> None:
        super().__init__()
        self.wide, self.expands = ins * expansion, expansion > 1
        if self.expands:
            self._expand_conv, self._bn0 = _Conv(ins, self.wide, 1), _norm(self.wide)

    def forward(self, x: Tensor) -> Tensor:
        return _relu6(_normed(self._expand_conv, self._bn0, x)) if self.expands else x


class _Block(_Expansion):
    """Expand, filter each channel in space, project back; added to its input where shapes allow."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__(ins, expansion)
        self._depthwise_conv = _Conv(self.wide, self.wide, kernel, stride, groups=self.wide)
        self._bn1 = _norm(self.wide)
        self._project_conv, self._bn2 = _Conv(self.wide, outs, 1), _norm(outs)
        self.adds = stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        return self.narrowed(x, super().forward(x))

    def narrowed(self, x: Tensor, wide: Tensor) -> Tensor:
        """What comes of its input and of what that was widened to."""
        y = _relu6(_normed(self._depthwise_conv, self._bn1, wide))
        y = _normed(self._project_conv, self._bn2, y)
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """The network up to its last feature map, or to its middle one; it classifies nothing.

    The middle map is as coarse as the last one and further from the classes that the network was
    trained on. It is three side by side: what the block widens that halves the map for the last
    time, as root mean square of two by two cells, and what the next block and the last one widen.

    Args:
        middle: Whether it ends at the middle map.

    Attributes:
        size: Side of the pictures it was trained on, in pixels.
        dim: Channels of its map.
    """

    stride = 32
    """Pixels from one cell of its map to the next."""

    def __init__(self, variant: Variant, middle: bool = False) -> None:
        super().__init__()
        self.size = variant.size
        self._conv_stem, self._bn0 = _Conv(3, _STEM, 3, 2), _norm(_STEM)
        shapes, ins = [], _STEM
        for kernel, stride, expansion, channels, repeats in _STAGES:
            outs = _round_eight(channels * variant.width)
            # The first and the last stage, like stem and head, are as deep in every variant.
            deep = repeats if channels in (16, 320) else math.ceil(repeats * variant.depth)
            for index in range(deep):
                shapes.append((ins, outs, kernel, 1 if index else stride, expansion))
                ins = outs
        self.kept: tuple[int, ...] = ()
        if middle:
            halving = max(i for i, (*_, stride, _) in enumerate(shapes) if stride > 1)
            self.kept = halving, halving + 1, len(shapes) - 1
            last = _Expansion(shapes[-1][0], shapes[-1][-1])
            blocks = [*(_Block(*shape) for shape in shapes[:-1]), last]
            self._blocks = nn.ModuleList(blocks)
            self.dim = sum(blocks[index].wide for index in self.kept)
        else:
            self._blocks = nn.ModuleList(_Block(*shape) for shape in shapes)
            self._conv_head, self._bn1 = _Conv(ins, _HEAD, 1), _norm(_HEAD)
            self.dim = _HEAD
        # Channels last: depthwise convolutions on a processor take a fifth less so.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Tensor) -> Tensor:
        """Feature map ``(B, dim, H/stride, W/stride)`` of pixels ``(B, 3, H, W)``, rounded up."""
        x = pixels.contiguous(memory_format=torch.channels_last)
        x = _relu6(_normed(self._conv_stem, self._bn0, x))
        if not self.kept:
            for block in self._blocks:
                x = block(x)
            return _relu6(_normed(self._conv_head, self._bn1, x))
        maps = []
        for index, block in enumerate(self._blocks):
            wide = _Expansion.forward(block, x)  # type: ignore[arg-type]
            if index in self.kept:
                maps.append(wide)
            if isinstance(block, _Block):
                x = block.narrowed(x, wide)
        fine, coarse, last = maps
        power = functional.avg_pool2d(fine.square(), 2, ceil_mode=True)
        # The smallest keeps the root's gradient finite.
        return torch.cat([(power + 1e-6).sqrt(), coarse, last], 1)

    @classmethod
    def load(cls, path: Path, middle: bool = False) -> EfficientNetLite:
        """The network of a published state dict (``.pth``), which is read without unpickling.

        Raises:
            WeightsError: Not such a state dict; names the first key that does not fit.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = {key: value for key, value in state.items() if not key.startswith("_fc.")}
            last = state["_conv_head.weight"].shape[1]
        except Exception as error:  # not a file of torch, a pickle of code, another network
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{path} is no state dict of EfficientNet-Lite: {reason}") from None
        for variant in VARIANTS.values():
            if _round_eight(_STAGES[-1][3] * variant.width) == last:
                network = cls(variant, middle)
                if middle:  # what comes after it is left out
                    known = network.state_dict()
                    state = {key: value for key, value in state.items() if key in known}
                try:
                    network.load_state_dict(state)
                except RuntimeError as error:
                    reason = " ".join(str(error).split())[:200]
                    raise WeightsError(f"{path} does not fit: {reason}") from None
                return network.eval()
        raise WeightsError(f"{path} is a variant that rukh does not know; known: {[*VARIANTS]}")


def _round_eight(channels: float) -> int:
    """Nearest multiple of 8, at least 8, and no less than 90 % of what was asked."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
