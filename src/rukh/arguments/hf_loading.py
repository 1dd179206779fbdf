"""Loading of Hugging Face models from safetensors, with a check that no weights are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rukh.errors import WeightsError


def load_hf_model(
    folder: Path, auto_model: str, auto_processor: str, **processor_options: Any
) -> tuple[Any, Any]:
    """Load a ``transformers`` model, and its tokenizer or image processor, from a local folder.

    Args:
        folder: The model's folder.
        auto_model: The name of the model's auto class, such as
            ``AutoModelForTokenClassification``.
        auto_processor: The name of the processor's auto class, such as ``AutoTokenizer``.
        processor_options: Further arguments for loading the processor.

    Raises:
        WeightsError: The folder has no such model, no safetensors, or lacks some weights.
    """
    import transformers
    from safetensors import SafetensorError

    try:
        model, info = getattr(transformers, auto_model).from_pretrained(
            str(folder),
            local_files_only=True,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
        processor = getattr(transformers, auto_processor).from_pretrained(
            str(folder), local_files_only=True, **processor_options
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"cannot load {auto_model} from {folder}: {reason}") from None
    # transformers initializes missing weights at random.
    if missing := sorted(info["missing_keys"]):
        raise WeightsError(
            f"{folder} is not a complete {auto_model}: the weights of {missing[0]!r} are missing"
        )
    return model.eval(), processor
