"""Requests and answers between the process of the tests and that of the candidate.

Each side may ask while it is asked: a test hands a function to the candidate, which calls it. A line is one
message: ["ask", operation, arguments], ["answer", value], ["raise", exception] or ["cannot", text], the
values as wire.py writes them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

from .wire import Ended, Exchange, Malformed, References

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

LONGEST_LINE = 64 * 2**20
CHUNK = 2**16


class Channel:
    """One side of the conversation, over two pipes."""

    def __init__(
        self, reads: int, writes: int, references: References, perform: Callable[[str, Sequence[Any]], Any]
    ) -> None:
        self._reads, self._writes = reads, writes
        self._references, self._perform = references, perform
        self._arrived = b""

    def ask(self, operation: str, *arguments: Any) -> Any:
        """The other side's answer.

        Raises: what the other side raised; Malformed; Ended.
        """
        exchange = Exchange(self._references)
        self._send(["ask", operation, exchange.pack(arguments)])
        while True:
            message = self._receive()
            match message:
                case ["ask", _, _]:
                    self._answer(*message[1:])
                case ["answer", packed]:
                    return exchange.unpack(packed)
                case ["raise", packed]:
                    raise _exception(exchange.unpack(packed))
                case ["cannot", str(text)]:
                    raise TypeError(text)
                case _:
                    raise Malformed("no message")

    def serve(self) -> None:
        """Answer until the other side has ended.

        Raises: Ended, Malformed.
        """
        while True:
            match self._receive():
                case ["ask", operation, packed]:
                    self._answer(operation, packed)
                case _:
                    raise Malformed("no request")

    def _answer(self, operation: Any, packed: Any) -> None:
        exchange = Exchange(self._references)
        arguments = exchange.unpack(packed)
        kind = "answer"
        try:
            value = self._perform(operation, arguments)
        except (Malformed, Ended):
            raise
        except BaseException as error:
            kind, value = "raise", error
        try:
            answer = [kind, exchange.pack(value)]
        except Exception as error:
            answer = ["cannot", f"{type(error).__name__}: {error}"]
        self._send(answer)

    def _send(self, message: list[Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        while line:
            line = line[os.write(self._writes, line) :]

    def _receive(self) -> Any:
        parts = [self._arrived]
        size = len(self._arrived)
        while b"\n" not in parts[-1]:
            parts.append(os.read(self._reads, CHUNK))
            size += len(parts[-1])
            if not parts[-1]:
                raise Ended
            if size > LONGEST_LINE:
                raise Malformed("a line is too long")
        line, _, self._arrived = b"".join(parts).partition(b"\n")
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Malformed(str(error)) from None


def _exception(value: Any) -> BaseException:
    if not isinstance(value, BaseException):
        raise Malformed("no exception")
    return value
