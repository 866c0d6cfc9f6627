"""Ctrl-C, and SIGTERM from a scheduler: stop after the current step; a second signal stops at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
MESSAGE = b"\nStopping after this step. Repeat the signal to stop at once.\n"


def is_rank_zero() -> bool:
    """Whether this is rank 0 of a launcher, or the only process: only it prints that it was interrupted."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def handle_stop_signals() -> Iterator[Callable[[], bool]]:
    """Record the first signal and raise KeyboardInterrupt at the second, until the context ends.

    Yields a function that returns whether a signal was received.
    """
    if threading.current_thread() is not threading.main_thread():  # Python allows signal handlers only there
        yield lambda: False
        return
    received: list[int] = []

    def handle(number: int, _: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        if is_rank_zero() and sys.__stderr__ is not None:  # else descriptor 2 may be another file
            with suppress(OSError):  # the same signal may have ended the reader, such as `tee`
                os.write(2, MESSAGE)  # sys.stderr may be in the middle of a write

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
