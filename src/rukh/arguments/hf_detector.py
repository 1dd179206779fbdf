"""A Hugging Face object-detection model as detector: ``hf:FOLDER``, or ``hf:NAME`` from the hub's
cache. DETR, Conditional and Deformable DETR, RT-DETR, YOLOS and their like.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rukh.arguments.detection import as_objects
from rukh.errors import WeightsError
from rukh.hub import find_weights
from rukh.records import VisualObject

if TYPE_CHECKING:
    from PIL import Image

THRESHOLD = 0.5
"""The least score of an object, where nobody says otherwise."""


class HfDetector:
    """A pretrained object-detection model with its own image processor.

    Args:
        model: A ``transformers`` model for object detection.
        processor: Its image processor, which also reads its answers.
        threshold: The least score of an object, in [0, 1].
    """

    def __init__(self, model: Any, processor: Any, *, threshold: float = THRESHOLD) -> None:
        self.model, self.processor, self.threshold = model.eval(), processor, threshold

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """The folder of a model: a path, or where the hub's cache keeps it. Raises WeightsError."""
        return find_weights(source, kind="detector")

    @classmethod
    def from_pretrained(cls, source: str | Path, *, threshold: float = THRESHOLD) -> HfDetector:
        """Load a folder, or a model that lies in the hub's cache; nothing is downloaded.

        Raises:
            WeightsError: It is not there, has no safetensors, or is no object-detection model.
        """
        import transformers
        from safetensors import SafetensorError

        folder = str(cls.locate(source))
        try:
            model, loaded = transformers.AutoModelForObjectDetection.from_pretrained(
                folder,
                local_files_only=True,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
            )
            processor = transformers.AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, backend="pil"
            )
        except (OSError, ValueError, ImportError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise WeightsError(f"cannot load a detector from {folder}: {reason}") from None
        # transformers would make up the weights that are not there.
        if lacking := sorted(loaded["missing_keys"]):
            raise WeightsError(f"{folder} holds no detector: it lacks {lacking[0]!r}")
        if not hasattr(processor, "post_process_object_detection"):
            raise WeightsError(f"{folder} is no detector: its image processor finds no boxes")
        return cls(model, processor, threshold=threshold)

    @torch.inference_mode()
    def detect(self, images: Sequence[Image.Image]) -> list[list[VisualObject]]:
        """See :class:`rukh.arguments.detection.Detector`."""
        names = self.model.config.id2label
        found: list[list[VisualObject]] = []
        for image in images:
            # One at a time: in a batch the smaller pictures are padded, and some models' boxes are
            # then fractions of the padded one.
            try:
                pixels = self.processor(images=[image], return_tensors="pt")
            except ValueError:  # so narrow that nothing of it is left at the model's size
                found.append([])
                continue
            # Fractions of the picture: its size is taken for 1 x 1.
            (told,) = self.processor.post_process_object_detection(
                self.model(**pixels), threshold=self.threshold, target_sizes=[(1, 1)]
            )
            rows = zip(told["boxes"], told["labels"], told["scores"], strict=True)
            found.append(
                as_objects([(box.tolist(), str(names[int(k)]), float(s)) for box, k, s in rows])
            )
        return found
