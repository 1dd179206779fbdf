"""An endpoint that misbehaves in every way a server can; the key is told to nobody."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server import Server, completion, error
from rukh.errors import InputError, MissingDependency
from rukh.llm import endpoint as module
from rukh.llm.endpoint import BadAnswer, Endpoint, EndpointError, parse
from rukh.llm.endpoint_config import AGAIN, OPENAI, EndpointConfig, from_environment
from rukh.records import Record

pytest.importorskip("openai")
KEY = "sk-very-secret-1234"
ASKED = [{"role": "user", "content": "Two words?"}]


class Words(Record):
    first: str
    second: str


GOOD = {"first": "a", "second": "b"}


def no_faults(answer: Words) -> list[str]:
    return []


@pytest.fixture
def make(server: Server, cache: Path) -> Callable[..., Endpoint]:
    def made(fresh: bool = False, **options: Any) -> Endpoint:
        options = {"retries": 2, "timeout": 5} | options
        config = EndpointConfig(base_url=server.url, model="m", **options)
        return Endpoint(config, KEY, fresh=fresh)

    return made


def test_an_answer_is_kept_and_not_asked_for_again(
    server: Server, make: Callable[..., Endpoint], cache: Path
) -> None:
    server.script = [(200, json.dumps(GOOD))]
    first = make()
    assert first.ask(ASKED, Words, no_faults) == Words(**GOOD)
    assert vars(first.totals) == {
        "requests": 1, "cached": 0, "tokens_in": 10, "tokens_out": 4, "uncounted": 0
    }  # fmt: skip
    second = make()
    assert second.ask(ASKED, Words, no_faults) == Words(**GOOD)
    assert (second.totals.requests, second.totals.cached) == (0, 1)
    # Another question, another temperature, and a fresh start are asked.
    make().ask([{"role": "user", "content": "?"}], Words, no_faults)
    make(temperature=1).ask(ASKED, Words, no_faults)
    make(fresh=True).ask(ASKED, Words, no_faults)
    assert len(server.requests) == 4
    assert all(KEY not in file.read_text() for file in cache.rglob("*.json"))


def test_what_is_sent(server: Server, make: Callable[..., Endpoint]) -> None:
    server.script = [(200, json.dumps(GOOD))]
    make(max_tokens=99).ask(ASKED, Words, no_faults)
    (request,) = server.requests
    assert request["messages"] == ASKED and request["model"] == "m"
    assert (request["max_tokens"], request["temperature"]) == (99, 0)
    told = request["response_format"]["json_schema"]
    assert told["strict"] is True and told["schema"]["required"] == ["first", "second"]
    assert told["schema"]["additionalProperties"] is False
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"answer": {"first": "a"}}', b"\xff"])
def test_a_damaged_cache_is_asked_anew(
    server: Server, make: Callable[..., Endpoint], cache: Path, damage: bytes
) -> None:
    server.script = [(200, json.dumps(GOOD))]
    make().ask(ASKED, Words, no_faults)
    (file,) = cache.rglob("*.json")
    file.write_bytes(damage)
    assert make().ask(ASKED, Words, no_faults) == Words(**GOOD)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529, 408])
def test_what_passes_is_tried_again(
    server: Server, make: Callable[..., Endpoint], status: int
) -> None:
    server.script = [(status, error("later")), (status, b"<html>"), (200, json.dumps(GOOD))]
    assert make().ask(ASKED, Words, no_faults) == Words(**GOOD)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (429, EndpointError, "too many requests"),
        (500, EndpointError, "fails (500)"),
        (401, InputError, "RUKH_LLM_API_KEY"),
        (403, InputError, "RUKH_LLM_API_KEY"),
        (404, InputError, "RUKH_LLM_MODEL"),
        (400, EndpointError, "refuses the request"),
        (418, EndpointError, "fails (418)"),
    ],
)
def test_what_does_not_pass_is_told_without_the_key(
    server: Server, make: Callable[..., Endpoint], status: int, kind: type[Exception], said: str
) -> None:
    server.script = [(status, error(f"no, not with {KEY}"))]
    with pytest.raises(kind) as caught:
        make().ask(ASKED, Words, no_faults)
    assert said in str(caught.value) and KEY not in str(caught.value)
    assert len(server.requests) == {429: 3, 500: 3, 400: 2}.get(status, 1)


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ("I would say a and b.", "holds no JSON object"),
    "broken JSON": ('{"first": "a", ', "not JSON"),
    "deep JSON": ('{"first": ' + "[" * 200_000, "not JSON"),
    "wrong types": ('{"first": 1, "second": "b"}', "first"),
    "too little": ('{"first": "a"}', "second"),
    "too much": ('{"first": "a", "second": "b", "third": "c"}', "third"),
    "an array": ("[1, 2]", "holds no JSON object"),
    "empty": ("", "empty"),
    "blank": (" \n", "empty"),
    "null": (completion(None), "empty"),
    "refusal": (completion(None, message={"refusal": "I will not"}), "refuses: I will not"),
    "filtered": (completion("", finish_reason="content_filter"), "refuses"),
    "cut short": (completion('{"first": "a', finish_reason="length"), "longer than"),
    "no choices": ({"choices": []}, "not of the chat protocol"),
    "another protocol": ({"result": "a"}, "not of the chat protocol"),
    "no JSON at all": (b"<html>hello</html>", "not of the chat protocol"),
    "bytes": (b"\x00\xff\xfe", "not of the chat protocol"),
    "nothing": (b"", "not of the chat protocol"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_asked_for_again_and_never_kept(
    server: Server, make: Callable[..., Endpoint], cache: Path, name: str
) -> None:
    body, said = BAD[name]
    server.script = [(200, body)]
    with pytest.raises(BadAnswer, match=r"asked 2 times") as caught:
        make(attempts=2).ask(ASKED, Words, no_faults)
    assert said in str(caught.value)
    assert len(server.requests) == 2
    assert said[:20] in server.requests[1]["messages"][-1]["content"]
    assert not list(cache.rglob("*.json"))
    server.script = [(200, body), (200, f"```json\n{json.dumps(GOOD)}\n```")]
    assert make().ask(ASKED, Words, no_faults) == Words(**GOOD)


def test_faults_are_told_to_the_model(server: Server, make: Callable[..., Endpoint]) -> None:
    server.script = [(200, json.dumps(GOOD | {"first": "bad"})), (200, json.dumps(GOOD))]
    check = lambda answer: ["first is bad"] if answer.first == "bad" else []  # noqa: E731
    assert make().ask(ASKED, Words, check) == Words(**GOOD)
    again = server.requests[1]["messages"]
    assert [m["role"] for m in again] == ["user", "assistant", "user"]
    assert "first is bad" in again[-1]["content"]
    assert [request["temperature"] for request in server.requests] == [0, AGAIN]
    # A kept answer that is faulty by now is asked for anew.
    make().ask(ASKED, Words, lambda answer: ["late"] if len(server.requests) < 3 else [])
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("message", "gone", "instead"),
    [
        ("response_format is not supported", "response_format", None),
        ("This json_schema type is unavailable now", "response_format", None),
        ("what is this?", "response_format", None),
        ("use max_completion_tokens, not max_tokens", "max_tokens", "max_completion_tokens"),
        ("temperature must be 1", "temperature", None),
    ],
)
def test_what_a_server_does_not_take_is_left_out(
    server: Server, make: Callable[..., Endpoint], message: str, gone: str, instead: str | None
) -> None:
    def strict(_: Any, request: dict[str, Any]) -> Any:
        return (400, error(message)) if gone in request else (200, json.dumps(GOOD))

    server.script = [strict]
    one = make()
    assert one.ask(ASKED, Words, no_faults) == Words(**GOOD)
    assert gone not in server.requests[-1] and (instead is None or instead in server.requests[-1])
    one.ask([*ASKED, *ASKED], Words, no_faults)
    assert len(server.requests) == 3  # it is learned once


def test_a_server_that_takes_its_time(server: Server, make: Callable[..., Endpoint]) -> None:
    def slow(*_: Any) -> Any:
        time.sleep(0.6)
        return 200, json.dumps(GOOD)

    server.script = [slow]
    with pytest.raises(EndpointError, match="no answer from"):
        make(timeout=0.2, retries=0).ask(ASKED, Words, no_faults)


def drip(handler: BaseHTTPRequestHandler, chunk: bytes, times: int, wait: float) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        for _ in range(times):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            time.sleep(wait)
        handler.wfile.write(b"0\r\n\r\n")
    except OSError:
        pass  # the client has had enough


def test_an_answer_by_the_drop_ends_at_its_time(
    server: Server, make: Callable[..., Endpoint]
) -> None:
    server.script = [lambda handler, _: drip(handler, b" ", 200, 0.02)]
    start = time.monotonic()
    with pytest.raises((EndpointError, BadAnswer)):
        make(timeout=0.3, retries=0, attempts=1).ask(ASKED, Words, no_faults)
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_without_end_is_cut(
    server: Server, make: Callable[..., Endpoint], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    server.script = [(status, b" " * 20_000)]
    with pytest.raises(EndpointError, match=r"larger than 10,000 bytes|fails \(500\)"):
        make(retries=0).ask(ASKED, Words, no_faults)


def test_a_packed_answer_is_refused(server: Server, make: Callable[..., Endpoint]) -> None:
    def packed(handler: BaseHTTPRequestHandler, _: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"\x1f\x8b00")

    server.script = [packed]
    with pytest.raises(EndpointError, match="packed"):
        make(retries=0).ask(ASKED, Words, no_faults)
    assert server.headers[0]["accept-encoding"] == "identity"


def test_a_redirect_is_not_followed(server: Server, make: Callable[..., Endpoint]) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler, _: Any) -> None:
        handler.send_response(307)
        handler.send_header("Location", server.url + "/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.script = [elsewhere]
    with pytest.raises(EndpointError, match="307"):
        make().ask(ASKED, Words, no_faults)
    assert len(server.requests) == 1


def test_a_line_that_is_cut_is_tried_again(server: Server, make: Callable[..., Endpoint]) -> None:
    def cut(handler: BaseHTTPRequestHandler, _: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choices": [')

    server.script = [cut, (200, json.dumps(GOOD))]
    assert make().ask(ASKED, Words, no_faults) == Words(**GOOD)


def test_nobody_there(cache: Path) -> None:
    config = EndpointConfig(base_url="http://127.0.0.1:9/v1", model="m", retries=0)
    with pytest.raises(EndpointError, match=r"no answer from http://127\.0\.0\.1:9/v1"):
        Endpoint(config, KEY).ask(ASKED, Words, no_faults)


def test_without_openai_the_extra_is_named(
    make: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingDependency, match=r"rukh\[describe\]"):
        make().ask(ASKED, Words, no_faults)


def test_a_key_in_an_answer_is_not_passed_on(
    server: Server, make: Callable[..., Endpoint], cache: Path
) -> None:
    server.script = [(200, json.dumps(GOOD | {"first": f"it is {KEY}"}))]
    assert make().ask(ASKED, Words, no_faults).first == "it is ***"
    assert KEY not in "".join(file.read_text() for file in cache.rglob("*.json"))


def test_costs(server: Server, make: Callable[..., Endpoint]) -> None:
    server.script = [(200, "no"), (200, completion(json.dumps(GOOD), usage=False))]
    one = make(price_in=2.0, price_out=10.0)
    one.ask(ASKED, Words, no_faults)
    assert one.totals.cost(one.config) == pytest.approx((10 * 2 + 4 * 10) / 1e6)
    assert one.totals.uncounted == 1
    assert one.totals.cost(make().config) is None


def test_the_environment_names_the_endpoint() -> None:
    named = {"RUKH_LLM_MODEL": "m"}
    own = {"RUKH_LLM_BASE_URL": "http://own/v1"}
    theirs = {"OPENAI_API_KEY": "o", "OPENAI_BASE_URL": "http://theirs/v1"}

    def read(environ: dict[str, str]) -> tuple[str, str]:
        config, key = from_environment(environ)
        return config.base_url, key

    assert read(named | own | {"RUKH_LLM_API_KEY": "r"}) == ("http://own/v1", "r")
    # OpenAI's key is for OpenAI's endpoint.
    assert read(named | own | theirs) == ("http://own/v1", "")
    assert read(named | theirs) == ("http://theirs/v1", "o")
    assert read(named | {"OPENAI_API_KEY": "o"}) == (OPENAI, "o")
    # Nor is a key of one's own for OpenAI, where the address was forgotten.
    for theirs in ({}, {"OPENAI_API_KEY": "o"}):
        with pytest.raises(InputError, match="RUKH_LLM_BASE_URL"):
            read(named | {"RUKH_LLM_API_KEY": "r"} | theirs)
    config, _ = from_environment(
        named | own | {"RUKH_LLM_PRICE_IN": "1.5"}, price_out=2.0, timeout=None
    )
    assert (config.price_in, config.price_out, config.timeout) == (1.5, 2.0, 120)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "RUKH_LLM_BASE_URL"),
        ({"RUKH_LLM_BASE_URL": "http://a/v1"}, "RUKH_LLM_MODEL"),
        ({"RUKH_LLM_BASE_URL": "file:///etc/passwd"}, "no http or https URL"),
        ({"RUKH_LLM_BASE_URL": "localhost:80"}, "no http or https URL"),
        ({"RUKH_LLM_BASE_URL": "http://a:b"}, "no http or https URL"),
        ({"RUKH_LLM_BASE_URL": "http://u:secret@a/v1"}, "RUKH_LLM_API_KEY"),
        ({"RUKH_LLM_BASE_URL": "http://a/v1?key=secret"}, "RUKH_LLM_API_KEY"),
        ({"OPENAI_BASE_URL": "ftp://a"}, "OPENAI_BASE_URL"),
        (
            {"RUKH_LLM_BASE_URL": "http://a", "RUKH_LLM_MODEL": "m", "RUKH_LLM_API_KEY": "secret "},
            "API key",
        ),
        (
            {"RUKH_LLM_BASE_URL": "http://a", "RUKH_LLM_MODEL": "m", "RUKH_LLM_PRICE_IN": "-1"},
            "price_in",
        ),
    ],
)
def test_an_environment_that_names_none(environ: dict[str, str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        from_environment(environ)
    assert said in str(caught.value) and "secret" not in str(caught.value)


@given(st.text() | st.text('{}[]",:ab0-. \\u'))
def test_any_text_is_a_record_or_a_reason(text: str) -> None:
    assert isinstance(parse(text, Words), (Words, str))
