"""Run Python code in forks of a process that has imported lori_cl and its libraries, which takes seconds.

A test that starts `lori-cl` many times puts `PreloadedProcess.commands`, a folder, at the front of PATH. Each
command is then a process of its own, with its own arguments, environment, working folder and streams.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

MODULES = (
    *("lori_cl.cli.main", "lori_cl.training", "lori_cl.task_data.preview", "lori_cl.reports"),
    *("lori_cl.testing", "lori_cl.serving.export", "lori_cl.serving.merge", "lori_cl.serving.predict"),
    "lori_cl.serving.verify",
)

CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({socket!r})
    request = json.dumps([{code!r}, sys.argv, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(8, "little")], [0, 1, 2])
    server.sendall(request)
    answer = server.recv(1)
sys.exit(answer[0] if answer else 1)
"""
"""A client: it needs milliseconds, because it imports no site packages."""

LORI_CL = "from lori_cl.cli.main import entry; entry()"
PYTHON = "import sys; exec(sys.argv[2], {'__name__': '__main__'})"
"""For `python -c CODE`."""


@dataclass(frozen=True)
class PreloadedProcess:
    """A process whose forks run commands."""

    commands: Path
    """A folder with the commands `lori-cl` and `python-c`."""

    def run(
        self, command: str, *arguments: object, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `lori-cl ARGUMENTS`, or `python -c CODE`, and return its output."""
        words: Sequence[str] = [str(self.commands / command), *map(str, arguments)]
        return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


@contextmanager
def preloaded_process(folder: Path) -> Iterator[PreloadedProcess]:
    """Start the process; its files are in the folder."""
    address = folder / "socket"
    for name, code in (("lori-cl", LORI_CL), ("python-c", PYTHON)):
        client = folder / name
        client.write_text(CLIENT.format(python=sys.executable, socket=str(address), code=code))
        client.chmod(0o755)
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}  # two test processes share the cores
    server = subprocess.Popen([sys.executable, "-m", "tests.preloaded", str(address)], env=quiet)
    try:
        while not address.exists():
            assert server.poll() is None, "the process could not be started"
            time.sleep(0.05)
        yield PreloadedProcess(folder)
    finally:
        server.kill()
        server.wait()


def _serve(address: str) -> None:
    for module in MODULES:
        import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{address}.starting")
        server.listen()
        Path(f"{address}.starting").rename(address)
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _run(client)
            client.close()


def _run(client: socket.socket) -> None:
    """Run a request in this fork, send its exit code, and end the fork."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        source = _receive(client)
        code = _exit_code(source)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        client.sendall(bytes([code & 0xFF]))
        os._exit(code)


def _receive(client: socket.socket) -> str:
    """Apply the client's streams, arguments, folder and environment to this fork; return the code to run."""
    header, descriptors, _, _ = socket.recv_fds(client, 8, 3)
    request = b""
    while len(request) < int.from_bytes(header, "little"):
        request += client.recv(1 << 20)
    source, sys.argv, folder, environment = json.loads(request)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    invalidate_caches()
    return str(source)


def _exit_code(source: str) -> int:
    try:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(source, names)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
            return 1
        return ended.code or 0
    return 0


if __name__ == "__main__":
    _serve(sys.argv[1])
