"""A progress bar for long tasks, instead of those of libraries."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def progress_bar(*args: Any, **options: Any) -> Any:
    """Create a ``tqdm`` bar on standard error; hidden by ``--quiet``, and without a terminal."""
    from tqdm import tqdm

    quiet = not logging.getLogger("rukh").isEnabledFor(logging.WARNING)
    defaults: dict[str, Any] = {"file": sys.stderr, "leave": False, "disable": quiet or None}
    return tqdm(*args, **defaults | options)


@contextmanager
def hidden_bars() -> Iterator[None]:
    """Hide the progress bars of ``transformers`` within the block."""
    from transformers.utils import logging as settings

    shown = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            settings.enable_progress_bar()
