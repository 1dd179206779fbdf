"""EfficientNet-Lite0: a small convolutional network, used as a frozen vision encoder.

See Tan and Le, "EfficientNet" (ICML 2019). TensorFlow's Lite variants for mobile devices
have no squeeze-and-excitation. Attributes have the names of the published PyTorch state dict, so
that it can be loaded without changes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rukh.errors import WeightsError

# Kernel, stride, expansion, channels and repeats of each stage.
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


def _conv(ins: int, outs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(ins, outs, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _conv_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Apply a convolution with TensorFlow's "SAME" padding, followed by batch normalization."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    rows, cols = (
        max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]
    )
    if rows or cols:  # an odd pixel goes to the right and the bottom
        x = functional.pad(x, (cols // 2, cols - cols // 2, rows // 2, rows - rows // 2))
    # One convolution saves a pass over feature maps, which are far larger than the weights.
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    return functional.conv2d(x, weight, bias, conv.stride, groups=conv.groups)


class _Block(nn.Module):
    """An inverted residual block: expansion, depthwise convolution, and projection."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.width, self.expands, self.stride = ins * expansion, expansion > 1, stride
        if self.expands:
            self._expand_conv, self._bn0 = _conv(ins, self.width, 1), _norm(self.width)
        self._depthwise_conv = _conv(self.width, self.width, kernel, stride, groups=self.width)
        self._bn1 = _norm(self.width)
        self._project_conv, self._bn2 = _conv(self.width, outs, 1), _norm(outs)
        self.residual = stride == 1 and ins == outs

    def expand(self, x: Tensor) -> Tensor:
        return _conv_norm(self._expand_conv, self._bn0, x).clamp_(0, 6) if self.expands else x

    def project(self, x: Tensor, expanded: Tensor) -> Tensor:
        y = _conv_norm(self._depthwise_conv, self._bn1, expanded).clamp_(0, 6)
        y = _conv_norm(self._project_conv, self._bn2, y)
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """The network without its classifier, for inference only.

    Attributes:
        dim: Number of channels of the feature map.
    """

    size = 224
    """Side of the input in training, in pixels."""
    stride = 32
    """Distance between neighbouring cells of the feature map, in pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = _HEAD
        self._conv_stem, self._bn0 = _conv(3, _STEM, 3, 2), _norm(_STEM)
        blocks, ins = [], _STEM
        for kernel, stride, expansion, outs, repeats in _STAGES:
            for index in range(repeats):
                blocks.append(_Block(ins, outs, kernel, 1 if index else stride, expansion))
                ins = outs
        self._conv_head, self._bn1 = _conv(ins, _HEAD, 1), _norm(_HEAD)
        self._blocks = nn.ModuleList(blocks)
        self._intermediate: tuple[int, ...] = ()
        # Depthwise convolutions on a CPU are 20 % faster with the channels last.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def use_intermediate_features(self) -> None:
        """Output the concatenation of three inner feature maps instead of the last feature map.

        They are the expansions in three blocks: the final block with stride 2 (its map is reduced
        by 2 x 2 root mean square pooling), the block after it, and the network's last block. All
        three have the same grid, and are less specific to the classes of ImageNet than the last
        feature map.
        """
        blocks: list[Any] = list(self._blocks)
        halving = max(index for index, block in enumerate(blocks) if block.stride > 1)
        self._intermediate = halving, halving + 1, len(blocks) - 1
        self.dim = sum(blocks[index].width for index in self._intermediate)
        # What follows the last expansion is not needed.
        last = blocks[-1]
        del last._depthwise_conv, last._bn1, last._project_conv, last._bn2
        del self._conv_head, self._bn1

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels ``(B, 3, H, W)`` to features ``(B, dim, H/stride, W/stride)``, rounded up."""
        x = pixels.contiguous(memory_format=torch.channels_last)
        x = _conv_norm(self._conv_stem, self._bn0, x).clamp_(0, 6)
        maps: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            assert isinstance(block, _Block)
            expanded = block.expand(x)
            if index in self._intermediate:
                maps.append(expanded)
            if len(maps) < 3:
                x = block.project(x, expanded)
        if not maps:
            return _conv_norm(self._conv_head, self._bn1, x).clamp_(0, 6)
        fine, coarse, last = maps
        mean_square = functional.avg_pool2d(fine.square(), 2, ceil_mode=True)
        # Shipped models were trained with this constant.
        return torch.cat([(mean_square + 1e-6).sqrt(), coarse, last], 1)

    @classmethod
    def load(cls, path: Path) -> EfficientNetLite:
        """Load a published state dict (``.pth``), without unpickling code.

        Raises:
            WeightsError: The file is not such a state dict.
        """
        network = cls()
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            network.load_state_dict({k: v for k, v in state.items() if not k.startswith("_fc.")})
        except Exception as error:  # not a torch file, pickled code, another network
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{path} is no state dict of EfficientNet-Lite0: {reason}") from None
        return network.eval()
