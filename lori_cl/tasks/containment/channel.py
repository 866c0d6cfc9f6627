"""Requests and answers between the tests' process and the candidate's process.

Each side may send a request while it handles one: a test passes a function to the candidate, which calls it.
Each line is one message: ["ask", operation, arguments], ["answer", value], ["raise", exception] or
["cannot", text]. wire.py encodes the values.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

from .wire import Exchange, MalformedMessage, PeerEnded, References

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

LONGEST_LINE = 64 * 2**20
CHUNK = 2**16


class Channel:
    """One end of a connection over two pipes."""

    def __init__(
        self, reads: int, writes: int, references: References, perform: Callable[[str, Sequence[Any]], Any]
    ) -> None:
        self._reads, self._writes = reads, writes
        self._references, self._perform = references, perform
        self._buffer = b""

    def request(self, operation: str, *arguments: Any) -> Any:
        """Send a request and return the peer's answer.

        Raises: the exception that the peer raised; MalformedMessage; PeerEnded.
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
                    raise MalformedMessage("not a message")

    def serve(self) -> None:
        """Answer requests until the peer ends.

        Raises: PeerEnded, MalformedMessage.
        """
        while True:
            match self._receive():
                case ["ask", operation, packed]:
                    self._answer(operation, packed)
                case _:
                    raise MalformedMessage("not a request")

    def _answer(self, operation: Any, packed: Any) -> None:
        exchange = Exchange(self._references)
        arguments = exchange.unpack(packed)
        kind = "answer"
        try:
            value = self._perform(operation, arguments)
        except (MalformedMessage, PeerEnded):
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
        parts = [self._buffer]
        size = len(self._buffer)
        while b"\n" not in parts[-1]:
            parts.append(os.read(self._reads, CHUNK))
            size += len(parts[-1])
            if not parts[-1]:
                raise PeerEnded
            if size > LONGEST_LINE:
                raise MalformedMessage("a line is too long")
        line, _, self._buffer = b"".join(parts).partition(b"\n")
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MalformedMessage(str(error)) from None


def _exception(value: Any) -> BaseException:
    if not isinstance(value, BaseException):
        raise MalformedMessage("not an exception")
    return value
