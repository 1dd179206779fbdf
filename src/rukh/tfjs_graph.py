"""Convolutional networks in TensorFlow.js's graph form (``.json`` and ``.bin``), run by torch.

Only what such a network is made of is known: convolutions, elementwise arithmetic, means, resizing
and concatenation. Tensors are ``(B, H, W, C)`` throughout, as the graph has them.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rukh.errors import WeightsError
from rukh.files import read_json

_TYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4"}
_AFTER: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": torch.relu,
    "Relu6": functional.relu6,
    "Sigmoid": torch.sigmoid,
    "Identity": lambda x: x,
}
_PAIRWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "AddV2": torch.add,
    "BiasAdd": torch.add,
    "Mul": torch.mul,
    "Sub": torch.sub,
}


class TfjsGraph:
    """A graph with its weights, ready to run.

    Args:
        nodes: The graph's nodes by name, as its JSON has them.
        weights: Its constants by name.
    """

    def __init__(self, nodes: dict[str, dict[str, Any]], weights: dict[str, Tensor]) -> None:
        self.nodes, self.weights = nodes, weights

    @classmethod
    def load(cls, file: Path) -> TfjsGraph:
        """Read a model's JSON, and the weights that it names beside it.

        Raises:
            WeightsError: It is no graph model, or its weights are incomplete.
        """
        try:
            data = read_json(file)
            nodes = {node["name"]: node for node in data["modelTopology"]["node"]}
            weights: dict[str, Tensor] = {}
            for group in data["weightsManifest"]:
                raw = b"".join((file.parent / Path(p).name).read_bytes() for p in group["paths"])
                at = 0
                for one in group["weights"]:
                    kind = np.dtype(_TYPES[one.get("quantization", one)["dtype"]])
                    size = math.prod(one["shape"])
                    values = np.frombuffer(raw, kind, size, at).reshape(one["shape"])
                    at += size * kind.itemsize
                    as_is = values.astype(np.int64 if kind.kind == "i" else np.float32)
                    weights[one["name"]] = torch.from_numpy(as_is)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise WeightsError(f"{file} is no graph model with its weights: {error}") from None
        return cls(nodes, weights)

    @torch.inference_mode()
    def run(self, values: dict[str, Tensor], outputs: Sequence[str]) -> list[Tensor]:
        """Compute nodes from given ones.

        Args:
            values: Tensors by the names of nodes; these are not computed.
            outputs: Names of the nodes to return.

        Raises:
            WeightsError: A node on the way has an operation that is not known here.
        """
        known = {**self.weights, **values}
        stack = list(outputs)
        while stack:
            name = stack[-1]
            if name in known:
                stack.pop()
                continue
            if name not in self.nodes:
                raise WeightsError(f"the graph has no node {name!r}")
            node = self.nodes[name]
            needed = [i for i in node.get("input", ()) if not i.startswith("^")]
            if lacking := [i for i in needed if i not in known]:
                stack += lacking
            else:
                known[name] = _apply(node, [known[i] for i in needed])
        return [known[name] for name in outputs]


def _apply(node: dict[str, Any], x: list[Tensor]) -> Tensor:
    op, attributes = node["op"], node.get("attr", {})
    if op in _AFTER:
        return _AFTER[op](x[0])
    if op in _PAIRWISE:
        return _PAIRWISE[op](x[0], x[1])
    if op in ("Conv2D", "_FusedConv2D"):
        return _fused(_convolve(x[0], x[1].permute(3, 2, 0, 1), attributes, 1), x, attributes)
    if op in ("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative"):
        high, wide, channels, times = x[1].shape
        kernel = x[1].permute(2, 3, 0, 1).reshape(channels * times, 1, high, wide)
        return _fused(_convolve(x[0], kernel, attributes, channels), x, attributes)
    if op == "Mean":
        keep = bool(attributes.get("keep_dims", {}).get("b"))
        return x[0].mean(x[1].reshape(-1).tolist(), keepdim=keep)
    if op == "ConcatV2":
        return torch.cat(x[:-1], int(x[-1]))
    if op == "ResizeBilinear":
        if any(attributes.get(k, {}).get("b") for k in ("align_corners", "half_pixel_centers")):
            raise WeightsError(f"{node['name']!r} resizes in a way that is not known here")
        return _resize(_resize(x[0], 1, int(x[1][0])), 2, int(x[1][1]))
    raise WeightsError(f"the graph has an operation that is not known here: {op}")


def _fused(out: Tensor, x: list[Tensor], attributes: dict[str, Any]) -> Tensor:
    """What follows a convolution inside the same node: a bias, an activation."""
    for name in attributes.get("fused_ops", {}).get("list", {}).get("s", ()):
        what = b64decode(name).decode()
        if what == "BiasAdd":
            out = out + x[2]
        elif what in _AFTER:
            out = _AFTER[what](out)
        else:
            raise WeightsError(f"a convolution is followed by what is not known here: {what}")
    return out


def _convolve(x: Tensor, kernel: Tensor, attributes: dict[str, Any], groups: int) -> Tensor:
    """With TensorFlow's padding: of "SAME" the odd pixel goes right and below."""
    stride = [int(step) for step in attributes["strides"]["list"]["i"][1:3]]
    if {int(d) for d in attributes.get("dilations", {}).get("list", {}).get("i", ())} - {1}:
        raise WeightsError("dilated convolutions are not known here")
    if b64decode(attributes["padding"]["s"]) == b"SAME":
        sides = zip(x.shape[1:3], kernel.shape[2:], stride, strict=True)
        high, wide = (max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in sides)
        pads = (0, 0, wide // 2, wide - wide // 2, high // 2, high - high // 2)
        x = functional.pad(x, pads)
    out = functional.conv2d(x.permute(0, 3, 1, 2), kernel, stride=stride, groups=groups)
    return out.permute(0, 2, 3, 1)


def _resize(x: Tensor, axis: int, size: int) -> Tensor:
    """Linear along one axis, the first pixels' corners on each other, as TensorFlow 1 has it."""
    old = x.shape[axis]
    places = torch.arange(size, dtype=torch.float32) * (old / size)
    low = places.floor().long().clamp(max=old - 1)
    share = (places - low).reshape([-1 if i == axis else 1 for i in range(x.dim())])
    first, second = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp(max=old - 1))
    return first + share * (second - first)
