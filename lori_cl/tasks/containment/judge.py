"""Runs the tests, in a process that runs nothing the model wrote.

What the tests call lives in the candidate's process. Here it is a `Remote`, which sends every use of it
there. What comes back is plain data, rebuilt here, or another Remote. A Remote is never equal to plain
data, and takes part in no arithmetic with it: the candidate's process is not told what the tests expect,
and an __eq__ or a __sub__ that the model wrote cannot decide. Tests whose reference solution fails under
this rule are run with `open_operators`: then the candidate's own operators decide where the tests use them
on its objects.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from .channel import Channel
from .wire import Exchange, Malformed, References

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")
ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "pow", "divmod")
BITWISE = ("and_", "or_", "xor", "lshift", "rshift")
ALONE = (
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
ITEMS = ("invert", "repr", "reversed", "str", "getitem", "setitem", "delitem", "round")


class Remote:
    """An object in the candidate's process."""

    __slots__ = ("_number", "_objects")
    _number: int
    _objects: JudgeObjects

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it where it lives."""
        return self._objects.channel.ask("call", self, arguments, named)

    def __getattr__(self, name: str) -> Any:
        return self._objects.channel.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._objects.channel.ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._objects.channel.ask("delattr", self, name)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and bool(self._objects.channel.ask("isinstance", value, self))

    def __subclasscheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and bool(self._objects.channel.ask("issubclass", value, self))

    def __enter__(self) -> Any:
        return self._objects.channel.ask("call", self.__getattr__("__enter__"), (), {})

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return bool(self._objects.channel.ask("call", self.__getattr__("__exit__"), (kind, error, None), {}))


def _alone(operation: str) -> Callable[..., Any]:
    def act(self: Remote, *arguments: Any) -> Any:
        return self._objects.channel.ask(operation, self, *arguments)

    return act


def _attribute(name: str) -> Callable[[Remote], Any]:
    return lambda self: self._objects.channel.ask("getattr", self, name)


def _together(operation: str, swapped: bool = False) -> Callable[[Remote, Any], Any]:
    def act(self: Remote, other: Any) -> Any:
        if not (isinstance(other, Remote) or self._objects.open_operators):
            return NotImplemented
        pair = (other, self) if swapped else (self, other)
        return self._objects.channel.ask(operation, *pair)

    return act


def _contains(self: Remote, value: Any) -> Any:
    if self._objects.open_operators or isinstance(value, Remote):
        return self._objects.channel.ask("contains", self, value)
    return any(value is item or value == item for item in iter(self))


for _name in (*ALONE, *ITEMS):
    setattr(Remote, f"__{_name}__", _alone(_name))
for _name in COMPARISONS:
    setattr(Remote, f"__{_name}__", _together(_name))
for _name in (*ARITHMETIC, *BITWISE):
    setattr(Remote, f"__{_name.rstrip('_')}__", _together(_name))
    setattr(Remote, f"__r{_name.rstrip('_')}__", _together(_name, swapped=True))
for _name in ("doc", "module"):  # every class has these of its own
    setattr(Remote, f"__{_name}__", property(_attribute(f"__{_name}__")))
setattr(Remote, "__contains__", _contains)  # noqa: B010  (mypy allows no assignment)


class JudgeObjects(References):
    """What stands here for the candidate's objects, and which of the tests' own it may use."""

    channel: Channel

    def __init__(self, open_operators: bool) -> None:
        self.open_operators = open_operators
        self._remote: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}
        self._own: list[Any] = []

    def perform(self, operation: str, arguments: Sequence[Any]) -> Any:
        """The candidate may call what it was given to call, and take the next of an iterator."""
        match operation, arguments:
            case "call", (own, tuple(positional), dict(named)) if self._is_own(own):
                return own(*positional, **named)
            case "next", (own,) if self._is_own(own):
                return next(own)
            case _:
                raise Malformed("no operation of the tests'")

    def write(self, value: Any, exchange: Exchange) -> list[Any]:
        """Raises: TypeError: the value is an object of the tests' that the candidate cannot be given."""
        if isinstance(value, Remote):
            return ["own", object.__getattribute__(value, "_number")]
        if isinstance(value, type) and value in self._numbers:
            return ["own", self._numbers[value]]
        if isinstance(value, BaseException):
            builtin = next(kind for kind in type(value).__mro__ if kind.__module__ == "builtins")
            return ["exception", exchange.write(builtin), exchange.write(value.args), ""]
        if isinstance(value, FunctionType | BuiltinFunctionType | MethodType) or hasattr(value, "__next__"):
            if not self._is_own(value):
                self._own.append(value)
            return ["object", next(n for n, own in enumerate(self._own) if own is value)]
        raise TypeError(f"the tests cannot give an object of {type(value)} to the candidate")

    def read(self, form: list[Any], exchange: Exchange) -> Any:
        """A Remote; an object of the tests' own; an exception or its class, made here."""
        match form:
            case ["object", int(number)]:
                return self._remote[number] if number in self._remote else self._new_remote(number)
            case ["own", int(number)] if 0 <= number < len(self._own):
                return self._own[number]
            case ["class", int(number), str(name), list(bases)]:
                known = number in self._remote
                return self._remote[number] if known else self._new_exception(number, name, bases, exchange)
            case ["exception", kind, arguments, str(text)]:
                return _exception(exchange.read(kind), exchange.read(arguments), text)
            case _:
                raise Malformed("no object")

    def _is_own(self, value: Any) -> bool:
        return any(own is value for own in self._own)

    def _new_remote(self, number: int) -> Remote:
        remote = self._remote[number] = Remote()
        object.__setattr__(remote, "_number", number)
        object.__setattr__(remote, "_objects", self)
        return remote

    def _new_exception(self, number: int, name: str, bases: list[Any], exchange: Exchange) -> type:
        kind = type(name, tuple(exchange.read(base) for base in bases), {"__module__": "__main__"})
        if not issubclass(kind, BaseException):
            raise Malformed("no class of exceptions")
        self._remote[number], self._numbers[kind] = kind, number
        return kind


def _exception(kind: Any, arguments: Any, text: str) -> BaseException:
    if not (isinstance(kind, type) and issubclass(kind, BaseException) and type(arguments) is tuple):
        raise Malformed("no exception")
    try:
        return kind(*arguments)
    except TypeError:
        return kind.__new__(kind, text)


class Names(dict):  # type: ignore[type-arg]
    """The tests' global names: those that they bind themselves, then the candidate's, then Python's."""

    def __init__(self, channel: Channel, candidates: Sequence[str]) -> None:
        super().__init__(__name__="__main__")
        self._channel, self._candidates = channel, candidates

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) and name not in self._candidates:
            raise KeyError(name)
        return self._channel.ask("global", name)


def judge(
    setup: str, tests: str, candidates: Sequence[str], open_operators: bool, reads: int, writes: int
) -> None:
    """Run the tests to their end.

    `setup` are the imports and helpers that the task writes before the completion; `candidates` the builtin
    names that the candidate defines anew. Raises: whatever a test raises.
    """
    objects = JudgeObjects(open_operators)
    channel = objects.channel = Channel(reads, writes, objects, objects.perform)
    channel.ask("run")
    sys.modules["__main__"] = ModuleType("__main__")
    names = Names(channel, candidates)
    for source in (setup, tests):
        exec(compile(source, "<tests>", "exec", dont_inherit=True), names)  # noqa: S102  (the task's own)
