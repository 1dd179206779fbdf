"""A chat server for tests, which answers what it is told to, errors and garbage too."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """Speaks the protocol: answers in turn with what it is given, the last one for ever.

    An answer is ``(status, body)`` or a function of the request that gives one; a dict as body is
    JSON, a string becomes the content of a chat completion.
    """

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                request = json.loads(self.rfile.read(size))
                outer.requests.append(request)
                outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                answer = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                if callable(answer):
                    answer = answer(self, request)
                    if answer is None:  # it has answered for itself
                        self.close_connection = True
                        return
                status, body = answer
                if isinstance(body, str):
                    body = completion(body)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Content-Type", "application/json")
                self.send_header("Retry-After-Ms", "5")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def completion(text: str | None, usage: bool = True, **choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text} | choice.pop("message", {})
    body: dict[str, Any] = {"id": "x", "choices": [{"index": 0, "message": message, **choice}]}
    if usage:
        body["usage"] = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    return body


def error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "t", "code": None}}
