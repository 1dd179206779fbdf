"""A progress bar for long tasks."""

from __future__ import annotations

import logging
import sys
from typing import Any


def progress_bar(*args: Any, **options: Any) -> Any:
    """Create a ``tqdm`` bar on standard error; hidden by ``--quiet``, and without a terminal."""
    from tqdm import tqdm

    quiet = not logging.getLogger("rukh").isEnabledFor(logging.WARNING)
    defaults: dict[str, Any] = {"file": sys.stderr, "leave": False, "disable": quiet or None}
    return tqdm(*args, **defaults | options)
