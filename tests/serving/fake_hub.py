"""A local server with the endpoints of the Hugging Face hub that an upload calls."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeHub:
    """What the server received, and how it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.private: dict[str, bool] = {}
        """Repositories, and whether each is private."""
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}
        """(repository, branch) → the files of its commits."""
        self.titles: list[str] = []
        self.tokens: set[str | None] = set()
        self.refuse: dict[str, int] = {}
        """Part of a path → the status code of its answer."""

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        """Return the status and the object for a request."""
        for part, status in self.refuse.items():
            if part in path:
                return status, {"error": f"status {status} was asked for"}
        match path.split("?")[0].strip("/").split("/"):
            case ["api", "repos", "create"]:
                return self._create(json.loads(body))
            case ["api", "validate-yaml"]:
                return 200, {"errors": [], "warnings": []}
            case ["api", "models", owner, name]:
                if (repo := f"{owner}/{name}") not in self.private:
                    return 404, {"error": "Repository not found"}
                return 200, {"id": repo, "private": self.private[repo]}
            case ["api", "models", owner, name, "branch", branch]:
                self.files.setdefault((f"{owner}/{name}", branch), {})
                return 200, {}
            case ["api", "models", owner, name, "preupload", branch]:
                files = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in json.loads(body)["files"]
                ]
                return (200 if (f"{owner}/{name}", branch) in self.files else 404), {"files": files}
            case ["api", "models", owner, name, "commit", branch]:
                return self._commit(f"{owner}/{name}", branch, body)
        return 404, {"error": f"unknown path {path}"}

    def _create(self, wanted: Any) -> tuple[int, Any]:
        repo = f"{wanted['organization'] or 'me'}/{wanted['name']}"
        known = repo in self.private
        self.private.setdefault(repo, wanted.get("visibility") == "private" or bool(wanted.get("private")))
        self.files.setdefault((repo, "main"), {})
        return (409 if known else 200), {"url": f"{self.url}/{repo}"}

    def _commit(self, repo: str, branch: str, body: bytes) -> tuple[int, Any]:
        lines = [json.loads(line) for line in body.splitlines()]
        self.titles += [line["value"]["summary"] for line in lines if line["key"] == "header"]
        for line in lines:
            if line["key"] == "file":
                value = line["value"]
                self.files[repo, branch][value["path"]] = base64.b64decode(value["content"])
        return 200, {
            "success": True,
            "commitOid": "0" * 40,
            "commitUrl": f"{self.url}/{repo}/commit/{'0' * 40}",
        }


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Yield a running server on a loopback port."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path.startswith(("/api/repos", "/api/models")):
                hub.tokens.add(self.headers.get("Authorization"))
            status, answer = hub.answer(self.path, self.rfile.read(int(self.headers["Content-Length"] or 0)))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if status >= 400:
                self.send_header("X-Error-Message", str(answer.get("error", "")))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.headers["Content-Length"] = "0"
            self.do_POST()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
