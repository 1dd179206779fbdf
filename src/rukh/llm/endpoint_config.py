"""Which endpoint answers, and what it may take: the user's choice, told by the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from rukh.errors import InputError
from rukh.records import Name, Record, as_input_error

OPENAI = "https://api.openai.com/v1"
AGAIN = 0.7
"""The least temperature at which an answer is asked for again."""


class EndpointConfig(Record):
    """Which endpoint, and what it may take.

    Attributes:
        base_url: Where ``/chat/completions`` is.
        model: The model's name, as the server knows it.
        temperature: Of sampling; at least :data:`AGAIN` where an answer is asked for again.
        max_tokens: The most tokens of one answer.
        timeout: Seconds for one request, its answer included.
        retries: How often a request is sent again that met 429, 5xx or no connection.
        attempts: How often an answer of the wrong form is asked for.
        price_in, price_out: Price of a million tokens asked and answered, in any currency.
    """

    base_url: str
    model: Name
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_tokens: int = Field(default=1024, ge=64, le=16_384)
    timeout: float = Field(default=120.0, gt=0, le=3600)
    retries: int = Field(default=5, ge=0, le=20)
    attempts: int = Field(default=4, ge=1, le=10)
    price_in: float | None = Field(default=None, ge=0)
    price_out: float | None = Field(default=None, ge=0)


def from_environment(environ: Mapping[str, str], **options: Any) -> tuple[EndpointConfig, str]:
    """The endpoint that the environment names, and its key.

    ``RUKH_LLM_BASE_URL``, ``RUKH_LLM_MODEL`` and ``RUKH_LLM_API_KEY``; where there is no
    ``RUKH_LLM_BASE_URL``, ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``. The key of OpenAI is never
    sent to a ``RUKH_LLM_BASE_URL``. ``RUKH_LLM_PRICE_IN`` and ``RUKH_LLM_PRICE_OUT`` are prices.

    Args:
        environ: Such as ``os.environ``.
        options: Fields of :class:`EndpointConfig`; None stands for the default.

    Raises:
        InputError: No endpoint, no model, or a URL that is none.

    Example:
        >>> config, key = from_environment(
        ...     {"RUKH_LLM_BASE_URL": "http://localhost:8080/v1", "RUKH_LLM_MODEL": "m",
        ...      "OPENAI_API_KEY": "not for localhost"})
        >>> config.base_url, config.model, key
        ('http://localhost:8080/v1', 'm', '')
    """
    own, key = environ.get("RUKH_LLM_BASE_URL"), environ.get("RUKH_LLM_API_KEY") or ""
    name = "RUKH_LLM_BASE_URL" if own else "OPENAI_BASE_URL"
    theirs = environ.get("OPENAI_API_KEY") or ""
    if not own:
        key = key or theirs
    # A key of one's own server is not sent to OpenAI because the server's address was forgotten.
    url = own or environ.get("OPENAI_BASE_URL") or (OPENAI if theirs and key == theirs else None)
    if not url:
        raise InputError(
            "no endpoint is named", fix="set RUKH_LLM_BASE_URL, such as http://localhost:8080/v1"
        )
    _check(url, name)
    if not (model := environ.get("RUKH_LLM_MODEL")):
        raise InputError("no model is named", fix="set RUKH_LLM_MODEL to a name the server knows")
    given = {"price_in": environ.get("RUKH_LLM_PRICE_IN") or None}
    given["price_out"] = environ.get("RUKH_LLM_PRICE_OUT") or None
    given |= {key: value for key, value in options.items() if value is not None}
    try:
        config = EndpointConfig.model_validate({"base_url": url, "model": model, **given})
    except ValidationError as error:
        raise as_input_error(error, "endpoint") from None
    if (key and not key.isascii()) or key != key.strip():
        raise InputError("the API key has spaces around it or is not ASCII", fix="copy it again")
    return config, key


def _check(url: str, name: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port  # ValueError where it is no number
    except ValueError:
        good = False
    if not good:
        raise InputError("is no http or https URL", where=name, fix="write, say, " + OPENAI)
    if parts.username or parts.password or parts.query or parts.fragment:
        # It is told in messages, and nobody wants a secret there.
        raise InputError(
            "has a user, a password, a query or a fragment in it",
            where=name,
            fix="put the key into RUKH_LLM_API_KEY",
        )
