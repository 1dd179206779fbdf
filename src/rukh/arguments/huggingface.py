"""Taggers and detectors from Hugging Face: ``hf:FOLDER``, or ``hf:NAME`` in the hub's cache.

Taggers are BERT-like token classifiers. Detectors are DETR, RT-DETR, YOLOS and similar models.
Models are not downloaded here, but by ``rukh weights fetch``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from rukh.arguments.detection import to_objects
from rukh.arguments.sliding_window import Label, TokenClassifier
from rukh.errors import WeightsError
from rukh.hub import find_weights, load_transformer
from rukh.modeling.text_encoder import TextEncoder
from rukh.records import VisualObject

MIN_SCORE = 0.5
"""Minimum score of a detected object."""


class HfTagger(TokenClassifier):
    """A tagger made of a pretrained BERT-like token classifier and its fast tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model = model
        self.encoder = TextEncoder(model.base_model, tokenizer, name)
        names = model.config.id2label
        self.parsed_labels = [Label.parse(str(names[i])) for i in range(model.config.num_labels)]

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """Find a model's folder by its path or its name in the hub's cache. Raises WeightsError."""
        return find_weights(source, kind="tagger")

    @classmethod
    def from_pretrained(cls, source: str | Path) -> HfTagger:
        """Load a model from a folder or from the hub's cache.

        Raises:
            WeightsError: The model is not found, incomplete, or not a BERT-like token classifier.
        """
        folder = cls.locate(source)
        model, tokenizer = _load(folder, "AutoModelForTokenClassification", "AutoTokenizer")
        bert_like = tokenizer.cls_token_id is not None and tokenizer.is_fast
        if not bert_like or not hasattr(model.config, "max_position_embeddings"):
            raise WeightsError(f"{folder} is not a BERT-like model with a fast tokenizer")
        return cls(model, tokenizer, str(source))

    def to(self, device: torch.device) -> HfTagger:
        """Move the model to a device, in place."""
        self.model.to(device)
        return self

    def forward(self, ids: Tensor, mask: Tensor, cases: Tensor) -> Tensor:
        """Compute label logits ``(B, T, labels)`` from token ids and their mask, ``(B, T)``."""
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).logits
        return logits


class HfDetector:
    """A pretrained object detector with its image processor, which also decodes the outputs."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @classmethod
    def locate(cls, source: str | Path) -> Path:
        """Find a model's folder by its path or its name in the hub's cache. Raises WeightsError."""
        return find_weights(source, kind="detector")

    @classmethod
    def from_pretrained(cls, source: str | Path) -> HfDetector:
        """Load a model from a folder or from the hub's cache.

        Raises:
            WeightsError: The model is not found, incomplete, or not an object detector.
        """
        folder = cls.locate(source)
        model, processor = _load(
            folder, "AutoModelForObjectDetection", "AutoImageProcessor", backend="pil"
        )
        if not hasattr(processor, "post_process_object_detection"):
            raise WeightsError(f"{folder} has no image processor for object detection")
        return cls(model, processor)

    def to(self, device: torch.device) -> HfDetector:
        """Move the model to a device, in place."""
        self.model.to(device)
        return self

    @torch.inference_mode()
    def detect(self, images: Sequence[Image.Image]) -> list[list[VisualObject]]:
        """Detect the objects of each image; see :class:`rukh.arguments.detection.Detector`."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image.Image) -> list[VisualObject]:
        # In a batch, smaller images are padded, and the boxes of some models are then relative to
        # the padded size.
        try:
            pixels = self.processor(images=[image], return_tensors="pt").to(self.model.device)
        except ValueError:  # the image is so narrow that it has no pixels after resizing
            return []
        # A target size of 1 x 1 yields boxes as fractions of the image.
        (detected,) = self.processor.post_process_object_detection(
            self.model(**pixels), threshold=MIN_SCORE, target_sizes=[(1, 1)]
        )
        labels = self.model.config.id2label
        columns = (detected[key].tolist() for key in ("boxes", "labels", "scores"))
        rows = zip(*columns, strict=True)
        return to_objects([(box, str(labels[k]), score) for box, k, score in rows])


def _load(folder: Path, model_class: str, processor_class: str, **options: Any) -> tuple[Any, Any]:
    """Load a ``transformers`` model, and its tokenizer or image processor, with auto classes.

    Raises:
        WeightsError: The folder has no such model or no safetensors, or weights are missing.
    """
    import transformers
    from safetensors import SafetensorError

    try:
        model, info = load_transformer(model_class, folder, output_loading_info=True)
        processor = getattr(transformers, processor_class).from_pretrained(
            str(folder), local_files_only=True, **options
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"cannot load {model_class} from {folder}: {reason}") from None
    # transformers initializes missing weights at random.
    if missing := sorted(info["missing_keys"]):
        raise WeightsError(
            f"{folder} is not a complete {model_class}: the weights of {missing[0]!r} are missing"
        )
    return model.eval(), processor
