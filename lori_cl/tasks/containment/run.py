"""Runs programs in contained processes, and watches them from outside.

No layer takes a privilege: a session and an environment of its own, resource limits, no capabilities,
Landlock for files, seccomp for processes, threads, network and signals. `launcher.py` lays them from inside
the process; time, output and the number of files are watched here.
"""

from __future__ import annotations

import marshal
import math
import os
import platform
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

from lori_cl.errors import ContainmentMissing
from lori_cl.tasks.containment.limits import Limits
from lori_cl.tasks.containment.system_calls import system_call_filter

LAUNCHER = Path(__file__).with_name("launcher.py")
CONTAINED = b"\x06"
TOKEN_BYTES = 32
START_S = 60.0
GLANCE_S = 0.05

FLAGS = ("-S", "-P", "-B")  # no site-packages, nothing beside the script, no .pyc files
ENVIRONMENT = {"PYTHONHASHSEED": "0"}  # so that a set has one order, and a program one verdict
# With the interpreter's sys.path, these are the Python installation.
READABLE = (f"{sys.base_prefix}/lib", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")

DEFAULT = Limits()
ORDINARY = "import collections, datetime, functools, hashlib, heapq, itertools, math, random, re, typing"


def passes(program: str, limits: Limits = DEFAULT) -> bool:
    """Whether a program comes to its end within the limits, with no error and no exit on its way.

    Raises: ContainmentMissing, if the program cannot be contained here; it has not run then.
    """
    token = secrets.token_bytes(TOKEN_BYTES)
    job = _job(program, token, limits)
    try:
        with TemporaryDirectory(prefix="lori_cl-") as directory, TemporaryFile() as stdin:
            marshal.dump(job, stdin)
            stdin.seek(0)
            with _start(directory, stdin) as child:
                try:
                    return _last_words(_contained_output(child), directory, limits) == token
                finally:
                    child.kill()  # it can have no children
    except OSError as error:
        raise ContainmentMissing(f"a program could not be started: {error}; nothing was scored") from error


def pass_all(programs: Sequence[str], limits: Limits = DEFAULT) -> list[bool]:
    """Whether each program passes, run as many at a time as there are cores.

    Raises: ContainmentMissing, if programs cannot be contained here.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(partial(passes, limits=limits), programs))


def require_containment() -> None:
    """Make sure, before hours of training, that programs can be contained here.

    Raises: ContainmentMissing, saying what is missing.
    """
    if not passes(ORDINARY, Limits(seconds=START_S)):
        raise ContainmentMissing(
            "a contained program cannot import Python's own library; score with a Python whose library lies "
            f"in {sys.base_prefix}/lib, readable for this user without privileges"
        )


def _job(program: str, token: bytes, limits: Limits) -> dict[str, object]:
    """As launcher.py documents it."""
    if sys.platform != "linux":
        raise ContainmentMissing(
            f"programs can be contained on Linux, not on {sys.platform}; score this task there"
        )
    return {
        "program": program,
        "contained": CONTAINED,
        "token": token,
        "parent": os.getpid(),
        "resources": {
            "RLIMIT_AS": limits.memory_bytes,
            "RLIMIT_FSIZE": limits.file_bytes,
            "RLIMIT_CPU": math.ceil(limits.seconds) + 1,  # should this parent be stopped
            "RLIMIT_NOFILE": 64,
            "RLIMIT_CORE": 0,
        },
        "readable": READABLE,
        "filter": system_call_filter(platform.machine()),
    }


def _start(directory: str, stdin: IO[bytes]) -> subprocess.Popen[bytes]:
    """The launcher at work. It dies with the thread that calls this."""
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


def _contained_output(child: subprocess.Popen[bytes]) -> IO[bytes]:
    """The output of the program, once it is contained."""
    output = child.stdout
    assert output is not None
    arriving = select.poll()
    arriving.register(output, select.POLLIN)
    first = output.read(1) if arriving.poll(START_S * 1000) else b""
    if first != CONTAINED:
        if not first:
            child.kill()
        lines = (first + output.read()).decode(errors="replace").splitlines()
        raise ContainmentMissing(
            f"programs cannot be contained here: {lines[-1] if lines else 'the interpreter does not start'}. "
            "Needed are Linux 5.13 or newer, with Landlock and seccomp (in Docker, 20.10.18 or newer); "
            "score this task on such a machine"
        )
    return output


def _last_words(output: IO[bytes], directory: str, limits: Limits) -> bytes:
    """The last bytes of the output, as many as a token has; none if the program went over a limit."""
    deadline = time.monotonic() + limits.seconds
    arriving = select.poll()
    arriving.register(output, select.POLLIN)
    printed, last = 0, b""
    while (left_s := deadline - time.monotonic()) > 0:
        if arriving.poll(min(left_s, GLANCE_S) * 1000):
            chunk = output.read(2**16)
            if not chunk:
                return last
            printed, last = printed + len(chunk), (last + chunk)[-TOKEN_BYTES:]
        too_much = printed > limits.output_bytes + TOKEN_BYTES
        if too_much or len(os.listdir(directory)) > limits.files:  # noqa: PTH208  (a path object an entry is slow)
            break
    return b""
