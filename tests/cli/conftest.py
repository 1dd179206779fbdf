"""Running the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from rukh import cli


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def rukh(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs ``rukh`` with arguments; returns its exit code and output."""

    def rukh(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["rukh", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return rukh
