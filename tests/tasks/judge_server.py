"""A server with the chat completions API on a loopback port, with scripted replies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, str] | float
"""A status and a body, or the seconds to wait before the body of a right answer."""


class JudgeServer:
    """Gives the scripted replies in order, then grades each completion with `grade`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.script: list[Reply] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.grade: Callable[[str], str] = lambda text: '{"score": 0.75}'
        self.lock = threading.Lock()

    def reply(self, body: dict[str, Any], key: str | None) -> tuple[int, str]:
        with self.lock:
            self.requests.append(body)
            self.keys.append(key)
            scripted = self.script.pop(0) if self.script else 0.0
        if isinstance(scripted, tuple):
            return scripted
        time.sleep(scripted)
        return 200, completion(self.grade(body["messages"][0]["content"]))


def completion(content: str, tokens: Sequence[int] = (100, 10)) -> str:
    """Return the body of a chat completion."""
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return json.dumps({"choices": [{"message": {"content": content}}], "usage": usage})


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    """Yield a running server."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, text = server.reply(body, self.headers["authorization"])
            self.send_response(status if self.path == "/v1/chat/completions" else 404)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = JudgeServer(f"http://127.0.0.1:{httpd.server_port}/v1")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
