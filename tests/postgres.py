"""A PostgreSQL server for the tests, from Debian's packages."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL

PASSWORD = "s3cr@t/50%"
"""Contains characters that a URL must escape."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "Asia/Kolkata",  # stored times must not depend on the time zone
    "fsync": "off",  # power failures are not tested
    "max_connections": "50",
}


def find_binaries() -> Path | None:
    """Return the folder of initdb and postgres, which Debian keeps off the PATH; None if it is missing."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), default=None)


class Postgres:
    """A server on a loopback port."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()
        password = folder / "password"
        password.write_text(PASSWORD)
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres", "postgres")
            shutil.chown(password, "postgres", "postgres")
        options = ["--username=lori", f"--pwfile={password}", "--auth=scram-sha-256"]
        self._call("initdb", f"--pgdata={folder / 'data'}", "--no-sync", "--locale=C.UTF-8", *options)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        command = self._unprivileged("postgres", "-D", str(self._folder / "data"), "-p", str(self._port))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, *settings], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.execute("SELECT 1")
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self, stop_signal: signal.Signals = signal.SIGINT) -> None:
        """Abort every transaction and stop the server; SIGQUIT simulates a crash."""
        assert self._process is not None
        self._process.send_signal(stop_signal)
        self._process.wait(timeout=60)

    def freeze(self) -> None:
        """Suspend every process of the server; the kernel still accepts connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the suspended processes."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        parent = self._process.pid
        os.kill(parent, number)  # the parent first, so that it starts no new child
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(child), number)

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """Yield the URL of a new database copied from a template; drop it afterwards."""
        name = f"registry_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        url = URL.create("postgresql+psycopg", "lori", PASSWORD, "127.0.0.1", self._port, name)
        yield url.render_as_string(hide_password=False)
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, sql: str) -> None:
        """Execute one statement in a separate connection."""
        address = {"host": "127.0.0.1", "port": self._port, "dbname": "postgres"}
        with psycopg.connect(**address, user="lori", password=PASSWORD, autocommit=True) as connection:
            connection.execute(sql)

    def _call(self, *command: str) -> None:
        subprocess.run(self._unprivileged(*command), check=True, capture_output=True)

    def _unprivileged(self, program: str, *arguments: str) -> list[str]:
        """Return the command without root privileges; it ends when the tests are killed."""
        limits = ["--pdeathsig", "INT"]
        if os.getuid() == 0:
            limits += ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        return ["setpriv", *limits, str(self._binaries / program), *arguments]


@contextmanager
def running(binaries: Path) -> Iterator[Postgres]:
    """Start a new server; remove all its files afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="lori_cl-postgres-"))  # pytest's folders are readable only by root
    try:
        server = Postgres(binaries, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
