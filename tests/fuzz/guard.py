"""Detect forbidden actions of a fuzz target while it runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lori_cl import digest

MAX_SECONDS = 1.0
"""Maximum processor time of one input."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS: Mapping[str, tuple[tuple[int, int | None], ...]] = {
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
    "sqlite3.connect": ((0, None),),
}
"""Events that change a path: the positions of the path argument and of its base folder."""
FORBIDDEN = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"),
    *("socket.connect", "socket.bind", "socket.sendto", "pickle.find_class"),
)


class Finding(BaseException):
    """A forbidden action; a BaseException, so that no `except Exception` hides it."""


class Guard:
    """Allows writes into one folder and raises a Finding for every forbidden action."""

    def __init__(self, folder: Path, forbidden: Path) -> None:
        self._folder = os.path.realpath(folder)
        self._forbidden = os.path.realpath(forbidden)
        self._armed = False
        self._checking = False
        sys.addaudithook(self._hook)  # stays for the life of the process
        signal.signal(signal.SIGPROF, self._on_timeout)

    @contextmanager
    def watching(self, seconds: float = MAX_SECONDS) -> Iterator[None]:
        """Enable the guard for one input."""
        self._armed = True
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._armed = False

    def _on_timeout(self, _: int, __: FrameType | None) -> None:
        if self._armed:
            raise Finding("it takes more than a second of processor time")

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed or self._checking:
            return
        self._checking = True
        try:
            self._check_event(event, arguments)
        finally:
            self._checking = False

    def _check_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN:
            raise Finding(f"{event}{arguments}")
        if event == "open":
            path, mode, flags = arguments
            writes = bool((flags or 0) & WRITING) or bool(set(mode or "") & set("wax+"))
            self._check(event, path, None, writes=writes)
        for path, base in PATHS.get(event, ()):
            self._check(event, arguments[path], None if base is None else arguments[base], writes=True)

    def _check(self, event: str, path: Any, base: int | None, *, writes: bool) -> None:
        if isinstance(path, int):
            return
        name = os.fsdecode(path)
        if event == "sqlite3.connect":
            name = name.removeprefix("file://").removeprefix("file:").partition("?")[0]
        at = Path(f"/proc/self/fd/{base}") if base is not None and base >= 0 else Path()
        real = os.path.realpath(at / name)
        if writes and not _within(real, self._folder) and real != os.devnull:
            raise Finding(f"{event} changes {real}, which is outside {self._folder}")
        if _within(real, self._forbidden):
            raise Finding(f"{event} reaches {real}")


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def listing(folder: Path, excluded: Path) -> Mapping[str, str]:
    """Return the digests of all files in a folder, except in one of its subfolders."""
    return {
        str(path.relative_to(folder)): digest.of_file(path) if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
        if excluded not in (path, *path.parents)
    }
