"""The sandbox of prompt templates: they read a row and nothing else, and come to an end.

Jinja's own sandbox keeps a template from Python's internals. It does not keep one from running for ever or
filling the memory, so here every reading of a variable is counted, and what multiplies texts is bounded or
left out.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_TEMPLATE = 2**16
"""Characters of a template, which Jinja reads in a third of a second."""
MAX_SECONDS = 0.2
"""Processor time of one template on one row; an ordinary one takes less than a thousandth of that."""
MAX_READ = 2**24
"""Characters that a template may read from one row, the same ones counted as often as they are read."""
MAX_PRODUCT = 2**20
"""Characters, items or bits that one multiplication may make."""

FILTERS = (
    *("abs", "attr", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby", "int"),
    *("items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse"),
    *("select", "selectattr", "sort", "string", "title", "trim", "truncate", "unique", "upper", "wordcount"),
)
"""Jinja's own that take a time that grows with their text, and give the same each time."""
METHODS = frozenset(
    {
        *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal"),
        *("isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "lower", "lstrip", "partition"),
        *("removeprefix", "removesuffix", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split"),
        *("splitlines", "startswith", "strip", "swapcase", "title", "upper"),
    }
)
"""Those of a text that make nothing longer than it."""
BUDGET = " budget"
"""The variable that holds what a template may still read; no template can name it."""
COUNTED = " counted"
"""The filter that every reading of a variable goes through; no template can name it."""


class TooMuch(Exception):
    """A template that reads, makes or takes too much."""


class Budget:
    """What one template may still read of one row."""

    def __init__(self) -> None:
        self._left = MAX_READ
        self._ends = time.thread_time() + MAX_SECONDS

    def take(self, value: Any) -> None:
        """Count a reading of the value; Raises: TooMuch."""
        waiting = [value]
        while waiting:
            part = waiting.pop()
            self._left -= _own_size(part)
            if self._left < 0:
                raise TooMuch(f"it reads more than {MAX_READ:,} characters")
            if isinstance(part, Mapping):
                waiting += [*part.keys(), *part.values()]
            elif isinstance(part, list | tuple | set):
                waiting += part
        if time.thread_time() > self._ends:
            raise TooMuch(f"it takes more than {MAX_SECONDS:g} s")


def _own_size(value: Any) -> int:
    if isinstance(value, int):
        return 1 + value.bit_length() // 8
    return 1 + len(value) if isinstance(value, str | bytes | Mapping | list | tuple | set) else 1


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with fewer ways to multiply."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Of a text, only what makes nothing longer."""
        return super().is_safe_attribute(obj, attr, value) and not (
            isinstance(obj, str | bytes) and attr not in METHODS
        )

    def wrap_str_format(self, value: Any) -> None:
        """None: `format` is no method of a text here, since it pads to any width."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse a product that is too large before it is made."""
        if operator == "%" and isinstance(left, str | bytes):
            return _format(left, right)
        if operator == "**":
            _require(_bits(left) * abs(right))
        elif operator == "*":
            _require(_times(left, right))
        return super().call_binop(context, operator, left, right)


def _times(left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int):
        return _bits(left) + _bits(right)
    many, one = (left, right) if isinstance(left, int) else (right, left)
    return many * len(one) if isinstance(many, int) and hasattr(one, "__len__") else 0


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 1


def _require(size: float) -> None:
    if size > MAX_PRODUCT:
        raise TooMuch(f"it multiplies to more than {MAX_PRODUCT:,} characters, items or bits")


def _format(text: str | bytes, values: Any) -> str:
    text = str(text)
    if re.search(r"%[^a-zA-Z%]*(\*|\d{4})", text):
        raise TooMuch("a format that names a width of thousands, or takes it from elsewhere")
    written: str = text % values
    return written


def _join(values: Sequence[Any], between: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        raise TooMuch("join takes no attribute here; write map(attribute=…) before it")
    texts = [str(value) for value in values]
    _require(len(between) * len(texts) if len(between) > 1 else 0)
    return str(between).join(texts)


def _replace(text: str, old: str, new: str) -> str:
    text, old, new = str(text), str(old), str(new)
    _require(text.count(old) * max(0, len(new) - len(old)))
    return text.replace(old, new)


def _round(value: float, digits: int = 0) -> float:
    return round(float(value), int(digits))


@pass_context
def _counted(context: Context, value: Any) -> Any:
    context[BUDGET].take(value)
    return value


class _Counting(NodeTransformer):
    """Sends every reading of a variable, or of a part of one, through the filter that counts."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        """One node, after those within it."""
        super().generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem) and node.ctx == "load":
            return nodes.Filter(node, COUNTED, [], [], None, None, lineno=node.lineno)
        return node


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError("it writes a null")
    return value


def _made() -> _Sandbox:
    made = _Sandbox(
        undefined=StrictUndefined,  # a misspelt column is an error, not an empty string
        keep_trailing_newline=True,
        finalize=_not_null,
    )
    made.filters = {
        **{name: made.filters[name] for name in FILTERS},
        "join": _join,
        "replace": _replace,
        "round": _round,
        "format": lambda text, *values: _format(text, values),
        "tojson": lambda value: json.dumps(value, ensure_ascii=False),
        COUNTED: _counted,
    }
    del made.globals["lipsum"]  # random text, as much as is asked for
    return made


SANDBOX = _made()


@lru_cache(maxsize=64)
def _compiled(template: str) -> Any:
    if len(template) > MAX_TEMPLATE:
        raise TooMuch(f"it has {len(template):,} characters; a template has at most {MAX_TEMPLATE:,}")
    counting = _Counting().visit(SANDBOX.parse(template))
    return SANDBOX.from_string(counting.set_environment(SANDBOX))


def fill(template: str, row: Mapping[str, Any]) -> str:
    """The template with the row's columns in it; raises what Jinja raises, TooMuch, and what it computes."""
    text: str = _compiled(template).render({**row, BUDGET: Budget()})
    return text
