"""Untrusted input either works or ends in a one-line error; anything else is a bug."""

from __future__ import annotations

from collections.abc import Callable

from lori_cl.errors import LoriError, one_line


def refusal_of(attempt: Callable[[], object]) -> str | None:
    """Return the one-line error of the attempt; None if it succeeds."""
    message = None
    try:
        attempt()
    except LoriError as refused:
        message = str(refused)
    assert message is None or (message.strip() and message == one_line(message)), message
    return message
