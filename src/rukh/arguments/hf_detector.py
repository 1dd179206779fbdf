"""Hugging Face object detectors: ``hf:FOLDER``, or ``hf:NAME`` in the hub's cache.

These are DETR, Conditional and Deformable DETR, RT-DETR, YOLOS and similar models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rukh.arguments.detection import to_objects
from rukh.arguments.hf_loading import load_hf_model
from rukh.errors import WeightsError
from rukh.hub import find_weights
from rukh.records import VisualObject

if TYPE_CHECKING:
    from PIL import Image

THRESHOLD = 0.5
"""Default minimum score of an object."""


class HfDetector:
    """A pretrained object detector with its image processor.

    Args:
        model: A ``transformers`` model for object detection.
        processor: Its image processor, which also decodes the model's outputs.
        threshold: Minimum score of an object, in [0, 1].
    """

    def __init__(self, model: Any, processor: Any, *, threshold: float = THRESHOLD) -> None:
        self.model, self.processor, self.threshold = model, processor, threshold

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """The folder of a model, given a path or a name in the hub's cache. Raises WeightsError."""
        return find_weights(source, kind="detector")

    @classmethod
    def from_pretrained(cls, source: str | Path, *, threshold: float = THRESHOLD) -> HfDetector:
        """Load a model from a folder or from the hub's cache; nothing is downloaded.

        Raises:
            WeightsError: The model is not found, has no safetensors, or is not an object detector.
        """
        folder = cls.locate(source)
        model, processor = load_hf_model(
            folder, "AutoModelForObjectDetection", "AutoImageProcessor", backend="pil"
        )
        if not hasattr(processor, "post_process_object_detection"):
            raise WeightsError(f"{folder} has no image processor for object detection")
        return cls(model, processor, threshold=threshold)

    @torch.inference_mode()
    def detect(self, images: Sequence[Image.Image]) -> list[list[VisualObject]]:
        """Find the objects of each image, see :class:`rukh.arguments.detection.Detector`."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image.Image) -> list[VisualObject]:
        # In a batch, smaller images are padded, and the boxes of some models are then relative to
        # the padded size.
        try:
            pixels = self.processor(images=[image], return_tensors="pt")
        except ValueError:  # the image is so narrow that nothing is left of it after resizing
            return []
        # A target size of 1 x 1 yields boxes as fractions of the image.
        (detected,) = self.processor.post_process_object_detection(
            self.model(**pixels), threshold=self.threshold, target_sizes=[(1, 1)]
        )
        labels = self.model.config.id2label
        rows = zip(detected["boxes"], detected["labels"], detected["scores"], strict=True)
        return to_objects([(box.tolist(), str(labels[int(k)]), float(s)) for box, k, s in rows])
