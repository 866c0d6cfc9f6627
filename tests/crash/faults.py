"""Named places at which a write can end: before and after each fsync, rename, removal and commit."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.engine.default import DefaultDialect

ELSEWHERE = "elsewhere"
"""Outside the workspace: temporary folders."""

How = Literal["kill", "full"]
"""The process is killed there, or the disk is full there."""


@dataclass(frozen=True)
class Fault:
    """Where a child is to fail."""

    point: str
    """For instance 'artifact fsync: before'."""
    occurrence: int
    """The how-manieth time that it comes there, from 1."""
    how: How


@dataclass
class Faults:
    """Watches every place; fails at one of them, or only counts."""

    at: Fault | None
    passed: list[str] = field(default_factory=list)
    """Every place that was passed, in order."""

    def install(self) -> None:
        """Wrap what makes writes last. For a forked child: nothing is put back."""
        self._wrap(os, "fsync", lambda fd: f"{_kind(Path(f'/proc/self/fd/{fd}').readlink())} fsync")
        self._wrap(Path, "replace", lambda source, _: f"{_kind(source)} rename")
        self._wrap(shutil, "rmtree", lambda folder, **_: f"{_kind(Path(folder))} removal")
        self._wrap(DefaultDialect, "do_commit", lambda *_: "registry commit")

    def _wrap(self, owner: Any, name: str, point: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            place = point(*arguments, **options)
            self._pass(f"{place}: before")
            done = original(*arguments, **options)
            self._pass(f"{place}: after")
            return done

        setattr(owner, name, wrapped)

    def _pass(self, point: str) -> None:
        if point.startswith(ELSEWHERE):
            return
        self.passed.append(point)
        if self.at is None or (point, self.passed.count(point)) != (self.at.point, self.at.occurrence):
            return
        if self.at.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if point.startswith("registry"):
            raise sqlite3.OperationalError("database or disk is full")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _kind(path: Path) -> str:
    if "checkpoints" in path.parts:
        return "checkpoint"
    if path.name == "artifacts":
        return "artifacts folder"
    return "artifact" if "artifacts" in path.parts else ELSEWHERE
