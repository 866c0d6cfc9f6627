"""Children of this process that run `lori-cl`; they are forked, so that they need not import anything."""

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
class Ended:
    """How a child ended."""

    code: int | None
    """Its exit code; None where it was killed."""
    seconds: float
    err: str
    passed: Sequence[str]
    """The places that it passed; empty where it did not end well."""


def run(
    arguments: Sequence[str], scratch: Path, *, kill_after_s: float | None = None, fault: Fault | None = None
) -> Ended:
    """Run `lori-cl` in a child; SIGKILL it after so many seconds, or let it fail at one place."""
    said, places = scratch / "stderr", scratch / "places"
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(arguments, said, places, fault)
    if kill_after_s is not None:
        _wait(child, began + kill_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return Ended(
        code=None if code == -signal.SIGKILL else code,
        seconds=time.monotonic() - began,
        err=said.read_text(),
        passed=json.loads(places.read_text()) if code == 0 else [],
    )


def _wait(child: int, until: float) -> None:
    """Until the time comes or the child has ended; it stays to be waited for."""
    while time.monotonic() < until:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.002)


def _become(arguments: Sequence[str], said: Path, places: Path, fault: Fault | None) -> None:
    """Be `lori-cl` until the end of this process."""
    from lori_cl.cli.main import entry

    code = 1
    try:
        out = os.open(said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
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
