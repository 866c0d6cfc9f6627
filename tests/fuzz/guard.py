"""What a target must not do, noticed while it does it."""

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
"""Processor time of one input."""

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
"""Events that change what an argument names: its position, and that of the folder it is relative to."""
FORBIDDEN = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"),
    *("socket.connect", "socket.bind", "socket.sendto", "pickle.find_class"),
)


class Finding(BaseException):
    """Something that must not happen; no `except Exception` on the way hides it."""


class Guard:
    """Lets writes into one folder pass, and makes a Finding of everything else that an input must not do."""

    def __init__(self, folder: Path, forbidden: Path) -> None:
        self._folder = os.path.realpath(folder)
        self._forbidden = os.path.realpath(forbidden)
        self._armed = False
        self._asking = False
        sys.addaudithook(self._hook)  # for as long as the process lives
        signal.signal(signal.SIGPROF, self._late)

    @contextmanager
    def watching(self, seconds: float = MAX_SECONDS) -> Iterator[None]:
        """Arm the guard for one input."""
        self._armed = True
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._armed = False

    def _late(self, _: int, __: FrameType | None) -> None:
        if self._armed:
            raise Finding("it takes more than a second of processor time")

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed or self._asking:
            return
        self._asking = True
        try:
            self._judge(event, arguments)
        finally:
            self._asking = False

    def _judge(self, event: str, arguments: tuple[Any, ...]) -> None:
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


def listing(folder: Path, leaving_out: Path) -> Mapping[str, str]:
    """Everything in a folder but one of its folders, with the digest of every file."""
    return {
        str(path.relative_to(folder)): digest.of_file(path) if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
        if leaving_out not in (path, *path.parents)
    }
