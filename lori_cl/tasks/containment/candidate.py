"""Run the model-written program, then perform the operations on its objects that the tests request.

Nothing in this process is trusted, because the program shares it. Its answers are untrusted data for the
tests.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from .channel import Channel
from .wire import Exchange, MalformedMessage, References

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any


def run(source: str) -> ModuleType:
    """Run a program as __main__, in a new namespace."""
    sys.modules["__main__"] = module = ModuleType("__main__")
    exec(compile(source, "<program>", "exec", dont_inherit=True), vars(module))  # noqa: S102  (contained by now)
    return module


def run_to_its_end(source: str, stream: int, token: list[bytes]) -> None:
    """Run a program that contains its tests, write the token, and exit before any leftover code runs."""
    # The token is only on the interpreter's stack, not in a variable that the program could read.
    _write_token_and_exit(stream, token.pop(), run(source))


def _write_token_and_exit(stream: int, token: bytes, ended: ModuleType) -> None:
    assert ended
    os.write(stream, token)
    os._exit(0)


def serve(source: str, reads: int, writes: int) -> None:
    """Answer the tests' requests until they end. The first request is to run the source."""
    objects = CandidateObjects(source)
    channel = objects.channel = Channel(reads, writes, objects, objects.perform)
    channel.serve()


class Callback:
    """A function or an iterator of the tests."""

    def __init__(self, objects: CandidateObjects, number: int) -> None:
        self._objects = objects
        self._number = number

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function in the tests' process."""
        return self._objects.channel.request("call", self, arguments, named)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._objects.channel.request("next", self)


class CandidateObjects(References):
    """The objects that the tests refer to by number, and the operations on them."""

    channel: Channel

    def __init__(self, source: str) -> None:
        self._source = source
        self._globals: dict[str, Any] = {}
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}

    def perform(self, operation: str, arguments: Sequence[Any]) -> Any:
        """Perform an operation. Raises: any exception that the program raises."""
        match operation:
            case "run":
                self._globals = vars(run(self._source))
                return None
            case "global":
                (name,) = arguments
                return self._globals[name]
            case "call":
                called, positional, named = arguments
                return called(*positional, **named)
            case _:
                return OPERATIONS[operation](*arguments)

    def write(self, value: Any, exchange: Exchange) -> list[Any]:
        """Encode an object as its number; an exception or its class also as what is needed to raise it."""
        if isinstance(value, Callback):
            return ["own", value._number]
        if isinstance(value, BaseException):
            return ["exception", exchange.write(type(value)), _arguments(value, exchange), _text(value)]
        if isinstance(value, type) and issubclass(value, BaseException):
            bases = [exchange.write(base) for base in value.__bases__ if issubclass(base, BaseException)]
            return ["class", self._number(value), value.__name__, bases]
        return ["object", self._number(value)]

    def read(self, form: list[Any], exchange: Exchange) -> Any:
        """Decode an object by number, a function or iterator of the tests, or one of their exceptions."""
        match form:
            case ["own", number]:
                return self._objects[number]
            case ["object", number]:
                return Callback(self, number)
            case ["exception", kind, arguments, _]:
                return exchange.read(kind)(*exchange.read(arguments))
            case _:
                raise MalformedMessage("not an object")

    def _number(self, value: Any) -> int:
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)
        return number


def _arguments(error: BaseException, exchange: Exchange) -> Any:
    try:
        return exchange.write(tuple(error.args))
    except Exception:
        return exchange.write((_text(error),))


def _text(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except Exception:
        return ""


OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in ("lt", "le", "eq", "ne", "gt", "ge", "getitem", "setitem")},
    **{name: getattr(operator, name) for name in ("delitem", "contains", "index", "neg", "pos", "invert")},
    **{
        name: getattr(operator, name)
        for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul")
    },
    **{name: getattr(operator, name) for name in ("and_", "or_", "xor", "lshift", "rshift")},
    "pow": pow,
    "divmod": divmod,
    **{
        act.__name__: act
        for act in (abs, bool, complex, delattr, dir, float, getattr, hash, int, isinstance, issubclass, iter)
    },
    **{act.__name__: act for act in (len, next, repr, reversed, round, setattr, str)},
}
