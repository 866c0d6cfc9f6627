"""Contain the calling process: resource limits, no privileges, Landlock, seccomp.

This module runs in the interpreter of the contained processes, without lori_cl. Source: Linux,
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

# Landlock ABI version → the bits of the rights that it added.
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


def checked(what: str, result: int) -> int:
    """Return the result of a system call.

    Raises: OSError: the call failed.
    """
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
    return result


def contain(job: Mapping[str, Any], parent: int, sock: _socket.socket) -> None:
    """Contain this process. Send the listener for its path calls through the socket and await the reply."""
    _limit(job["resources"])
    _drop_privileges()
    kill_with_parent(parent)
    _restrict_files(job["readable"])
    listener = _filter_with_listener(job["path_filter"], job["seccomp"])
    sock.sendmsg([b"\x06"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", listener))])
    os.close(listener)
    if not sock.recv(1):
        raise ProcessLookupError("the supervisor did not answer")
    _filter(job["filter"])


def kill_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent ends.

    Raises: ProcessLookupError: the parent has ended already.
    """
    checked("prctl", libc.prctl(SET_PARENT_DEATH_SIGNAL, 9, 0, 0, 0))
    if os.getppid() != parent:
        raise ProcessLookupError("the parent has ended")


def handled_rights(abi: int) -> tuple[int, int, int]:
    """Return all rights of a Landlock ABI version: on files, on the network, and scopes."""
    files, network, scopes = (
        sum(bits for version, bits in table.items() if version <= abi)
        for table in (FILE_RIGHTS, NETWORK_RIGHTS, SCOPES)
    )
    return files, network, scopes


def _limit(resources: Mapping[str, int]) -> None:
    for name, maximum in resources.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        maximum = maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)
        resource.setrlimit(kind, (maximum, maximum))


def _drop_privileges() -> None:
    """Drop all privileges, including root's, and prevent gaining new ones."""
    checked("capset", libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)))
    checked("prctl", libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def _restrict_files(readable: Iterable[str]) -> None:
    """Allow reading these paths, and reading, writing and removing files in the working directory only."""
    abi = checked("Landlock", libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), RULESET_VERSION))
    handled = handled_rights(abi)
    # The struct ends with the last field that this ABI version defines.
    attribute = struct.pack("QQQ", *handled)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = checked("Landlock", libc.syscall(CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), 0))
    here = WRITE_FILE | READ_FILE | READ_DIR | REMOVE_FILE | MAKE_FILE | TRUNCATE
    for path, rights in [(".", here), *((path, READ_FILE | READ_DIR) for path in readable)]:
        if os.path.exists(path):  # noqa: PTH110  (pathlib is slow to import)
            descriptor = os.open(path, os.O_PATH)
            rights = rights if os.path.isdir(path) else READ_FILE  # noqa: PTH112
            rule = struct.pack("=Qi", rights & handled[0], descriptor)
            checked("Landlock", libc.syscall(ADD_RULE, ruleset, 1, rule, 0))
            os.close(descriptor)
    checked("Landlock", libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _filter_with_listener(steps: bytes, seccomp: int) -> int:
    """Delegate the system calls that the filter selects to a supervisor; return their listener."""
    return checked(
        "seccomp user notification", libc.syscall(seccomp, SET_FILTER, NEW_LISTENER, _program(steps))
    )


def _filter(steps: bytes) -> None:
    """Allow only the system calls that the filter allows."""
    checked("seccomp", libc.prctl(SET_SECCOMP, 2, _program(steps), 0, 0))


def _program(steps: bytes) -> bytes:
    """Return the kernel's struct sock_fprog."""
    _buffers.append(ctypes.create_string_buffer(steps))
    return struct.pack("HP", len(steps) // 8, ctypes.addressof(_buffers[-1]))


_buffers: list[Any] = []
