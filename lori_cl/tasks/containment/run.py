"""Run programs in contained processes.

No layer needs a privilege: a separate session and environment, resource limits, no capabilities, Landlock for
files, seccomp for processes, threads, network and signals, and a supervisor (supervisor.py) that decides
which paths a program may access and enforces the limits.
"""

from __future__ import annotations

import marshal
import math
import os
import platform
import secrets
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, TypeVar

from lori_cl.errors import ContainmentMissing
from lori_cl.tasks.containment.limits import Limits, Verdict
from lori_cl.tasks.containment.split import Program
from lori_cl.tasks.containment.system_calls import SECCOMP, path_call_filter, path_calls, system_call_filter

T = TypeVar("T")
R = TypeVar("R")

LAUNCHER = Path(__file__).with_name("launcher.py")
MODULES = ("wire", "channel", "candidate", "judge", "confinement", "path_broker", "child", "supervisor")
CONTAINED = b"\x06"
VERDICTS = {b"\x01": Verdict.PASSED, b"\x02": Verdict.FAILED, b"\x03": Verdict.TIMED_OUT}
TOKEN_BYTES = 32
START_S = 60.0
WALL_FACTOR = 20
"""Multiple of the wall-clock limit within which a supervisor reports a verdict, even on a loaded machine."""

FLAGS = ("-S", "-P", "-B")  # no site-packages, no script folder in sys.path, no .pyc files written
ENVIRONMENT = {"PYTHONHASHSEED": "0"}  # makes set order, and so the verdict, deterministic
# Together with the interpreter's sys.path, these contain the Python installation.
READABLE = (f"{sys.base_prefix}/lib", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")

DEFAULT = Limits()
PROBE_IMPORTS = "import collections, datetime, functools, hashlib, heapq, itertools, math, random, re, typing"

PROBE_JUDGE = {"setup": "", "tests": PROBE_IMPORTS, "candidates": (), "open_operators": False}


def judge_program(program: Program, limits: Limits = DEFAULT) -> Verdict:
    """Run a program and its tests, and return the verdict.

    Raises: ContainmentMissing: they cannot be contained here; nothing was scored.
    """
    token = secrets.token_bytes(TOKEN_BYTES)
    parts: list[Any] = [_job(program, limits), None if program.judge else token, program.judge]
    marshalled = [_modules(), *(marshal.dumps(part) for part in parts)]
    try:
        with TemporaryDirectory(prefix="lori_cl-") as directory, TemporaryFile() as stdin:
            for part in marshalled:
                stdin.write(struct.pack("Q", len(part)) + part)
            stdin.flush()
            with _start(directory, stdin) as supervisor:
                try:
                    return _verdict(_contained_output(supervisor), limits)
                finally:
                    supervisor.kill()  # this also ends its contained processes
    except OSError as error:
        raise ContainmentMissing(f"a program could not be started: {error}; nothing was scored") from error


def in_parallel(function: Callable[[T], R], values: Iterable[T], limits: Limits) -> list[R]:
    """Apply a function to each value in parallel, limited by the number of cores and the memory."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with ThreadPoolExecutor(max(1, min(cores, memory // (2 * limits.memory_bytes)))) as pool:
        return list(pool.map(function, values))


def require_containment() -> None:
    """Check, before hours of training, that programs can be contained here.

    Raises: ContainmentMissing, naming what is missing.
    """
    if judge_program(Program(PROBE_IMPORTS, PROBE_JUDGE), Limits(seconds=START_S)) is not Verdict.PASSED:
        raise ContainmentMissing(
            "a contained program cannot import Python's standard library; score with a Python whose library "
            f"is in {sys.base_prefix}/lib and readable by this user without privileges"
        )


def _job(program: Program, limits: Limits) -> dict[str, object]:
    """Return the job that supervisor.py documents."""
    if sys.platform != "linux":
        raise ContainmentMissing(
            f"programs can be contained only on Linux, not on {sys.platform}; score this task on Linux"
        )
    machine = platform.machine()
    return {
        "candidate": program.candidate,
        "judged": program.judge is not None,
        "parent": os.getpid(),
        "resources": {
            "RLIMIT_AS": limits.memory_bytes,
            "RLIMIT_FSIZE": limits.file_bytes,
            "RLIMIT_CPU": math.ceil(limits.seconds) + 1,  # in case the supervisor is stopped
            "RLIMIT_NOFILE": 64,
            "RLIMIT_CORE": 0,
        },
        "readable": READABLE,
        "filter": system_call_filter(machine),
        "path_filter": path_call_filter(machine),
        "path_calls": path_calls(machine),
        "seccomp": SECCOMP[machine],
        "seconds": limits.seconds,
        "wall_seconds": limits.wall_seconds,
        "files": limits.files,
        "created_files": limits.created_files,
        "output_bytes": limits.output_bytes,
    }


@cache
def _modules() -> bytes:
    """Return the compiled modules that launcher.py documents. They are compiled once."""
    sources = {name: LAUNCHER.with_name(f"{name}.py") for name in MODULES}
    return marshal.dumps(
        {name: compile(path.read_text("utf-8"), str(path), "exec") for name, path in sources.items()}
    )


def _start(directory: str, stdin: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the supervisor. It is killed when the calling thread ends."""
    return subprocess.Popen(  # noqa: S603  (our own interpreter and script)
        [sys.executable, *FLAGS, str(LAUNCHER)],
        bufsize=0,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def _contained_output(supervisor: subprocess.Popen[bytes]) -> IO[bytes]:
    """Wait until the program is contained, and return the supervisor's output."""
    output = supervisor.stdout
    assert output is not None
    first = output.read(1) if _is_ready(output, START_S) else b""
    if first != CONTAINED:
        if not first:
            supervisor.kill()
        lines = (first + output.read()).decode(errors="replace").splitlines()
        raise ContainmentMissing(
            f"programs cannot be contained here: {lines[-1] if lines else 'the interpreter does not start'}. "
            "This requires Linux 5.13 or newer with Landlock, seccomp and seccomp user notification "
            "(in Docker, 20.10.18 or newer); score this task on such a machine"
        )
    return output


def _verdict(output: IO[bytes], limits: Limits) -> Verdict:
    """Read the verdict. A supervisor without a verdict was itself killed, usually for lack of memory."""
    if not _is_ready(output, START_S + WALL_FACTOR * limits.wall_seconds):
        return Verdict.TIMED_OUT
    return VERDICTS.get(output.read(1), Verdict.FAILED)


def _is_ready(output: IO[bytes], seconds: float) -> bool:
    poll = select.poll()
    poll.register(output, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
