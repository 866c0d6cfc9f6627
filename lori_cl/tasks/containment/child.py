"""The supervisor's handle of one contained process."""

from __future__ import annotations

import _socket
import fcntl
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from .confinement import contain
from .path_broker import PathBroker, PathRules

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

Prepare = Callable[[], Callable[[int], None]]
"""Called in the new process before it is contained. The function that it returns runs contained; its argument
is the descriptor `status`."""

CONTAINED = b"\x06"
HIGH = 100
"""Larger than every open descriptor of the supervisor."""


class Child:
    """A contained process. Its descriptors are 0 (empty), the ones it is given, then `status`."""

    def __init__(self, job: Mapping[str, Any], descriptors: Sequence[int], prepare: Prepare) -> None:
        self.broker: PathBroker | None = None
        self._job, self._used_s = job, 0.0
        self.status, status = os.pipe()
        self._socket, socket = _socket.socketpair()
        supervisor = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            _run_child(job, supervisor, [*descriptors, status], socket, prepare)
        os.close(status)
        socket.close()

    def wait_until_contained(self, rules: PathRules) -> None:
        """Wait until the process is contained.

        Raises: OSError: a layer of the containment is missing.
        """
        _, passed, _, _ = self._socket.recvmsg(1, _socket.CMSG_SPACE(4))
        if passed:
            (listener,) = struct.unpack("i", passed[0][2][:4])
            self.broker = PathBroker(self.pid, listener, self._job["path_calls"], rules)
            self._socket.send(CONTAINED)
        self._socket.close()
        message = os.read(self.status, 1)
        if message != CONTAINED:
            while chunk := os.read(self.status, 4096):
                message += chunk
            raise OSError(message.decode(errors="replace"))

    def used_s(self) -> float:
        """Return the processor time used so far."""
        with suppress(OSError):  # it has ended
            self._used_s = time.clock_gettime(~self.pid << 3 | 2)  # as clock_getcpuclockid(3) encodes it
        return self._used_s

    def end(self) -> None:
        """Kill the process, if it is running. It has no children."""
        if self.pid:
            self.used_s()
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
            self.pid = 0


def _run_child(
    job: Mapping[str, Any],
    supervisor: int,
    descriptors: Sequence[int],
    socket: _socket.socket,
    prepare: Prepare,
) -> None:
    """Run the new process, from the fork to its exit."""
    try:
        act = prepare()
        status, sender = _keep_only([*descriptors, socket.fileno()])[-2:]
        try:
            with_listener = _socket.socket(fileno=sender)
            contain(job, supervisor, with_listener)
            with_listener.close()
        except BaseException as error:
            os.write(status, str(error).encode())
            raise
        os.write(status, CONTAINED)
        act(status)
    finally:
        os._exit(1)


def _keep_only(descriptors: Sequence[int]) -> list[int]:
    """Close all descriptors except an empty stdin and these; these become 1, 2, 3 and so on."""
    sources = [os.open(os.devnull, os.O_RDONLY), *descriptors]
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, HIGH) for descriptor in sources]
    os.closerange(0, HIGH)
    for number, descriptor in enumerate(moved):
        os.dup2(descriptor, number)
    os.closerange(len(moved), HIGH + len(moved))
    return list(range(1, len(moved)))
