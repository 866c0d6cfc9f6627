"""The server listens, answers the requests that run when it is stopped, and ends without an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from lori_cl.errors import InputError
from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Workspace
from lori_cl.serving.openai_server.app import Limits
from lori_cl.serving.openai_server.engine import Engine
from lori_cl.serving.openai_server.server import make_server, url_of


@pytest.fixture
def fresh_run(served_run: LoadedRun) -> LoadedRun:
    """Load the run again: an engine adds its adapters to the model."""
    workspace = Workspace(served_run.workspace.root)
    with workspace.read() as registry:
        return load_run(workspace, registry, "run")


def test_running_request_is_answered_before_the_server_ends(
    fresh_run: LoadedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    answer = Engine.answer

    def wait_first(self: Engine, prompts: Sequence[Any]) -> None:
        begun.set()
        assert go_on.wait(10)
        answer(self, prompts)

    monkeypatch.setattr(Engine, "answer", wait_first)
    server, listener = make_server(fresh_run, "127.0.0.1", 0, Limits(), None)
    found: list[httpx.Response] = []

    def request() -> None:
        body = {"model": "say", "prompt": "it is wet"}
        found.append(httpx.post(f"{url_of(listener)}/v1/completions", json=body, timeout=30))

    with listener:
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        requesting = threading.Thread(target=request)
        serving.start()
        requesting.start()
        assert begun.wait(10)
        server.should_exit = True
        go_on.set()
        requesting.join(30)
        serving.join(30)
    assert not serving.is_alive()
    assert [response.status_code for response in found] == [200]
    assert found[0].json()["choices"][0]["text"]


def test_address_in_use_is_a_one_line_error(fresh_run: LoadedRun) -> None:
    _, listener = make_server(fresh_run, "127.0.0.1", 0, Limits(), None)
    with listener, pytest.raises(InputError, match=r"cannot listen on 127\.0\.0\.1, port \d+: Address"):
        make_server(fresh_run, "127.0.0.1", listener.getsockname()[1], Limits(), None)


@pytest.mark.parametrize(("key", "limits"), [(" ", {}), (None, {"max_requests": 0})])
def test_invalid_settings_are_refused(fresh_run: LoadedRun, key: str | None, limits: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"the API key is empty|max_requests is 0; it must be at least 1"):
        make_server(fresh_run, "127.0.0.1", 0, Limits(**limits), key)


def test_missing_packages_are_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from lori_cl.serving.openai_server import require_packages

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"needs the package uvicorn: pip install 'lori-cl\[serve\]'"):
        require_packages()


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_command_with_code_0(served_run: LoadedRun, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "lori_cl", "--workspace", str(served_run.workspace.root)]
    environment = {**os.environ, "LORI_CL_API_KEY": "secret"}
    with subprocess.Popen(
        [*command, "serve", "run", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()  # empty if the process has ended
        assert "(models: say, turn, pick, auto)" in line
        url = line.split(" at ")[1].split()[0]
        key = {"Authorization": "Bearer secret"}
        body = {"model": "say", "prompt": "it is wet", "stream": True}
        response = httpx.post(f"{url}/completions", json=body, headers=key, timeout=60)
        assert response.text.endswith("data: [DONE]\n\n")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors
