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

OUTSIDE = "outside"
"""Kind of a path outside the workspace, such as a temporary folder."""

FaultKind = Literal["kill", "full"]
"""At the fault, the process is killed or the disk is full."""


@dataclass(frozen=True)
class Fault:
    """The point at which a child must fail."""

    point: str
    """For example 'artifact fsync: before'."""
    occurrence: int
    """The number of the pass at which it fails, from 1."""
    kind: FaultKind


@dataclass
class Faults:
    """Records every place that is passed, and fails at the place of `fault`, if given."""

    fault: Fault | None
    passed: list[str] = field(default_factory=list)
    """Every place that was passed, in order."""

    def install(self) -> None:
        """Wrap the functions that make writes durable; only for a forked child, since nothing is restored."""
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
        if point.startswith(OUTSIDE):
            return
        self.passed.append(point)
        if self.fault is None or (point, self.passed.count(point)) != (
            self.fault.point,
            self.fault.occurrence,
        ):
            return
        if self.fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if point.startswith("registry"):
            raise sqlite3.OperationalError("database or disk is full")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _kind(path: Path) -> str:
    if "checkpoints" in path.parts:
        return "checkpoint"
    if path.name == "artifacts":
        return "artifacts folder"
    return "artifact" if "artifacts" in path.parts else OUTSIDE
