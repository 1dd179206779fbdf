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
        options = {"retries": 2, "timeout": 5, "base_url": server.url} | options
        return Endpoint(EndpointConfig(model="m", **options), KEY, fresh=fresh)

    return make


def test_an_answer_is_cached(server: Server, make: Make, cache: Path) -> None:
    server.script = [ANSWER]
    first, second = make(), make()
    assert first.ask(QUESTION, Words, no_problems) == Words(**GOOD)
    counts = {"requests": 1, "cached": 0, "tokens_in": 10, "tokens_out": 4, "uncounted": 0}
    assert first.totals == counts
    assert second.ask(QUESTION, Words, no_problems) == Words(**GOOD)
    assert (second.totals["requests"], second.totals["cached"]) == (0, 1)
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
    assert server.headers[0]["accept-encoding"] == "identity"


def cut(handler: BaseHTTPRequestHandler, _: Any) -> None:
    """Close the connection in the middle of a reply."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


def drip(handler: BaseHTTPRequestHandler, _: Any) -> None:
    """Send a reply so slowly that no single read takes long."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(b"1\r\n \r\n")
            time.sleep(0.02)
    except OSError:
        pass  # the client has closed the connection


def reply_with(status: int, name: str, value: str) -> Callable[..., None]:
    def reply(handler: BaseHTTPRequestHandler, _: Any) -> None:
        handler.send_response(status)
        handler.send_header(name, value)
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"\x1f\x8b00")

    return reply


REFUSAL = error(f"no, not with {KEY}")


@pytest.mark.parametrize("failure", [(429, error("")), (503, b"<html>"), (408, error("")), cut])
def test_temporary_failures_are_retried(server: Server, make: Make, failure: Any) -> None:
    server.script = [failure, failure, ANSWER]
    assert make().ask(QUESTION, Words, no_problems) == Words(**GOOD)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "kind", "text", "requests"),
    [
        ((429, REFUSAL), EndpointError, "429", 2),
        ((500, REFUSAL), EndpointError, "500", 2),
        ((400, REFUSAL), EndpointError, "400", 2),  # with options, then without
        ((418, REFUSAL), EndpointError, "418", 1),
        ((401, REFUSAL), InputError, "401", 1),
        ((403, REFUSAL), InputError, "403", 1),
        ((404, REFUSAL), InputError, "404", 1),
        ((200, b" " * 20_000), EndpointError, "larger", 2),
        ((500, b" " * 20_000), EndpointError, "larger", 2),
        (reply_with(200, "Content-Encoding", "gzip"), EndpointError, "compressed", 2),
        (reply_with(307, "Location", "/elsewhere"), EndpointError, "307", 1),
    ],
)
def test_lasting_failures_are_reported_without_the_key(
    server: Server,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    reply: Any,
    kind: type[Exception],
    text: str,
    requests: int,
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    server.script = [reply]
    with pytest.raises(kind, match=text) as caught:
        make(retries=1).ask(QUESTION, Words, no_problems)
    assert KEY not in str(caught.value)
    assert len(server.requests) == requests


@pytest.mark.parametrize("slow", [drip, lambda *_: time.sleep(0.6)])
def test_the_time_of_a_reply_is_bounded(server: Server, make: Make, slow: Any) -> None:
    server.script = [slow]
    with pytest.raises(EndpointError, match="longer|timed out"):
        make(retries=0, timeout=0.3).ask(QUESTION, Words, no_problems)


def test_no_server(make: Make) -> None:
    with pytest.raises(EndpointError, match=r"http://127\.0\.0\.1:9/v1"):
        make(base_url="http://127.0.0.1:9/v1", retries=0).ask(QUESTION, Words, no_problems)


INVALID: dict[str, Any] = {
    "no JSON": "I would say a and b.",
    "broken JSON": '{"first": "a", ',
    "deep JSON": '{"first": ' + "[" * 200_000,
    "wrong types": '{"first": 1, "second": "b"}',
    "another field": '{"first": "a", "second": "b", "third": "c"}',
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
    bad = completion(json.dumps(GOOD | {"first": f"bad {KEY}"}), usage=False)
    server.script = [(200, bad), (200, json.dumps(GOOD | {"first": f"it is {KEY}"}))]
    endpoint = make()
    answer = endpoint.ask(
        QUESTION, Words, lambda answer: ["first is bad"] if "bad" in answer.first else []
    )
    assert answer.first == "it is ***"  # a server may repeat the key
    again = server.requests[1]["messages"]
    assert [message["role"] for message in again] == ["user", "assistant", "user"]
    assert "first is bad" in again[-1]["content"] and KEY not in str(again)
    assert [request["temperature"] for request in server.requests] == [0, RETRY_TEMPERATURE]
    assert (endpoint.totals["tokens_in"], endpoint.totals["uncounted"]) == (10, 1)


@pytest.mark.parametrize("option", ["json_schema", "max_tokens", "temperature"])
def test_refused_options_are_left_out(
    server: Server, make: Make, caplog: pytest.LogCaptureFixture, option: str
) -> None:
    def reply(_: Any, request: dict[str, Any]) -> Any:
        if option in json.dumps(request):
            return 422 if option == "json_schema" else 400, error(f"no {option}, {KEY}")
        return 200, f"Here you are: {json.dumps(GOOD)}. Anything else?"

    server.script = [reply]
    endpoint = make()
    assert endpoint.ask(QUESTION, Words, no_problems) == Words(**GOOD)
    assert [sorted(request) for request in server.requests[1:]] == [["messages", "model"]]
    endpoint.ask([*QUESTION, *QUESTION], Words, no_problems)
    assert len(server.requests) == 3  # what was refused once is not sent again
    (warning,) = caplog.messages
    assert f"no {option}" in warning and "temperature" in warning and KEY not in warning


def test_without_openai_the_extra_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingDependency, match=r"rukh\[llm\]"):
        make().ask(QUESTION, Words, no_problems)


MODEL = {"RUKH_LLM_MODEL": "m"}
OWN = MODEL | {"RUKH_LLM_BASE_URL": "http://own/v1"}
OPENAI = {"OPENAI_API_KEY": "o", "OPENAI_BASE_URL": "http://theirs/v1"}


@pytest.mark.parametrize(
    ("environ", "url", "key"),
    [
        (OWN | {"RUKH_LLM_API_KEY": "r"}, "http://own/v1", "r"),
        (OWN | OPENAI, "http://own/v1", ""),
        (MODEL | OPENAI, "http://theirs/v1", "o"),
        (MODEL | {"OPENAI_API_KEY": "o"}, OPENAI_URL, "o"),
    ],
)
def test_the_environment_names_the_endpoint(environ: dict[str, str], url: str, key: str) -> None:
    config, found = from_environment(environ, retries=1)
    assert (config.base_url, found, config.retries) == (url, key, 1)


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "RUKH_LLM_BASE_URL"),
        # One's own key is not sent to OpenAI if the URL was forgotten.
        (MODEL | OPENAI | {"RUKH_LLM_API_KEY": "r"}, "RUKH_LLM_BASE_URL"),
        ({"RUKH_LLM_BASE_URL": "http://a/v1"}, "RUKH_LLM_MODEL"),
        (MODEL | {"RUKH_LLM_BASE_URL": "file:///etc/passwd"}, "RUKH_LLM_BASE_URL"),
        (MODEL | {"RUKH_LLM_BASE_URL": "localhost:80"}, "RUKH_LLM_BASE_URL"),
        (MODEL | {"RUKH_LLM_BASE_URL": "http://a:b"}, "RUKH_LLM_BASE_URL"),
        (MODEL | {"RUKH_LLM_BASE_URL": "http://u:secret@a/v1"}, "RUKH_LLM_API_KEY"),
        (MODEL | {"RUKH_LLM_BASE_URL": "http://a/v1?key=secret"}, "RUKH_LLM_API_KEY"),
        (MODEL | {"OPENAI_BASE_URL": "ftp://a"}, "OPENAI_BASE_URL"),
        (OWN | {"RUKH_LLM_API_KEY": "secret "}, "API key"),
    ],
)
def test_an_invalid_environment(environ: dict[str, str], name: str) -> None:
    with pytest.raises(InputError) as caught:
        from_environment(environ)
    assert name in str(caught.value) and "secret" not in str(caught.value)
