"""An endpoint that misbehaves in every way a server can; the key appears nowhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from chat_server import Server, completion, error
from rukh.errors import InputError, MissingDependency
from rukh.llm import endpoint as module
from rukh.llm.endpoint import (
    OPENAI_URL,
    RETRY_TEMPERATURE,
    Endpoint,
    EndpointConfig,
    EndpointError,
    InvalidAnswer,
    from_environment,
)
from rukh.records import Record

pytest.importorskip("openai")
Make: TypeAlias = Callable[..., Endpoint]
KEY = "sk-very-secret-1234"
QUESTION = [{"role": "user", "content": "Two words?"}]


class Words(Record):
    first: str
    second: str


GOOD = {"first": "a", "second": "b"}
ANSWER = (200, json.dumps(GOOD))


def no_problems(answer: Words) -> list[str]:
    return []


@pytest.fixture
def make(server: Server, cache: Path) -> Make:
    def make(fresh: bool = False, **options: Any) -> Endpoint:
        options = {"retries": 2, "timeout": 5} | options
        config = EndpointConfig(base_url=server.url, model="m", **options)
        return Endpoint(config, KEY, fresh=fresh)

    return make


def test_an_answer_is_cached(server: Server, make: Make, cache: Path) -> None:
    server.script = [ANSWER]
    first, second = make(), make()
    assert first.ask(QUESTION, Words, no_problems) == Words(**GOOD)
    assert vars(first.totals) == {
        "requests": 1,
        "cached": 0,
        "tokens_in": 10,
        "tokens_out": 4,
        "uncounted": 0,
    }
    assert second.ask(QUESTION, Words, no_problems) == Words(**GOOD)
    assert (second.totals.requests, second.totals.cached) == (0, 1)
    # Not for another question or temperature, nor if the cache is to be ignored.
    make().ask([{"role": "user", "content": "?"}], Words, no_problems)
    make(temperature=1).ask(QUESTION, Words, no_problems)
    make(fresh=True).ask(QUESTION, Words, no_problems)
    assert len(server.requests) == 4
    # A cached answer that fails today's check is requested again.
    make().ask(QUESTION, Words, lambda answer: ["bad"] if len(server.requests) < 5 else [])
    assert len(server.requests) == 5
    assert all(KEY.encode() not in file.read_bytes() for file in cache.iterdir())


def test_what_is_sent(server: Server, make: Make) -> None:
    server.script = [ANSWER]
    make(max_tokens=99).ask(QUESTION, Words, no_problems)
    (request,) = server.requests
    assert request["messages"] == QUESTION and request["model"] == "m"
    assert (request["max_tokens"], request["temperature"]) == (99, 0)
    form = request["response_format"]["json_schema"]
    assert form["strict"] is True and form["schema"]["required"] == ["first", "second"]
    assert form["schema"]["additionalProperties"] is False
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", [429, 503, 408])
def test_temporary_failures_are_retried(server: Server, make: Make, status: int) -> None:
    server.script = [(status, error("later")), (status, b"<html>"), ANSWER]
    assert make().ask(QUESTION, Words, no_problems) == Words(**GOOD)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "kind", "requests"),
    [
        (429, EndpointError, 3),
        (500, EndpointError, 3),
        (400, EndpointError, 3),
        (418, EndpointError, 1),
        (401, InputError, 1),
        (403, InputError, 1),
        (404, InputError, 1),
    ],
)
def test_lasting_failures_are_reported_without_the_key(
    server: Server, make: Make, status: int, kind: type[Exception], requests: int
) -> None:
    server.script = [(status, error(f"no, not with {KEY}"))]
    with pytest.raises(kind, match=str(status)) as caught:
        make().ask(QUESTION, Words, no_problems)
    assert KEY not in str(caught.value)
    assert len(server.requests) == requests


INVALID: dict[str, Any] = {
    "no JSON": "I would say a and b.",
    "broken JSON": '{"first": "a", ',
    "deep JSON": '{"first": ' + "[" * 200_000,
    "wrong types": '{"first": 1, "second": "b"}',
    "a missing field": '{"first": "a"}',
    "another field": '{"first": "a", "second": "b", "third": "c"}',
    "an array": "[1, 2]",
    "blank": " \n",
    "null": completion(None),
    "refusal": completion(None, message={"refusal": "I will not"}),
    "filtered": completion("", finish_reason="content_filter"),
    "cut short": completion('{"first": "a', finish_reason="length"),
    "no choices": {"choices": []},
    "another protocol": {"result": "a"},
    "HTML": b"<html>hello</html>",
    "deep reply": b"[" * 200_000,
    "bytes": b"\x00\xff\xfe",
    "nothing": b"",
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_answer_is_requested_again_and_not_cached(
    server: Server, make: Make, name: str
) -> None:
    server.script = [(200, INVALID[name])]
    endpoint = make(attempts=2)
    with pytest.raises(InvalidAnswer):
        endpoint.ask(QUESTION, Words, no_problems)
    assert len(server.requests) == 2
    assert server.requests[1]["messages"][-1]["role"] == "user"
    server.script = [(200, INVALID[name]), (200, f"```json\n{json.dumps(GOOD)}\n```")]
    assert endpoint.ask(QUESTION, Words, no_problems) == Words(**GOOD)


def test_problems_are_sent_back_to_the_model(server: Server, make: Make) -> None:
    server.script = [(200, json.dumps(GOOD | {"first": "bad"})), ANSWER]
    answer = make().ask(
        QUESTION, Words, lambda answer: ["first is bad"] if answer.first == "bad" else []
    )
    assert answer == Words(**GOOD)
    again = server.requests[1]["messages"]
    assert [message["role"] for message in again] == ["user", "assistant", "user"]
    assert "first is bad" in again[-1]["content"]
    assert [request["temperature"] for request in server.requests] == [0, RETRY_TEMPERATURE]


@pytest.mark.parametrize(
    ("message", "refused", "sent"),
    [
        ("json_schema is not supported", {"type": "json_schema"}, {"type": "json_object"}),
        ("what is this?", {"type": "json_schema"}, {"type": "json_object"}),
        ("use max_completion_tokens, not max_tokens", "max_tokens", "max_completion_tokens"),
        ("temperature must be 1", "temperature", None),
    ],
)
def test_unsupported_options_are_left_out(
    server: Server, make: Make, message: str, refused: Any, sent: Any
) -> None:
    def has(request: dict[str, Any], option: Any) -> bool:
        if isinstance(option, dict):
            return bool(request.get("response_format", {}).get("type") == option["type"])
        return option in request

    server.script = [lambda _, request: (400, error(message)) if has(request, refused) else ANSWER]
    endpoint = make()
    assert endpoint.ask(QUESTION, Words, no_problems) == Words(**GOOD)
    assert not has(server.requests[-1], refused)
    assert sent is None or has(server.requests[-1], sent)
    endpoint.ask([*QUESTION, *QUESTION], Words, no_problems)
    assert len(server.requests) == 3  # refused once


def test_a_server_without_any_structured_output(server: Server, make: Make) -> None:
    def reply(_: Any, request: dict[str, Any]) -> Any:
        if "response_format" in request:
            return 422, error("response_format is not supported")
        return 200, f"Here you are: {json.dumps(GOOD)}. Anything else?"

    server.script = [reply]
    assert make().ask(QUESTION, Words, no_problems) == Words(**GOOD)
    assert len(server.requests) == 3


def test_a_slow_server(server: Server, make: Make) -> None:
    def slow(*_: Any) -> Any:
        time.sleep(0.6)
        return ANSWER

    server.script = [slow]
    with pytest.raises(EndpointError, match="no answer from"):
        make(timeout=0.2, retries=0).ask(QUESTION, Words, no_problems)


def reply_in_drops(handler: BaseHTTPRequestHandler, _: Any) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(b"1\r\n \r\n")
            time.sleep(0.02)
        handler.wfile.write(b"0\r\n\r\n")
    except OSError:
        pass  # the client has closed the connection


def test_a_reply_in_drops_ends_at_the_timeout(server: Server, make: Make) -> None:
    server.script = [reply_in_drops]
    start = time.monotonic()
    with pytest.raises(EndpointError):
        make(timeout=0.3, retries=0).ask(QUESTION, Words, no_problems)
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("status", [200, 500])
def test_the_size_of_a_reply_is_bounded(
    server: Server, make: Make, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    server.script = [(status, b" " * 20_000)]
    with pytest.raises(EndpointError):
        make(retries=0).ask(QUESTION, Words, no_problems)


@pytest.mark.parametrize(
    ("status", "header", "match"),
    [
        (200, ("Content-Encoding", "gzip"), "compressed"),
        (307, ("Location", "/elsewhere"), "307"),
    ],
    ids=["compression", "a redirect"],
)
def test_what_was_not_requested_is_refused(
    server: Server, make: Make, status: int, header: tuple[str, str], match: str
) -> None:
    def reply(handler: BaseHTTPRequestHandler, _: Any) -> None:
        handler.send_response(status)
        handler.send_header(*header)
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"\x1f\x8b00")

    server.script = [reply]
    with pytest.raises(EndpointError, match=match):
        make(retries=0).ask(QUESTION, Words, no_problems)
    assert len(server.requests) == 1
    assert server.headers[0]["accept-encoding"] == "identity"


def test_a_broken_connection_is_retried(server: Server, make: Make) -> None:
    def cut(handler: BaseHTTPRequestHandler, _: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choices": [')

    server.script = [cut, ANSWER]
    assert make().ask(QUESTION, Words, no_problems) == Words(**GOOD)


def test_no_server(cache: Path) -> None:
    config = EndpointConfig(base_url="http://127.0.0.1:9/v1", model="m", retries=0)
    with pytest.raises(EndpointError, match=r"http://127\.0\.0\.1:9/v1"):
        Endpoint(config, KEY).ask(QUESTION, Words, no_problems)


def test_without_openai_the_extra_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingDependency, match=r"rukh\[llm\]"):
        make().ask(QUESTION, Words, no_problems)


def test_a_key_in_an_answer_is_redacted(server: Server, make: Make, cache: Path) -> None:
    server.script = [(200, json.dumps(GOOD | {"first": f"it is {KEY}"}))]
    assert make().ask(QUESTION, Words, no_problems).first == "it is ***"
    assert all(KEY.encode() not in file.read_bytes() for file in cache.iterdir())


def test_tokens_of_invalid_answers_count(server: Server, make: Make) -> None:
    server.script = [(200, "no"), (200, completion(json.dumps(GOOD), usage=False))]
    endpoint = make()
    endpoint.ask(QUESTION, Words, no_problems)
    totals = endpoint.totals
    assert (totals.requests, totals.tokens_in, totals.tokens_out) == (2, 10, 4)
    assert totals.uncounted == 1


OWN = {"RUKH_LLM_MODEL": "m", "RUKH_LLM_BASE_URL": "http://own/v1"}
OPENAI = {"OPENAI_API_KEY": "o", "OPENAI_BASE_URL": "http://theirs/v1"}


@pytest.mark.parametrize(
    ("environ", "url", "key"),
    [
        (OWN | {"RUKH_LLM_API_KEY": "r"}, "http://own/v1", "r"),
        # OpenAI's key is only sent to OpenAI's endpoint.
        (OWN | OPENAI, "http://own/v1", ""),
        ({"RUKH_LLM_MODEL": "m"} | OPENAI, "http://theirs/v1", "o"),
        ({"RUKH_LLM_MODEL": "m", "OPENAI_API_KEY": "o"}, OPENAI_URL, "o"),
    ],
)
def test_the_environment_names_the_endpoint(environ: dict[str, str], url: str, key: str) -> None:
    config, found = from_environment(environ, timeout=None, retries=1)
    assert (config.base_url, found) == (url, key)
    assert (config.timeout, config.retries) == (120, 1)


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "RUKH_LLM_BASE_URL"),
        # One's own key is not sent to OpenAI if the URL was forgotten.
        ({"RUKH_LLM_MODEL": "m", "RUKH_LLM_API_KEY": "r"}, "RUKH_LLM_BASE_URL"),
        (
            {"RUKH_LLM_MODEL": "m", "RUKH_LLM_API_KEY": "r", "OPENAI_API_KEY": "o"},
            "RUKH_LLM_BASE_URL",
        ),
        ({"RUKH_LLM_BASE_URL": "http://a/v1"}, "RUKH_LLM_MODEL"),
        ({"RUKH_LLM_BASE_URL": "file:///etc/passwd"}, "RUKH_LLM_BASE_URL"),
        ({"RUKH_LLM_BASE_URL": "localhost:80"}, "RUKH_LLM_BASE_URL"),
        ({"RUKH_LLM_BASE_URL": "http://a:b"}, "RUKH_LLM_BASE_URL"),
        ({"RUKH_LLM_BASE_URL": "http://u:secret@a/v1"}, "RUKH_LLM_API_KEY"),
        ({"RUKH_LLM_BASE_URL": "http://a/v1?key=secret"}, "RUKH_LLM_API_KEY"),
        ({"OPENAI_BASE_URL": "ftp://a"}, "OPENAI_BASE_URL"),
        (OWN | {"RUKH_LLM_API_KEY": "secret "}, "API key"),
    ],
)
def test_an_invalid_environment(environ: dict[str, str], name: str) -> None:
    with pytest.raises(InputError) as caught:
        from_environment(environ)
    assert name in str(caught.value) and "secret" not in str(caught.value)
