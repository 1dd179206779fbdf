"""An OpenAI-compatible endpoint: answers that are validated, retried, kept by content and counted.

Which endpoint is the user's choice alone, see ``endpoint_config.py``. Transport errors, 429 and 5xx
are retried by the official client, with exponential backoff and the server's own ``Retry-After``;
an answer of the wrong form is asked for again, with what is wrong with it. What a server may send
is bounded in bytes and in time, and redirects are not followed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, Field, ValidationError

from rukh.errors import InputError, MissingDependency, RukhError
from rukh.hub import cache_folder
from rukh.llm.endpoint_config import AGAIN, EndpointConfig
from rukh.records import Record, as_input_error
from rukh.utils.files import write_json

MAX_BYTES = 1 << 20
"""The most bytes of one answer; a thousand tokens have some five thousand."""
Message: TypeAlias = dict[str, str]
A = TypeVar("A", bound=Record)


class EndpointError(RukhError):
    """The endpoint cannot be used for now: what is answered is kept, the rest must wait."""


class BadAnswer(RukhError):
    """The endpoint answers, but not with what was asked for."""


class Totals:
    """What a run has asked for, and what that costs.

    Attributes:
        requests: Answers that the endpoint gave, bad ones too.
        cached: Answers that were kept from before.
        tokens_in, tokens_out: As the server counts them.
        uncounted: Answers whose tokens the server did not tell.
    """

    def __init__(self) -> None:
        self.requests = self.cached = self.tokens_in = self.tokens_out = self.uncounted = 0

    def cost(self, config: EndpointConfig) -> float | None:
        """Price of the tokens told; None where no prices are given."""
        if config.price_in is None and config.price_out is None:
            return None
        price = self.tokens_in * (config.price_in or 0) + self.tokens_out * (config.price_out or 0)
        return price / 1e6


class Endpoint:
    """Asks, validates, keeps and counts.

    Args:
        config: See :mod:`rukh.llm.endpoint_config`.
        key: The API key, or nothing. It goes to the server and nowhere else.
        fresh: Ask even for what is kept from before.

    Raises:
        MissingDependency: The ``openai`` package is not installed.
    """

    def __init__(self, config: EndpointConfig, key: str = "", *, fresh: bool = False) -> None:
        self.config, self.fresh, self.totals = config, fresh, Totals()
        self._key = key
        # What the server would rather not be told; learned from its refusals.
        self._dropped: set[str] = set()

    @cached_property
    def _client(self) -> Any:
        try:
            import openai
        except ImportError:
            raise MissingDependency("openai", "describe") from None
        http = openai.DefaultHttpxClient(
            follow_redirects=False,
            timeout=self.config.timeout,
            # Unpacking would get around the bound on bytes.
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [lambda response: _bound(response, self.config.timeout)]},
        )
        return openai.OpenAI(
            base_url=self.config.base_url,
            api_key=self._key or "none",
            timeout=self.config.timeout,
            max_retries=self.config.retries,
            http_client=http,
        )

    def ask(self, messages: Sequence[Message], form: type[A], check: Callable[[A], list[str]]) -> A:
        """An answer of this form without faults; from the cache where it was given before.

        Args:
            messages: The conversation so far.
            form: A flat record; the server is held to its JSON schema where it can be.
            check: What is wrong with an answer of the right form; empty where nothing is.

        Raises:
            BadAnswer: No usable answer in ``config.attempts`` times.
            EndpointError: No connection, too many requests, or the server fails.
            InputError: Wrong key, model or URL.
        """
        place = cache_folder() / "answers" / f"{self._digest(messages, form)}.json"
        if not self.fresh:
            try:
                answer = form.model_validate(json.loads(place.read_bytes())["answer"])
            except (OSError, ValueError, KeyError, TypeError):
                pass  # absent or damaged, and then the server is asked
            else:
                if not check(answer):
                    self.totals.cached += 1
                    return answer
        talk, problem = list(messages), ""
        for attempt in range(self.config.attempts):
            # Without some chance, a model that is told its mistake often makes it again.
            heat = self.config.temperature if attempt == 0 else max(self.config.temperature, AGAIN)
            text, problem = self._complete(talk, form, heat)
            if not problem:
                parsed = parse(text, form)
                problem = parsed if isinstance(parsed, str) else "; ".join(check(parsed))
                if not problem and not isinstance(parsed, str):
                    self._keep(place, parsed)
                    return parsed
            told = [{"role": "assistant", "content": text[:4000]}] if text.strip() else []
            again = f"This cannot be used: {problem}. Answer again, with the whole JSON object."
            talk = [*messages, *told, {"role": "user", "content": again}]
        raise BadAnswer(self._clean(f"{problem} (asked {self.config.attempts} times)"))

    def _digest(self, messages: Sequence[Message], form: type[Record]) -> str:
        told = self.config.model_dump(include={"base_url", "model", "temperature"})
        whole = [told, list(messages), form.model_json_schema()]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def _keep(self, place: Any, answer: Record) -> None:
        with suppress(InputError, OSError):
            write_json({"model": self.config.model, "answer": answer.model_dump()}, place)

    def _complete(
        self, messages: Sequence[Message], form: type[Record], temperature: float
    ) -> tuple[str, str]:
        """One answer's text, and what is wrong with the answer as a whole."""
        client = self._client  # first, since it says what to install where openai is missing
        import openai

        while True:
            try:
                raw = client.chat.completions.with_raw_response.create(
                    model=self.config.model,
                    messages=list(messages),
                    **self._options(form, temperature),
                )
                break
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._concede(error.message):
                    raise EndpointError(self._told("refuses the request", error)) from None
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise InputError(
                    self._told("refuses the key", error), fix="set RUKH_LLM_API_KEY"
                ) from None
            except openai.NotFoundError as error:
                raise InputError(
                    self._told("knows no such model or path", error),
                    fix="see RUKH_LLM_MODEL and RUKH_LLM_BASE_URL, which most often ends in /v1",
                ) from None
            except openai.RateLimitError as error:
                raise EndpointError(self._told("has had too many requests", error)) from None
            except openai.APIConnectionError as error:
                cause = error.__cause__ or error
                raise EndpointError(
                    self._clean(f"no answer from {self.config.base_url}: {cause}")
                ) from None
            except openai.APIStatusError as error:
                raise EndpointError(self._told("fails", error)) from None
        self.totals.requests += 1
        try:
            reply = _Reply.model_validate_json(raw.content)
        except ValidationError:
            self.totals.uncounted += 1
            return "", "the server's reply is not of the chat protocol"
        if reply.usage is None:
            self.totals.uncounted += 1
        else:
            self.totals.tokens_in += reply.usage.prompt_tokens
            self.totals.tokens_out += reply.usage.completion_tokens
        choice = reply.choices[0]
        text = self._clean(choice.message.content or "")
        if choice.message.refusal or choice.finish_reason == "content_filter":
            return text, f"the model refuses: {(choice.message.refusal or 'filtered')[:200]}"
        if choice.finish_reason == "length":
            return text, f"the answer is longer than {self.config.max_tokens} tokens"
        return text, "" if text.strip() else "the answer is empty"

    def _options(self, form: type[Record], temperature: float) -> dict[str, Any]:
        limit = "max_completion_tokens" if "max_tokens" in self._dropped else "max_tokens"
        options: dict[str, Any] = {limit: self.config.max_tokens}
        if "temperature" not in self._dropped:
            options["temperature"] = temperature
        if "response_format" not in self._dropped:
            schema = {"name": "answer", "strict": True, "schema": form.model_json_schema()}
            options["response_format"] = {"type": "json_schema", "json_schema": schema}
        return options

    def _concede(self, message: str) -> bool:
        """Whether there is something in the request that can be left out, and now is."""
        words = {"max_tokens": "max_tokens", "temperature": "temperature"}
        words |= {"response_format": "response_format", "json_schema": "response_format"}
        named = [option for word, option in words.items() if word in message]
        for option in (*named, "response_format"):
            if option not in self._dropped:
                self._dropped.add(option)
                return True
        return False

    def _told(self, what: str, error: Any) -> str:
        return self._clean(
            f"{self.config.base_url} {what} ({error.status_code}): "
            f"{' '.join(str(error.message).split())[:300]}"
        )

    def _clean(self, text: str) -> str:
        """A server may repeat what it was sent; the key is not passed on."""
        return text.replace(self._key, "***") if self._key else text


class _Usage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class _Said(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Said
    finish_reason: str | None = None


class _Reply(BaseModel):
    """What is read of a chat completion; servers add what they like."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def parse(text: str, form: type[A]) -> A | str:
    """The first JSON object in a text as a record, or what is wrong with it.

    Example:
        >>> from rukh.records import Pair
        >>> parse('Sure: {"head": "a", "tail": "b"}', Pair).tail, parse("{]", Pair)
        ('b', 'it is not JSON: Expecting property name enclosed in double quotes')
    """
    start = text.find("{")
    if start < 0:
        return "it holds no JSON object"
    try:
        data, _ = json.JSONDecoder().raw_decode(text, start)
        return form.model_validate(data)
    except json.JSONDecodeError as error:
        return f"it is not JSON: {error.msg}"
    except ValidationError as error:
        return str(as_input_error(error))
    except (RecursionError, ValueError):
        return "it is not JSON"


def _bound(response: Any, seconds: float) -> None:
    """Have a response's body stop at :data:`MAX_BYTES` and at its deadline."""
    import httpx2

    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx2.ReadError("the answer is packed, though it was asked for as it is")

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, stream: Any) -> None:
            self.stream, self.end = stream, time.monotonic() + seconds

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for chunk in self.stream:
                size += len(chunk)
                if size > MAX_BYTES:
                    raise httpx2.ReadError(f"the answer is larger than {MAX_BYTES:,} bytes")
                if time.monotonic() > self.end:
                    raise httpx2.ReadTimeout(f"the answer takes longer than {seconds:g} s")
                yield chunk

        def close(self) -> None:
            self.stream.close()

    response.stream = Bounded(response.stream)
