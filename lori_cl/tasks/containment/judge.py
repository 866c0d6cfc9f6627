"""Run the tests in a process that executes no model-written code.

The objects that the tests call exist in the candidate's process. Here each one is a `Remote`, which forwards
every operation to that process. The answer is plain data, rebuilt here, or another Remote. A Remote is never
equal to plain data and does not support arithmetic with it. So the candidate's process never receives the
expected values, and a model-written __eq__ or __sub__ cannot decide a test. Tests whose reference solution
fails under this rule run with `open_operators`: the candidate's own operators apply where the tests use them
on its objects.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from .channel import Channel
from .wire import Exchange, MalformedMessage, References

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")
ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "pow", "divmod")
BITWISE = ("and_", "or_", "xor", "lshift", "rshift")
UNARY = (
    "abs",
    "bool",
    "complex",
    "dir",
    "float",
    "hash",
    "index",
    "int",
    "iter",
    "len",
    "neg",
    "next",
    "pos",
)
OTHER_OPERATIONS = ("invert", "repr", "reversed", "str", "getitem", "setitem", "delitem", "round")


class Remote:
    """An object in the candidate's process."""

    __slots__ = ("_number", "_objects")
    _number: int
    _objects: JudgeObjects

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the object in the candidate's process."""
        return self._objects.channel.request("call", self, arguments, named)

    def __getattr__(self, name: str) -> Any:
        return self._objects.channel.request("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._objects.channel.request("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._objects.channel.request("delattr", self, name)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and bool(self._objects.channel.request("isinstance", value, self))

    def __subclasscheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and bool(self._objects.channel.request("issubclass", value, self))

    def __enter__(self) -> Any:
        return self._objects.channel.request("call", self.__getattr__("__enter__"), (), {})

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return bool(
            self._objects.channel.request("call", self.__getattr__("__exit__"), (kind, error, None), {})
        )


def _unary(operation: str) -> Callable[..., Any]:
    def act(self: Remote, *arguments: Any) -> Any:
        return self._objects.channel.request(operation, self, *arguments)

    return act


def _attribute(name: str) -> Callable[[Remote], Any]:
    return lambda self: self._objects.channel.request("getattr", self, name)


def _binary(operation: str, swapped: bool = False) -> Callable[[Remote, Any], Any]:
    def act(self: Remote, other: Any) -> Any:
        if not (isinstance(other, Remote) or self._objects.open_operators):
            return NotImplemented
        pair = (other, self) if swapped else (self, other)
        return self._objects.channel.request(operation, *pair)

    return act


def _contains(self: Remote, value: Any) -> Any:
    if self._objects.open_operators or isinstance(value, Remote):
        return self._objects.channel.request("contains", self, value)
    return any(value is item or value == item for item in iter(self))


for _name in (*UNARY, *OTHER_OPERATIONS):
    setattr(Remote, f"__{_name}__", _unary(_name))
for _name in COMPARISONS:
    setattr(Remote, f"__{_name}__", _binary(_name))
for _name in (*ARITHMETIC, *BITWISE):
    setattr(Remote, f"__{_name.rstrip('_')}__", _binary(_name))
    setattr(Remote, f"__r{_name.rstrip('_')}__", _binary(_name, swapped=True))
for _name in ("doc", "module"):  # every class defines these, so __getattr__ is not called
    setattr(Remote, f"__{_name}__", property(_attribute(f"__{_name}__")))
setattr(Remote, "__contains__", _contains)  # noqa: B010  (mypy allows no assignment)


class JudgeObjects(References):
    """The tests' proxies of the candidate's objects, and the tests' objects that the candidate may use."""

    channel: Channel

    def __init__(self, open_operators: bool) -> None:
        self.open_operators = open_operators
        self._remote: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}
        self._test_objects: list[Any] = []

    def perform(self, operation: str, arguments: Sequence[Any]) -> Any:
        """Perform a request of the candidate: call a function that it was given, or advance an iterator."""
        match operation, arguments:
            case "call", (target, tuple(positional), dict(named)) if self._is_test_object(target):
                return target(*positional, **named)
            case "next", (iterator,) if self._is_test_object(iterator):
                return next(iterator)
            case _:
                raise MalformedMessage("not an operation of the tests")

    def write(self, value: Any, exchange: Exchange) -> list[Any]:
        """Encode a value. Raises: TypeError: an object of the tests cannot be passed to the candidate."""
        if isinstance(value, Remote):
            return ["own", object.__getattribute__(value, "_number")]
        if isinstance(value, type) and value in self._numbers:
            return ["own", self._numbers[value]]
        if isinstance(value, BaseException):
            builtin = next(kind for kind in type(value).__mro__ if kind.__module__ == "builtins")
            return ["exception", exchange.write(builtin), exchange.write(value.args), ""]
        if isinstance(value, FunctionType | BuiltinFunctionType | MethodType) or hasattr(value, "__next__"):
            if not self._is_test_object(value):
                self._test_objects.append(value)
            return ["object", next(n for n, known in enumerate(self._test_objects) if known is value)]
        raise TypeError(f"the tests cannot pass an object of {type(value)} to the candidate")

    def read(self, form: list[Any], exchange: Exchange) -> Any:
        """Decode a Remote, an object of the tests, or an exception or its class, which is created here."""
        match form:
            case ["object", int(number)]:
                return self._remote[number] if number in self._remote else self._new_remote(number)
            case ["own", int(number)] if 0 <= number < len(self._test_objects):
                return self._test_objects[number]
            case ["class", int(number), str(name), list(bases)]:
                known = number in self._remote
                return self._remote[number] if known else self._new_exception(number, name, bases, exchange)
            case ["exception", kind, arguments, str(text)]:
                return _exception(exchange.read(kind), exchange.read(arguments), text)
            case _:
                raise MalformedMessage("not an object")

    def _is_test_object(self, value: Any) -> bool:
        return any(known is value for known in self._test_objects)

    def _new_remote(self, number: int) -> Remote:
        remote = self._remote[number] = Remote()
        object.__setattr__(remote, "_number", number)
        object.__setattr__(remote, "_objects", self)
        return remote

    def _new_exception(self, number: int, name: str, bases: list[Any], exchange: Exchange) -> type:
        kind = type(name, tuple(exchange.read(base) for base in bases), {"__module__": "__main__"})
        if not issubclass(kind, BaseException):
            raise MalformedMessage("not an exception class")
        self._remote[number], self._numbers[kind] = kind, number
        return kind


def _exception(kind: Any, arguments: Any, text: str) -> BaseException:
    if not (isinstance(kind, type) and issubclass(kind, BaseException) and type(arguments) is tuple):
        raise MalformedMessage("not an exception")
    try:
        return kind(*arguments)
    except TypeError:
        return kind.__new__(kind, text)


class TestNamespace(dict):  # type: ignore[type-arg]
    """The tests' global namespace: their own names, then the candidate's, then Python's builtins."""

    def __init__(self, channel: Channel, candidates: Sequence[str]) -> None:
        super().__init__(__name__="__main__")
        self._channel, self._candidates = channel, candidates

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) and name not in self._candidates:
            raise KeyError(name)
        return self._channel.request("global", name)


def judge(
    setup: str, tests: str, candidates: Sequence[str], open_operators: bool, reads: int, writes: int
) -> None:
    """Run the tests to completion.

    `setup` is the task's imports and helpers before the completion. `candidates` are the names that the
    candidate defines; they override builtins. Raises: any exception that a test raises.
    """
    objects = JudgeObjects(open_operators)
    channel = objects.channel = Channel(reads, writes, objects, objects.perform)
    channel.request("run")
    sys.modules["__main__"] = ModuleType("__main__")
    names = TestNamespace(channel, candidates)
    for source in (setup, tests):
        exec(compile(source, "<tests>", "exec", dont_inherit=True), names)  # noqa: S102  (the task's own)
