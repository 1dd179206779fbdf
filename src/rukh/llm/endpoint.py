"""An OpenAI-compatible endpoint whose answers are validated, cached and counted.

Only the user chooses the endpoint, see :func:`from_environment`. No other URL is requested, and
redirects are not followed. The official client retries connection errors and the status codes 429
and 5xx with exponential backoff. The size and the duration of a reply are bounded.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydantic import Field, HttpUrl, TypeAdapter, ValidationError

from rukh.errors import InputError, MissingDependency, RukhError
from rukh.hub import cache_folder
from rukh.records import Name, Record, as_input_error
from rukh.utils.cache import DiskCache, content_key

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletion

logger = logging.getLogger(__name__)

MAX_BYTES = 1 << 20
"""Maximum size of a reply in bytes. A thousand tokens take about five thousand bytes."""
OPENAI_URL = "https://api.openai.com/v1"
RETRY_TEMPERATURE = 0.7
"""Minimum temperature of repeated requests. At 0, a model often repeats its mistake."""

_REFUSAL = re.compile(
    r"\b(as an ai\b|language model|i'?m sorry|i am sorry|i can(no|')t|i am unable)", re.I
)

Message: TypeAlias = dict[str, Any]
A = TypeVar("A", bound=Record)
R = TypeVar("R")
T = TypeVar("T")


class EndpointError(RukhError):
    """The endpoint is currently unavailable. Earlier answers are cached."""


class InvalidAnswer(RukhError):
    """The endpoint's reply is not a usable answer. ``text`` is the text of the reply."""

    def __init__(self, problem: str, text: str = "") -> None:
        super().__init__(problem)
        self.text = text


class EndpointConfig(Record):
    """Settings of an endpoint.

    Attributes:
        base_url: URL to which ``/chat/completions`` is appended.
        model: Name of the model on the server.
        temperature: Sampling temperature of the first attempt at an answer.
        max_tokens: Maximum number of tokens per answer.
        timeout: Maximum duration of a request in seconds, including the reply.
        retries: Maximum number of retries of a failed request (429, 5xx, no connection).
        attempts: Maximum number of attempts to get a usable answer.
    """

    base_url: str
    model: Name
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_tokens: int = Field(default=1024, ge=64, le=16_384)
    timeout: float = Field(default=600.0, gt=0, le=3600)
    retries: int = Field(default=5, ge=0, le=20)
    attempts: int = Field(default=4, ge=1, le=10)


class Endpoint:
    """Requests and validates answers, and caches usable ones with the conversation as cache key.

    Several threads may use it at once.

    Args:
        config: The settings.
        key: The API key, or an empty string. It is sent to the server and appears nowhere else.
        fresh: Whether to ignore cached answers.

    Attributes:
        totals: Counts so far: ``requests`` (replies, including unusable ones), ``cached`` (answers
            from the cache), ``tokens_in`` and ``tokens_out`` (as the server reports them), and
            ``uncounted`` (replies without token counts).
    """

    def __init__(self, config: EndpointConfig, key: str = "", *, fresh: bool = False) -> None:
        self.config, self.fresh, self._key = config, fresh, key
        self.totals = Counter(requests=0, cached=0, tokens_in=0, tokens_out=0, uncounted=0)
        self._cache = DiskCache(cache_folder() / "answers.sqlite")
        self._lock = threading.Lock()  # of `totals`
        self._messages_only = False  # the server has refused a request with options

    def ask(self, messages: Sequence[Message], form: type[A], check: Callable[[A], list[str]]) -> A:
        """Get an answer of the given form that passes the check, from the cache if possible.

        Args:
            messages: The conversation.
            form: The class of the answer.
            check: Function that returns an answer's problems, which are sent back to the model.

        Raises:
            InvalidAnswer: None of ``config.attempts`` answers is usable.
            EndpointError: There is no connection, there are too many requests, or the server fails.
            InputError: The key, model or URL is wrong.
            MissingDependency: The ``openai`` package is not installed.
        """
        settings = self.config.model_dump(include={"base_url", "model", "temperature"})
        content = [settings, list(messages), form.model_json_schema()]
        key = content_key(json.dumps(content, sort_keys=True))
        if not self.fresh and (cached := self._cached(key, form)) and not check(cached):
            self._count(cached=1)
            return cached
        conversation, temperature = list(messages), self.config.temperature
        for _ in range(self.config.attempts):
            try:
                answer = self._complete(conversation, form, temperature)
                text, problem = answer.model_dump_json(), "; ".join(check(answer))
                if not problem:
                    self._cache.put_many({key: text.encode()})
                    return answer
            except InvalidAnswer as error:
                text, problem = error.text, str(error)
            previous = [{"role": "assistant", "content": text[:4000]}] if text.strip() else []
            request = f"This cannot be used: {problem}. Answer again, with the whole JSON object."
            conversation = [*messages, *previous, {"role": "user", "content": request}]
            temperature = max(self.config.temperature, RETRY_TEMPERATURE)
        raise InvalidAnswer(self._redact(f"{problem} ({self.config.attempts} attempts)"))

    def _count(self, **numbers: int) -> None:
        with self._lock:
            self.totals.update(numbers)

    def _cached(self, key: str, form: type[A]) -> A | None:
        try:
            return form.model_validate_json(self._cache.get_many([key])[key])
        except (KeyError, ValidationError):
            return None

    def _complete(self, messages: Sequence[Message], form: type[A], temperature: float) -> A:
        """Request one answer. Raises InvalidAnswer if it does not have the given form."""
        completion: Any = self._request(messages, form, temperature)
        try:
            tokens_in, tokens_out = (
                completion.usage.prompt_tokens,
                completion.usage.completion_tokens,
            )
            self._count(requests=1, tokens_in=int(tokens_in), tokens_out=int(tokens_out))
        except (AttributeError, TypeError, ValueError):
            self._count(requests=1, uncounted=1)
        try:
            choice = completion.choices[0]
            refusal, text = choice.message.refusal, self._redact(choice.message.content or "")
        except (AttributeError, IndexError, TypeError):  # the client does not validate replies
            raise InvalidAnswer("the server's reply does not follow the chat protocol") from None
        if refusal or choice.finish_reason == "content_filter":
            raise InvalidAnswer(f"the model refuses: {str(refusal or 'filtered')[:200]}", text)
        if choice.finish_reason == "length":
            raise InvalidAnswer(f"the answer exceeds {self.config.max_tokens} tokens", text)
        try:
            # Without structured output, a model may surround the object with other text.
            return form.model_validate_json(text[text.find("{") : text.rfind("}") + 1])
        except ValidationError as error:
            raise InvalidAnswer(str(as_input_error(error)), text) from None

    def _request(
        self, messages: Sequence[Message], form: type[Record], temperature: float
    ) -> ChatCompletion | None:
        """Send a request. Returns the server's reply, or None if it is not JSON.

        If the server refuses the request, this and all later ones are sent without options.
        """
        client, url = self._client, self.config.base_url
        import openai

        schema = {"name": form.__name__, "strict": True, "schema": form.model_json_schema()}
        options: dict[str, Any] = {
            "max_tokens": self.config.max_tokens,
            "temperature": temperature,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        while True:
            try:
                completion: ChatCompletion = client.chat.completions.create(
                    model=self.config.model,
                    messages=list(messages),  # type: ignore[arg-type]
                    **({} if self._messages_only else options),
                )
                return completion
            except openai.APIConnectionError as error:
                cause = error.__cause__ or error
                raise EndpointError(self._redact(f"no answer from {url}: {cause}")) from None
            except openai.APIStatusError as error:
                status = error.status_code
                message = " ".join(error.message.split())[:300]
                problem = self._redact(f"{url} answers with status {status}: {message}")
                if status in (400, 422) and not self._messages_only:
                    logger.warning("%s; trying again without %s", problem, ", ".join(options))
                    self._messages_only = True
                    continue
                if status not in (401, 403, 404):
                    raise EndpointError(problem) from None
                fix = (
                    "check RUKH_LLM_API_KEY, RUKH_LLM_MODEL and RUKH_LLM_BASE_URL, which usually "
                    "ends in /v1"
                )
                raise InputError(problem, fix=fix) from None
            except (ValueError, RecursionError):
                return None

    @property
    def _client(self) -> openai.OpenAI:
        with self._lock:
            return self._new_client

    @cached_property
    def _new_client(self) -> openai.OpenAI:
        try:
            import openai
        except ImportError:
            raise MissingDependency("openai", "llm") from None
        timeout = self.config.timeout
        http = openai.DefaultHttpxClient(
            follow_redirects=False,
            timeout=timeout,
            headers={"Accept-Encoding": "identity"},  # compression would defeat MAX_BYTES
            event_hooks={"response": [lambda reply: _read_within_bounds(reply, timeout)]},
        )
        return openai.OpenAI(
            base_url=self.config.base_url,
            api_key=self._key or "none",
            timeout=timeout,
            max_retries=self.config.retries,
            http_client=http,
        )

    def tell_totals(self) -> str:
        """Return the counts in words."""
        text = "{requests} answers, {cached} cached; {tokens_in:,} + {tokens_out:,} tokens"
        return text.format(**self.totals)

    def _redact(self, text: str) -> str:
        """Remove the API key from a text of the server, which may repeat it."""
        return text.replace(self._key, "***") if self._key else text


def map_parallel(ask: Callable[[T], R], items: Sequence[T], parallel: int) -> list[R]:
    """Call a function on each item, in several threads. After an error, no more calls start.

    Example:
        >>> map_parallel(len, ["a", "bc"], 2)
        [1, 2]
    """
    with ThreadPoolExecutor(parallel) as pool:
        try:
            return list(pool.map(ask, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def is_refusal(text: str) -> bool:
    """Whether a text is about its writer, instead of what the writer was asked for."""
    return bool(_REFUSAL.search(text))


def _read_within_bounds(response: Any, seconds: float) -> None:
    """Read a response. Raises an error if it exceeds :data:`MAX_BYTES` or the time limit."""
    import httpx2

    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx2.ReadError("the reply is compressed, which was not requested")
    body, end = bytearray(), time.monotonic() + seconds
    for chunk in response.stream:
        body += chunk
        if len(body) > MAX_BYTES:
            raise httpx2.ReadError(f"the reply is larger than {MAX_BYTES:,} bytes")
        if time.monotonic() > end:
            raise httpx2.ReadTimeout(f"the reply takes longer than {seconds:g} s")
    response.stream.close()
    response.stream = httpx2.ByteStream(bytes(body))


def from_environment(environ: Mapping[str, str], **options: Any) -> tuple[EndpointConfig, str]:
    """Read the settings of the endpoint and its API key from environment variables.

    These are ``RUKH_LLM_BASE_URL``, ``RUKH_LLM_MODEL`` and ``RUKH_LLM_API_KEY``. If neither this
    URL nor this key is set, ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` are used. A key is only sent
    to a URL with the same prefix, or for ``OPENAI_API_KEY`` without a URL, to OpenAI.

    Args:
        environ: The environment variables, such as ``os.environ``.
        options: Other fields of :class:`EndpointConfig`.

    Raises:
        InputError: No endpoint or model is named, or a value is invalid.

    Example:
        >>> config, key = from_environment(
        ...     {"RUKH_LLM_BASE_URL": "http://localhost:8080/v1", "RUKH_LLM_MODEL": "m",
        ...      "OPENAI_API_KEY": "not for localhost"})
        >>> config.base_url, config.model, key
        ('http://localhost:8080/v1', 'm', '')
    """
    own = environ.get("RUKH_LLM_BASE_URL") or environ.get("RUKH_LLM_API_KEY")
    prefix = "RUKH_LLM" if own else "OPENAI"
    key = environ.get(f"{prefix}_API_KEY") or ""
    url = environ.get(f"{prefix}_BASE_URL") or (OPENAI_URL if key and not own else None)
    if not url:
        fix = "set RUKH_LLM_BASE_URL, such as http://localhost:8080/v1"
        raise InputError("no endpoint is named", fix=fix)
    if not (model := environ.get("RUKH_LLM_MODEL")):
        raise InputError("no model is named", fix="set RUKH_LLM_MODEL to the server's name for it")
    if not key.isascii() or key != key.strip():
        raise InputError("the API key contains spaces or is not ASCII", fix="copy it again")
    url = _normalize_url(url, f"{prefix}_BASE_URL")
    try:
        return EndpointConfig(base_url=url, model=model, **options), key
    except ValidationError as error:
        raise as_input_error(error, "endpoint") from None


def _normalize_url(url: str, variable: str) -> str:
    try:
        parts = TypeAdapter(HttpUrl).validate_python(url)
    except ValidationError:  # its message would contain the URL
        fix = f"write one such as {OPENAI_URL}"
        raise InputError("not an http or https URL", where=variable, fix=fix) from None
    if parts.username or parts.password or parts.query or parts.fragment:
        # The URL appears in messages, so it must not contain a secret.
        problem, fix = (
            "contains a user, password, query or fragment",
            "set RUKH_LLM_API_KEY instead",
        )
        raise InputError(problem, where=variable, fix=fix)
    return str(parts)
