"""The progress bar of long work."""

from __future__ import annotations

import logging
import sys
from typing import Any


def progress_bar(*args: Any, **options: Any) -> Any:
    """A ``tqdm`` bar on standard error, with the arguments of ``tqdm``.

    It is hidden if standard error is not a terminal, or if the log level of rukh is above WARNING
    (``--quiet``).
    """
    from tqdm import tqdm

    quiet = not logging.getLogger("rukh").isEnabledFor(logging.WARNING)
    defaults: dict[str, Any] = {
        "file": sys.stderr,
        "leave": False,
        "disable": True if quiet else None,
    }
    return tqdm(*args, **defaults | options)
