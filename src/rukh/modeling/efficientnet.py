"""EfficientNet-Lite: a small convolutional network, used as a frozen vision encoder.

Tan and Le, "EfficientNet" (ICML 2019); the Lite variants are TensorFlow's for mobile processors and
have no squeeze-and-excitation. Attributes are named as in the published PyTorch state dict, so that
it can be loaded without changes.
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
    """Factors of width and depth relative to Lite0, and the input size in pixels."""

    width: float
    depth: float
    size: int


VARIANTS = {
    "efficientnet-lite0": Variant(1.0, 1.0, 224),
    "efficientnet-lite2": Variant(1.1, 1.2, 260),
}


class _Conv(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding: an odd pixel goes to the right and bottom."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(ins, outs, kernel, stride, groups=groups, bias=False)

    def pad(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, cols = (
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]
        )
        if not (rows or cols):
            return x
        return functional.pad(x, (cols // 2, cols - cols // 2, rows // 2, rows - rows // 2))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _conv_norm(conv: _Conv, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Apply a convolution and its normalization as one convolution.

    This saves a pass over feature maps, which are far larger than the weights.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    return functional.conv2d(conv.pad(x), weight, bias, conv.stride, groups=conv.groups)


def _relu6(x: Tensor) -> Tensor:
    return functional.relu6(x, inplace=True)


class _Expansion(nn.Module):
    """The first layer of a block, which widens the feature map."""

    def __init__(self, ins: int, expansion: int) -> None:
        super().__init__()
        self.width, self.expands = ins * expansion, expansion > 1
        if self.expands:
            self._expand_conv, self._bn0 = _Conv(ins, self.width, 1), _norm(self.width)

    def expand(self, x: Tensor) -> Tensor:
        return _relu6(_conv_norm(self._expand_conv, self._bn0, x)) if self.expands else x


class _Block(_Expansion):
    """An inverted residual block: expand, convolve each channel by itself, project."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__(ins, expansion)
        self._depthwise_conv = _Conv(self.width, self.width, kernel, stride, groups=self.width)
        self._bn1 = _norm(self.width)
        self._project_conv, self._bn2 = _Conv(self.width, outs, 1), _norm(outs)
        self.residual = stride == 1 and ins == outs

    def project(self, x: Tensor, expanded: Tensor) -> Tensor:
        y = _relu6(_conv_norm(self._depthwise_conv, self._bn1, expanded))
        y = _conv_norm(self._project_conv, self._bn2, y)
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """The network without its classifier, for inference only.

    Args:
        variant: Its size.
        intermediate_features: Give the concatenation of three inner maps instead of the last map:
            the expansions of the block that halves the map for the last time (pooled 2 x 2 by root
            mean square), of the next block, and of the last block. They have the same grid and
            depend less on the classes of ImageNet.

    Attributes:
        size: Input size in pixels that it was trained with.
        dim: Channels of its feature map.
    """

    stride = 32
    """Pixels from one cell of the feature map to the next."""

    def __init__(self, variant: Variant, intermediate_features: bool = False) -> None:
        super().__init__()
        self.size = variant.size
        self._conv_stem, self._bn0 = _Conv(3, _STEM, 3, 2), _norm(_STEM)
        shapes, ins = [], _STEM
        for kernel, stride, expansion, channels, repeats in _STAGES:
            outs = _round_to_eight(channels * variant.width)
            # The first and last stages, like stem and head, have the same depth in all variants.
            depth = repeats if channels in (16, 320) else math.ceil(repeats * variant.depth)
            for index in range(depth):
                shapes.append((ins, outs, kernel, 1 if index else stride, expansion))
                ins = outs
        blocks: list[_Expansion] = [_Block(*shape) for shape in shapes]
        self.intermediate: tuple[int, ...] = ()
        if intermediate_features:
            halving = max(i for i, (*_, stride, _) in enumerate(shapes) if stride > 1)
            self.intermediate = halving, halving + 1, len(shapes) - 1
            blocks[-1] = _Expansion(shapes[-1][0], shapes[-1][-1])
            self.dim = sum(blocks[index].width for index in self.intermediate)
        else:
            self._conv_head, self._bn1 = _Conv(ins, _HEAD, 1), _norm(_HEAD)
            self.dim = _HEAD
        self._blocks = nn.ModuleList(blocks)
        # Depthwise convolutions on a CPU are 20 % faster with the channels last.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels ``(B, 3, H, W)`` to features ``(B, dim, H/stride, W/stride)``, rounded up."""
        x = pixels.contiguous(memory_format=torch.channels_last)
        x = _relu6(_conv_norm(self._conv_stem, self._bn0, x))
        maps = []
        for index, block in enumerate(self._blocks):
            assert isinstance(block, _Expansion)
            expanded = block.expand(x)
            if index in self.intermediate:
                maps.append(expanded)
            if isinstance(block, _Block):
                x = block.project(x, expanded)
        if not maps:
            return _relu6(_conv_norm(self._conv_head, self._bn1, x))
        fine, coarse, last = maps
        mean_square = functional.avg_pool2d(fine.square(), 2, ceil_mode=True)
        # Shipped models were trained with this constant.
        return torch.cat([(mean_square + 1e-6).sqrt(), coarse, last], 1)

    @classmethod
    def load(cls, path: Path, intermediate_features: bool = False) -> EfficientNetLite:
        """Load a published state dict (``.pth``), without unpickling code.

        Raises:
            WeightsError: The file is not such a state dict, or does not fit a known variant.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = {key: value for key, value in state.items() if not key.startswith("_fc.")}
            last = state["_conv_head.weight"].shape[1]
        except Exception as error:  # not a torch file, pickled code, another network
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{path} is no state dict of EfficientNet-Lite: {reason}") from None
        for variant in VARIANTS.values():
            if _round_to_eight(_STAGES[-1][3] * variant.width) == last:
                network = cls(variant, intermediate_features)
                if intermediate_features:  # the layers behind the last expansion are not needed
                    needed = network.state_dict().keys()
                    state = {key: value for key, value in state.items() if key in needed}
                try:
                    network.load_state_dict(state)
                except RuntimeError as error:
                    reason = " ".join(str(error).split())[:200]
                    raise WeightsError(f"{path} does not fit EfficientNet-Lite: {reason}") from None
                return network.eval()
        raise WeightsError(f"{path} is an unknown variant; known: {', '.join(VARIANTS)}")


def _round_to_eight(channels: float) -> int:
    """Round to a multiple of 8, at least 8 and at least 90 % of ``channels``."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
