"""What becomes of something that may be wrong: it works, or ends in one line; anything else is a bug."""

from __future__ import annotations

from collections.abc import Callable

from lori_cl.errors import LoriError, one_line


def refusal_of(attempt: Callable[[], object]) -> str | None:
    """The line in which the attempt ends; None where it works."""
    message = None
    try:
        attempt()
    except LoriError as refused:
        message = str(refused)
    assert message is None or (message.strip() and message == one_line(message)), message
    return message
