"""Faster tests of the endpoint."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_server import Server


@pytest.fixture(autouse=True, scope="session")
def _one_ssl_context() -> Iterator[None]:
    """Load the certificates once, not for each client; the tests' server does not use TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture
def endpoint(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The test's server, which the environment names as the endpoint, and an empty cache."""
    monkeypatch.setenv("RUKH_LLM_BASE_URL", server.url)
    monkeypatch.setenv("RUKH_LLM_MODEL", "some-model")
    return server
