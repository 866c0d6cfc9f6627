"""One contained process, as the supervisor sees it."""

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
"""Called in the new process before it is contained; what it returns runs contained, and is given the number
of the descriptor `status`."""

CONTAINED = b"\x06"
HIGH = 100
"""Above every descriptor that is open in the supervisor."""


class Child:
    """A contained process; its descriptors are 0 (empty), those it is given, and `status` behind them."""

    def __init__(self, job: Mapping[str, Any], descriptors: Sequence[int], prepare: Prepare) -> None:
        self.broker: PathBroker | None = None
        self._job, self._used_s = job, 0.0
        self.status, status = os.pipe()
        self._socket, socket = _socket.socketpair()
        supervisor = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            _live(job, supervisor, [*descriptors, status], socket, prepare)
        os.close(status)
        socket.close()

    def wait_until_contained(self, rules: PathRules) -> None:
        """Raises: OSError: a layer of the containment is missing."""
        _, passed, _, _ = self._socket.recvmsg(1, _socket.CMSG_SPACE(4))
        if passed:
            (listener,) = struct.unpack("i", passed[0][2][:4])
            self.broker = PathBroker(self.pid, listener, self._job["path_calls"], rules)
            self._socket.send(CONTAINED)
        self._socket.close()
        said = os.read(self.status, 1)
        if said != CONTAINED:
            while chunk := os.read(self.status, 4096):
                said += chunk
            raise OSError(said.decode(errors="replace"))

    def used_s(self) -> float:
        """Processor time until now."""
        with suppress(OSError):  # it has ended
            self._used_s = time.clock_gettime(~self.pid << 3 | 2)  # as clock_getcpuclockid(3) numbers it
        return self._used_s

    def end(self) -> None:
        """End the process, if it has not ended; it has no children."""
        if self.pid:
            self.used_s()
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
            self.pid = 0


def _live(
    job: Mapping[str, Any],
    supervisor: int,
    descriptors: Sequence[int],
    socket: _socket.socket,
    prepare: Prepare,
) -> None:
    """The new process, from the fork to its end."""
    try:
        act = prepare()
        status, sender = _only([*descriptors, socket.fileno()])[-2:]
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


def _only(descriptors: Sequence[int]) -> list[int]:
    """Close all descriptors but an empty stdin and these, which become 1, 2, 3 and so on."""
    wanted = [os.open(os.devnull, os.O_RDONLY), *descriptors]
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, HIGH) for descriptor in wanted]
    os.closerange(0, HIGH)
    for number, descriptor in enumerate(moved):
        os.dup2(descriptor, number)
    os.closerange(len(moved), HIGH + len(moved))
    return list(range(1, len(moved)))
