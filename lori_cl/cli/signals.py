"""Ctrl-C, and SIGTERM from a scheduler: end after the step that is under way; once more, at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAID = b"\nEnding after this step. Once more ends at once.\n"


def speaks() -> bool:
    """Whether this process tells the user that it was interrupted: of a launcher's, the first one does."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """While the context lasts, the first signal is only noted down, and the second is a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():  # only that one may handle signals
        yield lambda: False
        return
    asked: list[int] = []

    def ask(number: int, _: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        if speaks() and sys.__stderr__ is not None:  # else 2 may be a file that was opened since
            with suppress(OSError):  # who reads it may have ended by the same signal, as `tee` does
                os.write(2, SAID)  # not through sys.stderr, which may be in the middle of a line

    before = {number: signal.signal(number, ask) for number in SIGNALS}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
