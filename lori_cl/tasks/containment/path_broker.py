"""Allow or refuse the path system calls of contained processes, from outside those processes.

Landlock prevents a program from opening files outside, but not from testing whether they exist, and it does
not count files. So the system calls that take a path wait for this module (seccomp user notification). A call
continues if the path is inside a readable folder or the program's own folder. Otherwise it is refused,
whether the path exists or not. The waiting process has one thread and does not share its memory, so the path
cannot change between the decision and the call. If a signal interrupts the wait, the decision is discarded.

Source: Linux, Documentation/userspace-api/seccomp_filter.rst; seccomp_unotify(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

RECEIVE, SEND = 0xC0502100, 0xC0182101  # ioctl, SECCOMP_IOCTL_NOTIF_...
CONTINUE = 1
LONGEST_PATH = 4096
AT_WORKING_DIRECTORY = -100
MAX_DECISIONS = 4096
HOST_NAME = "localhost"

# The argument positions of a call's folder (None if it has none) and path.
FOLDER_AND_PATH: Mapping[str, tuple[int | None, int]] = {
    **dict.fromkeys(("stat", "lstat", "access", "readlink", "unlink"), (None, 0)),
    **dict.fromkeys(
        ("openat", "newfstatat", "statx", "faccessat", "faccessat2", "readlinkat", "unlinkat"), (0, 1)
    ),
}


class TooManyFiles(Exception):
    """The program has, or has created, more files than its limit."""


class Refused(Exception):
    """The call fails with this error number."""

    def __init__(self, number: int) -> None:
        self.number = number


class PathRules:
    """The paths that the contained processes of one program may access, and the files they may create."""

    def __init__(self, readable: Iterable[str], here: str, files: int, created_files: int) -> None:
        named = {os.path.normpath(path) for path in [here, *readable] if path}
        self._here = os.path.realpath(here)
        self._roots = {os.path.realpath(path) for path in named}
        self._named = named | self._roots
        self._decisions: dict[str, bool] = {}
        self._files, self._created, self._max_created = files, 0, created_files

    def allow(self, path: str) -> bool:
        """Return whether an absolute path may be accessed."""
        if path not in self._decisions:
            if len(self._decisions) >= MAX_DECISIONS:
                self._decisions.clear()
            # A path outside the roots as written is never resolved, not even here. A contained process
            # cannot create links, so the target of a path does not change.
            as_written = _is_inside(os.path.normpath(path), self._named)
            self._decisions[path] = as_written and _is_inside(os.path.realpath(path), self._roots)
        return self._decisions[path]

    def count_creation(self, path: str) -> None:
        """Count a file that opening this path is about to create in the program's own folder.

        Raises: TooManyFiles.
        """
        if os.path.lexists(path) or not _is_inside(os.path.realpath(path), [self._here]):
            return
        self._created += 1
        if self._created > self._max_created or len(os.listdir(self._here)) >= self._files:  # noqa: PTH208
            raise TooManyFiles


def _is_inside(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


class PathBroker:
    """Answer the path calls of one contained process."""

    def __init__(self, pid: int, listener: int, calls: Mapping[int, str], rules: PathRules) -> None:
        self.listener = listener
        self._pid, self._calls, self._rules = pid, calls, rules
        self._memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)

    def answer(self) -> None:
        """Answer the waiting call.

        Raises: TooManyFiles.
        """
        waiting = bytearray(80)
        try:
            fcntl.ioctl(self.listener, RECEIVE, waiting)
        except OSError:  # a signal interrupted the call, or the process has ended
            return
        number, _, _, call, _, _, *arguments = struct.unpack("=QIIiIQ6Q", waiting)
        error, flags = 0, 0
        try:
            if self._calls[call] == "uname":
                self._write_host_name(arguments[0])
            else:
                self._check(self._calls[call], arguments)
                flags = CONTINUE
        except Refused as refused:
            error = -refused.number
        with suppress(OSError):  # as above
            fcntl.ioctl(self.listener, SEND, struct.pack("=QqiI", number, 0, error, flags))

    def _check(self, call: str, arguments: Sequence[int]) -> None:
        """Check one call.

        Raises: Refused, TooManyFiles.
        """
        folder, at = FOLDER_AND_PATH[call]
        path = self._read_path(arguments[at])
        if not path:  # the call refers to an open file, or fails
            return
        if not path.startswith("/"):
            path = f"{self._folder(AT_WORKING_DIRECTORY if folder is None else arguments[folder])}/{path}"
        if not self._rules.allow(path):
            raise Refused(errno.EACCES)
        if call == "openat" and arguments[2] & os.O_CREAT:
            self._rules.count_creation(path)

    def _read_path(self, address: int) -> str:
        """Read a path.

        Raises: Refused: there is no string of valid path length at this address.
        """
        if not address:
            return ""
        try:
            text, ended, _ = os.pread(self._memory, LONGEST_PATH, address).partition(b"\0")
        except (OSError, OverflowError):
            raise Refused(errno.EFAULT) from None
        if not ended:
            raise Refused(errno.ENAMETOOLONG)
        return os.fsdecode(text)

    def _folder(self, number: int) -> str:
        """Return the path of a folder descriptor.

        Raises: Refused: the number is not an open folder.
        """
        signed = struct.unpack("=i", struct.pack("=I", number & 0xFFFF_FFFF))[0]
        where = "cwd" if signed == AT_WORKING_DIRECTORY else f"fd/{signed}"
        try:
            return os.readlink(f"/proc/{self._pid}/{where}")  # noqa: PTH115  (pathlib is slow to import)
        except OSError:
            raise Refused(errno.EBADF) from None

    def _write_host_name(self, address: int) -> None:
        """Write the kernel's struct utsname with a placeholder host name."""
        own = os.uname()
        fields = (own.sysname, HOST_NAME, own.release, own.version, own.machine, "(none)")
        try:
            os.pwrite(
                self._memory, b"".join(field.encode()[:64].ljust(65, b"\0") for field in fields), address
            )
        except (OSError, OverflowError):
            raise Refused(errno.EFAULT) from None
