"""What the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def rukh_data() -> Path:
    """The folder of public data sets that are not ours; a test that needs it is skipped without."""
    folder = CHECKOUT / os.environ.get("RUKH_DATA", "../shared/data")
    if not folder.is_dir():
        pytest.skip(f"no data under {folder}; set RUKH_DATA")
    return folder
