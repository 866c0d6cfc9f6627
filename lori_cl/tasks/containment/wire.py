"""JSON encoding of values sent between the tests' process and the candidate's process.

A value of a builtin type, or of a few plain types of the standard library, is sent as its content and rebuilt
as exactly that type. Any other object stays in its process and is sent as a reference. So the tests' process
never executes model-written code, whatever it receives.

A list, dict, set or bytearray keeps its identity from a request to its answer: the caller sees the changes
that the callee makes to it.

null, true, false, numbers and strings are sent as in JSON. Any other value is a list that begins with its
kind.
"""

from __future__ import annotations

import builtins
import importlib
import operator
import sys
from collections.abc import Callable, Sequence

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

SMALL = 2**63
"""Integers from this size on are sent in hexadecimal, because decimal parsing takes quadratic time."""

ATOMS = frozenset({type(None), bool, str, float})
MUTABLE = frozenset({list, dict, set, bytearray})

BUILTIN_TYPES: dict[type, str] = {kind: name for name, kind in vars(builtins).items() if type(kind) is type}

# Subclasses of these builtins, such as named tuples, are sent as the builtin. The function converts a value
# without calling methods of the subclass.
BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__pos__),
    (float, float.__pos__),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (tuple, lambda value: tuple.__getitem__(value, slice(None))),
    (frozenset, frozenset.copy),
)

# Plain types of the standard library: (value → content, (type, *content) → value).
PLAIN: dict[tuple[str, str], tuple[Callable[[Any], Sequence[Any]], Callable[..., Any]]] = {
    ("fractions", "Fraction"): (lambda v: (v.numerator, v.denominator), lambda t, *c: t(*c)),
    ("decimal", "Decimal"): (lambda v: (str(v),), lambda t, c: t(c)),
    ("collections", "deque"): (lambda v: ([*v], v.maxlen), lambda t, *c: t(*c)),
    ("collections", "Counter"): (lambda v: (dict(v),), lambda t, c: t(c)),
    ("collections", "OrderedDict"): (lambda v: ([*v.items()],), lambda t, c: t(c)),
    ("collections", "defaultdict"): (lambda v: (dict(v),), lambda t, c: t(None, c)),
    ("datetime", "date"): (lambda v: (v.isoformat(),), lambda t, c: t.fromisoformat(c)),
    ("datetime", "time"): (lambda v: (v.isoformat(),), lambda t, c: t.fromisoformat(c)),
    ("datetime", "datetime"): (lambda v: (v.isoformat(),), lambda t, c: t.fromisoformat(c)),
    ("datetime", "timedelta"): (lambda v: (v.days, v.seconds, v.microseconds), lambda t, *c: t(*c)),
}


class MalformedMessage(BaseException):
    """An invalid message. A BaseException, so that a test that expects an error does not catch it."""


class PeerEnded(BaseException):
    """The process at the other end has ended."""


class References:
    """Encodes and decodes references to objects that stay in their process."""

    def write(self, value: Any, exchange: Exchange) -> list[Any]:
        """Encode an object that is not a plain value. Raises: TypeError: it may not be sent."""
        raise NotImplementedError

    def read(self, form: list[Any], exchange: Exchange) -> Any:
        """Decode a reference. Raises: MalformedMessage."""
        raise NotImplementedError


class Exchange:
    """A request and its answer. Both sides give the same container the same number."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._containers: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._contents: list[list[Any]] = []

    def pack(self, value: Any) -> list[Any]:
        """Build a message: the containers that changed since the last message, and the value."""
        now = [_content(container) for container in self._containers]
        changed = [
            n for n, (new, old) in enumerate(zip(now, self._contents, strict=True)) if not _same(new, old)
        ]
        message = [[[n, [self.write(item) for item in now[n]]] for n in changed], self.write(value)]
        self._contents = [_content(container) for container in self._containers]
        return message

    def unpack(self, message: Any) -> Any:
        """Undo `pack`.

        Raises: MalformedMessage.
        """
        try:
            changes, form = message
            for n, items in changes:
                _set_content(self._containers[n], [self.read(item) for item in items])
            value = self.read(form)
        except Exception as error:
            raise MalformedMessage(f"{type(error).__name__}: {error}") from None
        self._contents = [_content(container) for container in self._containers]
        return value

    def write(self, value: Any) -> Any:
        """Encode one value."""
        kind = type(value)
        if kind in ATOMS or (kind is int and -SMALL < value < SMALL):
            return value
        if kind in MUTABLE:
            return self._write_container(value)
        if kind in FORMS:
            return [kind.__name__, *FORMS[kind][0](self, value)]
        if kind is type and value in BUILTIN_TYPES:
            return ["type", BUILTIN_TYPES[value]]
        name = (kind.__module__, kind.__name__)
        if name in PLAIN and getattr(sys.modules.get(name[0]), name[1], None) is kind:
            return ["plain", *name, [self.write(item) for item in PLAIN[name][0](value)]]
        for base, exact in BASES:
            if isinstance(value, base):
                return self.write(exact(value))
        return self._references.write(value, self)

    def read(self, form: Any) -> Any:
        """Decode one value."""
        kind = type(form)
        if kind in ATOMS or kind is int:
            return form
        if kind is not list or not form or type(form[0]) is not str:
            raise MalformedMessage("a value is not encoded")
        reader = READERS.get(form[0])
        return self._references.read(form, self) if reader is None else reader(self, *form[1:])

    def _write_container(self, value: Any) -> list[Any]:
        number = self._numbers.get(id(value))
        if number is not None:
            return ["known", number]
        number = self._count(value)
        write = self.write
        items = [item if type(item) in ATOMS else write(item) for item in _content(value)]
        return [type(value).__name__, number, items]

    def read_container(self, empty: Any, number: int, items: list[Any]) -> Any:
        """Create a new container that the other side sent."""
        if self._count(empty) != number:
            raise MalformedMessage("a container has the wrong number")
        read = self.read
        _set_content(empty, [item if type(item) in ATOMS else read(item) for item in items])
        return empty

    def known(self, number: int) -> Any:
        """Return a container that was sent earlier in this exchange."""
        return self._containers[number]

    def _count(self, container: Any) -> int:
        self._numbers[id(container)] = len(self._containers)
        self._containers.append(container)
        return len(self._containers) - 1


def _content(container: Any) -> list[Any]:
    """Return the items of a container; for a dict, keys and values alternate."""
    if type(container) is dict:
        return [part for pair in container.items() for part in pair]
    return [bytes(container).hex()] if type(container) is bytearray else [*container]


def _set_content(container: Any, items: list[Any]) -> None:
    if type(container) is list:
        container[:] = items
    elif type(container) is bytearray:
        container[:] = bytes.fromhex(items[0])
    else:
        container.clear()
        container.update(zip(items[::2], items[1::2], strict=True) if type(container) is dict else items)


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))


def _each(exchange: Exchange, items: Any) -> list[Any]:
    return [exchange.write(item) for item in items]


def _all(exchange: Exchange, forms: list[Any]) -> list[Any]:
    return [exchange.read(form) for form in forms]


def _plain(exchange: Exchange, module: str, name: str, items: list[Any]) -> Any:
    make = PLAIN[module, name][1]
    return make(getattr(importlib.import_module(module), name), *_all(exchange, items))


def _type(_: Exchange, name: str) -> type:
    found = getattr(builtins, name)
    if type(found) is not type:
        raise MalformedMessage(f"{name} is not a type")
    return found


# Builtin types: (value → parts of its encoding, parts → value).
FORMS: dict[type, tuple[Callable[[Exchange, Any], list[Any]], Callable[..., Any]]] = {
    int: (lambda _, v: [hex(v)], lambda _, text: int(text, 16)),
    complex: (lambda _, v: [v.real, v.imag], lambda _, *parts: complex(*parts)),
    bytes: (lambda _, v: [v.hex()], lambda _, text: bytes.fromhex(text)),
    tuple: (lambda e, v: [_each(e, v)], lambda e, items: tuple(_all(e, items))),
    frozenset: (lambda e, v: [_each(e, v)], lambda e, items: frozenset(_all(e, items))),
    range: (lambda e, v: _each(e, (v.start, v.stop, v.step)), lambda e, *ends: range(*_all(e, [*ends]))),
    slice: (lambda e, v: _each(e, (v.start, v.stop, v.step)), lambda e, *ends: slice(*_all(e, [*ends]))),
    type({}.keys()): (lambda e, v: [_each(e, v)], lambda e, items: dict.fromkeys(_all(e, items)).keys()),
    type({}.values()): (
        lambda e, v: [_each(e, v)],
        lambda e, items: dict(enumerate(_all(e, items))).values(),
    ),
    type({}.items()): (lambda e, v: [_each(e, v)], lambda e, items: dict(_all(e, items)).items()),
    type(Ellipsis): (lambda *_: [], lambda _: Ellipsis),
    type(NotImplemented): (lambda *_: [], lambda _: NotImplemented),
}

READERS: dict[str, Callable[..., Any]] = {
    **{kind.__name__: read for kind, (_, read) in FORMS.items()},
    "list": lambda e, *parts: e.read_container([], *parts),
    "dict": lambda e, *parts: e.read_container({}, *parts),
    "set": lambda e, *parts: e.read_container(set(), *parts),
    "bytearray": lambda e, *parts: e.read_container(bytearray(), *parts),
    "known": Exchange.known,
    "type": _type,
    "plain": _plain,
}
