"""Progress bars appear on terminals only, and not with ``--quiet``."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from rukh.modeling.text_encoder import TextEncoder
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


def test_bars_of_libraries_are_hidden(
    tiny_text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging as settings

    monkeypatch.setattr(settings, "_tqdm_active", True)
    TextEncoder.load(tiny_text)
    assert not capsys.readouterr().err
    assert settings.is_progress_bar_enabled()  # the setting is the user's
