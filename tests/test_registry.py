"""Names resolve to built-in implementations and to those of third parties."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from rukh import registry
from rukh.errors import InputError


@pytest.mark.parametrize("kind", registry.BUILTIN)
def test_every_built_in_name_resolves(kind: str) -> None:
    for name in registry.BUILTIN[kind]:
        assert isinstance(registry.resolve(kind, name), type)


def test_third_parties_add_names(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "rukh.data.jsonl:JsonlFormat", "rukh.readers")
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [entry] if group == "rukh.readers" else []
    )
    assert "mine" in registry.names("readers") and "mine" not in registry.names("taggers")
    assert registry.resolve("readers", "mine").__name__ == "JsonlFormat"
    with pytest.raises(InputError, match="'mine'"):
        registry.resolve("readers", "mines")
