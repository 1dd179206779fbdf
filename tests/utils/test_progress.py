"""Progress bars appear on terminals only, and not with ``--quiet``."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from rukh.utils.progress import progress_bar


@pytest.mark.parametrize(
    ("terminal", "level", "visible"),
    [(True, logging.WARNING, True), (True, logging.ERROR, False), (False, logging.INFO, False)],
)
def test_when_a_bar_is_shown(
    terminal: bool, level: int, visible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    monkeypatch.setattr(sys, "stderr", stream := Stream())
    logger = logging.getLogger("rukh")
    monkeypatch.setattr(logger, "level", level)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    assert list(progress_bar(range(3), desc="posts")) == [0, 1, 2]
    assert ("posts" in stream.getvalue()) is visible
