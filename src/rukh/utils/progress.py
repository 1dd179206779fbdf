"""The progress bar of long work."""

from __future__ import annotations

import logging
import sys
from typing import Any


def progress_bar(*args: Any, **options: Any) -> Any:
    """A ``tqdm`` bar on standard error, if that is a terminal; hidden by ``--quiet``."""
    from tqdm import tqdm

    quiet = not logging.getLogger("rukh").isEnabledFor(logging.WARNING)
    defaults: dict[str, Any] = {"file": sys.stderr, "leave": False, "disable": quiet or None}
    return tqdm(*args, **defaults | options)
