"""Run the server until a signal ends it."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from lori_cl.errors import InputError
from lori_cl.evaluation import LoadedRun
from lori_cl.serving.openai_server.app import Limits, create_app
from lori_cl.serving.openai_server.engine import Engine

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(
    loaded: LoadedRun,
    host: str,
    port: int,
    limits: Limits,
    api_key: str | None,
    on_start: Callable[[str, list[str]], None],
) -> None:
    """Serve until SIGINT or SIGTERM; requests that are running or waiting are answered before it returns.

    `on_start` is called with the base URL and the names of the models, once requests are accepted.

    Raises: InputError, if the address cannot be used.
    """
    server, listener = make_server(loaded, host, port, limits, api_key)
    with listener:
        on_start(f"{url_of(listener)}/v1", server.models)
        with _signals_end_the_server(server):
            server.run(sockets=[listener])


class Server(uvicorn.Server):
    """A uvicorn server that knows its models."""

    models: list[str]


def make_server(
    loaded: LoadedRun, host: str, port: int, limits: Limits, api_key: str | None
) -> tuple[Server, socket.socket]:
    """Return the server, not running yet, and its listening socket; port 0 chooses a free port.

    Raises: InputError, if the address cannot be used.
    """
    if api_key is not None and not api_key.strip():
        raise InputError("the API key is empty; set LORI_CL_API_KEY to a key, or unset it")
    listener = _listen(host, port)
    if api_key is None and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        log.warning("%s can be reached from other machines, and no API key is set", host)
    engine = Engine(loaded, limits.max_tokens)
    app = create_app(engine, limits, api_key)
    if engine.router is None:
        log.info("no model 'auto': %s", engine.why_no_router)
    server = Server(
        uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="on")
    )
    server.models = list(app.state.models)
    return server, listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot listen on {host}, port {port}: {why}; choose another --host or --port"
        ) from None


@contextmanager
def _signals_end_the_server(server: uvicorn.Server) -> Iterator[None]:
    """Keep a signal that ended the server from ending the process with an error.

    uvicorn shuts down on a signal, restores the handlers that it found, and raises the signal again.
    """
    if threading.current_thread() is not threading.main_thread():  # Python allows signal handlers only there
        yield
        return

    def handle(*_: Any) -> None:
        if not server.should_exit:  # the signal came before uvicorn installed its own handlers
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
