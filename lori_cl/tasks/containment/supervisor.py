"""Fork the contained processes of one program, answer their path calls, and enforce their limits.

launcher.py calls this module in an interpreter without lori_cl. Stdin is a file of marshalled parts, each
preceded by its length:
    modules    for launcher.py
    job        settings of the contained processes, and the candidate's source
    token      what a program that contains its own tests writes when it completes; None if a judge decides
    tests      arguments of the judge; None if the program contains its own tests
The candidate is forked before the tests are read, so its memory never contains them.

Stdout is CONTAINED once all processes are contained, then PASSED, FAILED or TIMED_OUT. If a layer of the
containment fails, the last line on stdout names it, and nothing is scored.
"""

from __future__ import annotations

import marshal
import os
import select
import struct
import sys
import time
from collections.abc import Callable, Mapping

from .candidate import run_to_its_end, serve
from .child import CONTAINED, Child, Prepare
from .confinement import kill_with_parent
from .judge import judge
from .path_broker import PathRules, TooManyFiles

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

PASSED, FAILED, TIMED_OUT = b"\x01", b"\x02", b"\x03"
TESTS_PASSED = b"tests passed"
POLL_S = 0.02
LONGEST_STEP_S = 0.05
"""Maximum time that one poll counts. A longer one means that this process itself waited for the processor."""
PROGRESS_S = 0.001


def main(at: int) -> None:
    """Run the job that begins at this offset of stdin."""
    job, after_job = _part(at)
    job["readable"] = [*sys.path, *job["readable"]]
    kill_with_parent(job["parent"])
    children: list[Child] = []
    try:
        verdict = Supervisor(job, after_job, children).verdict()
    except OSError as error:
        verdict = f"\n{error}".encode()
    finally:
        for child in children:
            child.end()
    os.write(1, verdict)


def _part(at: int) -> tuple[Any, int]:
    """Return one part of stdin and the offset of the next. Forks share the file position: it is not used."""
    (length,) = struct.unpack("Q", os.pread(0, 8, at))
    return marshal.loads(os.pread(0, length, at + 8)), at + 8 + length  # noqa: S302  (from our own parent)


class Supervisor:
    """The processes of one program, and the resources that they have used."""

    def __init__(self, job: Mapping[str, Any], after_job: int, children: list[Child]) -> None:
        self._job, self._children = job, children
        self._output_bytes, self._message = 0, b""
        rules = PathRules(job["readable"], os.getcwd(), job["files"], job["created_files"])  # noqa: PTH109
        self._output, output = os.pipe()
        requests, answers = os.pipe(), os.pipe()

        def start(prepare: Prepare, *descriptors: int) -> Child:
            child = Child(job, [output, output, *descriptors], prepare)
            children.append(child)
            child.wait_until_contained(rules)
            return child

        if job["judged"]:
            start(lambda: _candidate(job), requests[0], answers[1])
            self._decider = start(lambda: _judge(after_job), answers[0], requests[1])
            self._expected = TESTS_PASSED
        else:
            self._decider = start(lambda: _program(job, after_job))
            self._expected = _part(after_job)[0]
        for descriptor in (output, *requests, *answers):
            os.close(descriptor)

    def verdict(self) -> bytes:
        """Run the program until it ends or reaches a limit, and return the verdict."""
        os.write(1, CONTAINED)
        verdict = self._watch()
        for child in self._children:
            child.end()
        while chunk := os.read(self._output, 2**16):
            self._output_bytes += len(chunk)
        if verdict == FAILED and self._used_s() >= self._job["seconds"]:  # the kernel ended the process
            return TIMED_OUT
        return FAILED if self._output_bytes > self._job["output_bytes"] else verdict

    def _watch(self) -> bytes:
        """Wait for the deciding process or a limit, and return the verdict."""
        self._poll = select.poll()
        self._brokers = {child.broker.listener: child.broker for child in self._children if child.broker}
        for descriptor in (self._output, self._decider.status, *self._brokers):
            self._poll.register(descriptor, select.POLLIN)
        clock = Clock(self._job["seconds"], self._job["wall_seconds"])
        while not clock.is_over(self._used_s()):
            for descriptor, event in self._poll.poll(POLL_S * 1000):
                verdict = self._handle(descriptor, event)
                if verdict is not None:
                    return verdict
        return TIMED_OUT

    def _handle(self, descriptor: int, event: int) -> bytes | None:
        """Handle a ready descriptor; return the verdict if it is decided, else None."""
        if descriptor in self._brokers:
            if not event & select.POLLIN:  # the process has ended
                self._poll.unregister(descriptor)
                return None
            try:
                self._brokers[descriptor].answer()
            except TooManyFiles:
                return FAILED
            return None
        chunk = os.read(descriptor, 2**16)
        if descriptor == self._decider.status:
            self._message += chunk
            if self._message == self._expected:
                return PASSED
            return FAILED if not chunk or not self._expected.startswith(self._message) else None
        if not chunk:
            self._poll.unregister(descriptor)
        self._output_bytes += len(chunk)
        return FAILED if self._output_bytes > self._job["output_bytes"] else None

    def _used_s(self) -> float:
        return sum(child.used_s() for child in self._children)


class Clock:
    """Track whether a program has exceeded its limits on processor time and waiting."""

    def __init__(self, seconds: float, wall_seconds: float) -> None:
        self._seconds, self._wall_seconds = seconds, wall_seconds
        self._now, self._waited_s, self._idle_s, self._used_s = time.monotonic(), 0.0, 0.0, 0.0

    def is_over(self, used_s: float) -> bool:
        """Return whether a limit is exceeded, given the total processor time used so far."""
        before, self._now = self._now, time.monotonic()
        step = min(self._now - before, LONGEST_STEP_S)
        self._waited_s += step
        self._idle_s += step
        if used_s > self._used_s + PROGRESS_S:
            self._used_s, self._idle_s = used_s, 0.0
        return used_s > self._seconds or self._idle_s > self._seconds or self._waited_s > self._wall_seconds


def _candidate(job: Mapping[str, Any]) -> Callable[[int], None]:
    """Prepare the process of the model-written code. It does not decide the verdict."""

    def act(status: int) -> None:
        os.close(status)
        serve(job["candidate"], 3, 4)

    return act


def _judge(after_job: int) -> Callable[[int], None]:
    """Prepare the process of the tests. It decides the verdict."""
    tests = _part(_part(after_job)[1])[0]

    def act(status: int) -> None:
        judge(**tests, reads=3, writes=4)
        os.write(status, TESTS_PASSED)
        os._exit(0)

    return act


def _program(job: Mapping[str, Any], after_job: int) -> Callable[[int], None]:
    """Prepare the process of a program that contains its own tests."""
    token = [_part(after_job)[0]]
    return lambda status: run_to_its_end(job["candidate"], status, token)
