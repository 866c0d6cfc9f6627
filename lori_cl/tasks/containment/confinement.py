"""Contains the process that calls it: resource limits, no privileges, Landlock, seccomp.

It runs in the contained processes' own interpreter, without lori_cl. Source: Linux,
Documentation/userspace-api/landlock.rst and seccomp_filter.rst; capset(2), prctl(2), seccomp_unotify(2).
"""

from __future__ import annotations

import _socket
import ctypes
import os
import resource
import struct
from collections.abc import Iterable, Mapping

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

SET_PARENT_DEATH_SIGNAL, SET_SECCOMP, SET_NO_NEW_PRIVILEGES = 1, 22, 38  # prctl
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # Landlock's system calls, the same on every machine
SET_FILTER, NEW_LISTENER = 1, 8  # seccomp
RULESET_VERSION = 1

# The version of Landlock's ABI that brought each right, and the right's bit.
WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_FILE, TRUNCATE = (1 << bit for bit in (1, 2, 3, 5, 8, 14))
FILE_RIGHTS = {
    1: (1 << 13) - 1,  # execute, write, read, remove and make files of every type
    2: 1 << 13,  # link or rename a file into another directory
    3: TRUNCATE,
    5: 1 << 15,  # ioctl on devices
}
NETWORK_RIGHTS = {4: 0b11}  # bind and connect TCP sockets
SCOPES = {6: 0b11}  # abstract Unix sockets of, and signals to, processes outside

libc = ctypes.CDLL(None, use_errno=True)


def must(what: str, result: int) -> int:
    """The result of a system call.

    Raises: OSError: the call was refused.
    """
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
    return result


def contain(job: Mapping[str, Any], parent: int, sock: _socket.socket) -> None:
    """Contain this process; the listener for its path calls is sent through the socket, and acknowledged."""
    _limit(job["resources"])
    _drop_privileges()
    die_with(parent)
    _confine_to_files(job["readable"])
    listener = _filter_with_listener(job["path_filter"], job["seccomp"])
    sock.sendmsg([b"\x06"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", listener))])
    os.close(listener)
    if not sock.recv(1):
        raise ProcessLookupError("the supervisor does not listen")
    _filter(job["filter"])


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends.

    Raises: ProcessLookupError: the parent has ended already.
    """
    must("prctl", libc.prctl(SET_PARENT_DEATH_SIGNAL, 9, 0, 0, 0))
    if os.getppid() != parent:
        raise ProcessLookupError("the parent has ended")


def handled_rights(abi: int) -> tuple[int, int, int]:
    """Every right that a version of Landlock's ABI knows: on files, on the network, and scopes."""
    files, network, scopes = (
        sum(bits for version, bits in table.items() if version <= abi)
        for table in (FILE_RIGHTS, NETWORK_RIGHTS, SCOPES)
    )
    return files, network, scopes


def _limit(resources: Mapping[str, int]) -> None:
    for name, most in resources.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _drop_privileges() -> None:
    """Have no privilege, not even root's, and never gain one."""
    must("capset", libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)))
    must("prctl", libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def _confine_to_files(readable: Iterable[str]) -> None:
    """Read only these paths, and read, write and remove plain files in the working directory (Landlock)."""
    abi = must("Landlock", libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), RULESET_VERSION))
    handled = handled_rights(abi)
    # The struct ends with the last field that this version of the ABI knows.
    attribute = struct.pack("QQQ", *handled)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = must("Landlock", libc.syscall(CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), 0))
    here = WRITE_FILE | READ_FILE | READ_DIR | REMOVE_FILE | MAKE_FILE | TRUNCATE
    for path, rights in [(".", here), *((path, READ_FILE | READ_DIR) for path in readable)]:
        if os.path.exists(path):  # noqa: PTH110  (pathlib is slow to import)
            beneath = os.open(path, os.O_PATH)
            rights = rights if os.path.isdir(path) else READ_FILE  # noqa: PTH112
            rule = struct.pack("=Qi", rights & handled[0], beneath)
            must("Landlock", libc.syscall(ADD_RULE, ruleset, 1, rule, 0))
            os.close(beneath)
    must("Landlock", libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _filter_with_listener(steps: bytes, seccomp: int) -> int:
    """Leave the system calls that the filter names to a supervisor, which reads them from the listener."""
    return must("seccomp user notification", libc.syscall(seccomp, SET_FILTER, NEW_LISTENER, _program(steps)))


def _filter(steps: bytes) -> None:
    """Have only the system calls that the filter allows."""
    must("seccomp", libc.prctl(SET_SECCOMP, 2, _program(steps), 0, 0))


def _program(steps: bytes) -> bytes:
    """The kernel's struct sock_fprog."""
    _held.append(ctypes.create_string_buffer(steps))
    return struct.pack("HP", len(steps) // 8, ctypes.addressof(_held[-1]))


_held: list[Any] = []
