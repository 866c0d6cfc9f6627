"""Limits of a template: how much one rendering may read, make and take, and checks before an operation."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

MAX_TEMPLATE = 2**16
"""Characters of a prompt template, which Jinja parses in a third of a second."""
MAX_EXPRESSIONS = 5_000
"""Expressions in a template, and pieces of constant text between them."""
MAX_READ = 2**24
"""Characters that one rendering may read, make and write; characters read twice count twice."""
MAX_STEPS = 100_000
"""Expressions that one rendering may evaluate, loop steps included."""
MAX_SECONDS = 0.5
"""Processor time of one rendering; the counts above end nearly every template earlier, on every machine."""
MAX_PRODUCT = 2**20
"""Characters or items that one multiplication, replacement or padding may make."""
MAX_BITS = 2**14
"""Bits of a whole number; 4,300 digits, the most that Python writes, have fewer."""
MAX_WIDTH = 999
"""The widest field, and the longest set of characters to strip."""
MAX_SEARCH = 2**28
"""Characters of a text times those of what is searched from its end, which may take as many steps."""
ITEM_SIZE = 8
"""What an item of a list counts besides its content: a reference takes so many bytes."""


class TooMuch(Exception):
    """A template reads, makes or takes too much."""


class Budget:
    """What one rendering may still read, make and take."""

    def __init__(self) -> None:
        self._characters = MAX_READ
        self._steps = MAX_STEPS
        self._ends = time.thread_time() + MAX_SECONDS

    def take(self, value: Any) -> None:
        """Count one step and the whole size of a value; Raises: TooMuch."""
        self.step()
        if type(value) is str:  # nearly always
            self._read(1 + len(value))
            return
        waiting = [value]
        for count, part in enumerate(_parts(waiting)):
            self._read(_own_size(part))
            if count % 4096 == 4095:
                self._check_time()

    def step(self) -> None:
        """Count one step; Raises: TooMuch."""
        self._steps -= 1
        if self._steps < 0:
            raise TooMuch(f"it takes more than {MAX_STEPS:,} steps")
        if self._steps % 16 == 0:
            self._check_time()

    def _read(self, size: int) -> None:
        self._characters -= size
        if self._characters < 0:
            raise TooMuch(f"it reads more than {MAX_READ:,} characters")

    def _check_time(self) -> None:
        if time.thread_time() > self._ends:
            raise TooMuch(f"it takes more than {MAX_SECONDS:g} s")


def _parts(waiting: list[Any]) -> Iterator[Any]:
    """Every value inside the waiting ones, as often as it stands there."""
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, Mapping):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            waiting += part


def _own_size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return 1 + len(value)
    if isinstance(value, int):
        require_bits(value.bit_length())
        return 1 + value.bit_length() // 8
    return 1 + ITEM_SIZE * len(value) if isinstance(value, Mapping | list | tuple | set | frozenset) else 1


def require_size(size: float) -> None:
    """Refuse a product before it is made; Raises: TooMuch."""
    if size > MAX_PRODUCT:
        raise TooMuch(f"it multiplies to more than {MAX_PRODUCT:,} characters or items")


def require_bits(bits: float) -> None:
    """Refuse a number that is too long; Raises: TooMuch."""
    if bits > MAX_BITS:
        raise TooMuch(f"it makes a whole number of more than {MAX_BITS:,} bits")


def require_width(width: Any) -> None:
    """Refuse a field that is too wide; Raises: TooMuch."""
    if not isinstance(width, int) or width > MAX_WIDTH:
        raise TooMuch(f"it asks for a width above {MAX_WIDTH}")


def check_product(left: Any, right: Any) -> None:
    """Refuse `left * right` where it is too large; Raises: TooMuch."""
    if isinstance(left, int) and isinstance(right, int):
        require_bits(left.bit_length() + right.bit_length())
    many, one = (left, right) if isinstance(left, int) else (right, left)
    if isinstance(many, int) and hasattr(one, "__len__"):
        require_size(many * len(one))


def check_power(left: Any, right: Any) -> None:
    """Refuse `left ** right` where it is too large; Raises: TooMuch."""
    bits = left.bit_length() if isinstance(left, int) else 1
    require_bits(bits * abs(right) if isinstance(left, int) and isinstance(right, int) else 0)


DIRECTIVE = re.compile(
    r"%(?:\((?P<name>[^()]*)\))?[#0\- +]*(?P<width>\*|\d+)?(?:\.(?P<digits>\*|\d+))?[hlL]?.", re.S
)
"""One place in a %-format."""


def format_values(text: str, values: Any) -> list[Any]:
    """The values that `text % values` would write, after a check of their sizes; Raises: TooMuch."""
    found = list(DIRECTIVE.finditer(text))
    widths = [part for place in found for part in (place["width"], place["digits"]) if part]
    if any(width == "*" or len(width) > len(str(MAX_WIDTH)) for width in widths):
        raise TooMuch("a format that names a width of thousands, or takes it from elsewhere")
    require_size(sum(map(int, widths)))
    if isinstance(values, Mapping):
        written = [values[p["name"]] for p in found if p["name"] is not None and p["name"] in values]
    else:
        written = list(values) if isinstance(values, tuple) else [values]
    _require_total(sum(len(value) for value in written if isinstance(value, str | bytes)))
    return written


def _require_total(size: int) -> None:
    if size > MAX_READ:
        raise TooMuch(f"it makes more than {MAX_READ:,} characters")


def check_str_format(text: str, args: Sequence[Any], values: Mapping[str, Any]) -> None:
    """Refuse `text.format(…)` with widths of thousands, or with too much to write; Raises: TooMuch."""
    if re.search(r"\d{4}|:[^{}]*\{", text):
        raise TooMuch("a format that names a width of thousands, or takes it from elsewhere")
    longest = max((len(str(value)) for value in (*args, *values.values())), default=0)
    _require_total(text.count("{") * max(longest, MAX_WIDTH if re.search(r"\d{2}", text) else 0))


def check_replace(text: str, old: str, new: str) -> None:
    """Refuse a replacement that lengthens a text too much; Raises: TooMuch."""
    require_size(text.count(old) * max(0, len(new) - len(old)))


def _check_strip(text: str, characters: Any = None, *_: Any) -> None:
    if isinstance(characters, str) and len(characters) > MAX_WIDTH:
        raise TooMuch(f"it strips more than {MAX_WIDTH} different characters")


def _check_search(text: str, wanted: Any = "", *_: Any) -> None:
    if isinstance(wanted, str) and len(text) * len(wanted) > MAX_SEARCH:
        raise TooMuch("it searches a long text for a long text from its end")


def _check_padded(text: str, width: Any = 0, *_: Any) -> None:
    require_width(width)


def _check_tabs(text: str, width: Any = 8, *_: Any) -> None:
    require_width(width)
    require_size(text.count("\t") * width)


def _check_joined(text: str, values: Any = (), *_: Any) -> None:
    require_size(len(text) * len(values) if hasattr(values, "__len__") else len(text) * MAX_STEPS)


def _check_replaced(text: str, old: Any = "", new: Any = "", *_: Any) -> None:
    if isinstance(old, str) and isinstance(new, str):
        check_replace(text, old, new)


CHECKS: Mapping[str, Callable[..., None]] = {
    **dict.fromkeys(("strip", "lstrip", "rstrip"), _check_strip),
    **dict.fromkeys(("rfind", "rindex", "rpartition", "rsplit"), _check_search),
    **dict.fromkeys(("ljust", "rjust", "center", "zfill"), _check_padded),
    "expandtabs": _check_tabs,
    "join": _check_joined,
    "replace": _check_replaced,
}
"""By the name of a method of a text, what is checked before it is called."""
