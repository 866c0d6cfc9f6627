"""Run `lori-cl` in forked children of this process, which need not import the libraries again."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .faults import Fault, Faults


@dataclass(frozen=True)
class ChildResult:
    """The result of a child process."""

    code: int | None
    """Its exit code; None if it was killed."""
    seconds: float
    err: str
    passed: Sequence[str]
    """The places that it passed; empty if it failed."""


def run(
    arguments: Sequence[str], scratch: Path, *, kill_after_s: float | None = None, fault: Fault | None = None
) -> ChildResult:
    """Run `lori-cl` in a child; kill it after some seconds, or let it fail at one place."""
    log_file, places = scratch / "stderr", scratch / "places"
    started_at = time.monotonic()
    child = os.fork()
    if child == 0:
        _run_and_exit(arguments, log_file, places, fault)
    if kill_after_s is not None:
        _wait(child, started_at + kill_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return ChildResult(
        code=None if code == -signal.SIGKILL else code,
        seconds=time.monotonic() - started_at,
        err=log_file.read_text(),
        passed=json.loads(places.read_text()) if code == 0 else [],
    )


def _wait(child: int, until: float) -> None:
    """Wait until the given time or until the child has ended; do not reap the child."""
    while time.monotonic() < until:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.002)


def _run_and_exit(arguments: Sequence[str], log_file: Path, places: Path, fault: Fault | None) -> None:
    """Run `lori-cl` in this process and exit."""
    from lori_cl.cli.main import entry

    code = 1
    try:
        out = os.open(log_file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(out, 1)
        os.dup2(out, 2)
        faults = Faults(fault)
        faults.install()
        sys.argv = ["lori-cl", *arguments]
        try:
            entry()
        except SystemExit as ended:
            code = int(ended.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        places.write_text(json.dumps(faults.passed))
    finally:
        os._exit(code)
