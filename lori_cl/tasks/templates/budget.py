"""Resource limits of a rendering (size, steps, time), and checks before operations that multiply."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

MAX_TEMPLATE = 2**16
"""Maximum number of characters of a prompt template; Jinja parses it in a third of a second."""
MAX_EXPRESSIONS = 5_000
"""Maximum number of expressions in a template, including the constant texts between them."""
MAX_READ = 2**24
"""Maximum number of characters that one rendering reads, creates and writes, counted each time."""
MAX_STEPS = 100_000
"""Maximum number of expressions that one rendering evaluates, including loop steps."""
MAX_SECONDS = 0.5
"""Maximum CPU time of one rendering. The limits above usually apply first, on every machine."""
MAX_PRODUCT = 2**20
"""Maximum number of characters or items that one multiplication, replacement or padding creates."""
MAX_BITS = 2**14
"""Maximum bits of an integer; more than the 4,300 digits that Python prints."""
MAX_WIDTH = 999
"""Maximum field width, and maximum number of characters to strip."""
MAX_SEARCH = 2**28
"""Maximum of len(text) · len(pattern) for a search from the end, which may take that many steps."""
ITEM_SIZE = 8
"""The size of a list item in addition to its content: the bytes of a reference."""


class BudgetExceeded(Exception):
    """A template exceeds its budget of size, steps or time."""


class Budget:
    """The remaining budget of one rendering."""

    def __init__(self) -> None:
        self._characters = MAX_READ
        self._steps = MAX_STEPS
        self._deadline = time.thread_time() + MAX_SECONDS

    def take(self, value: Any) -> None:
        """Count one step and the total size of a value; Raises: BudgetExceeded."""
        self.step()
        if type(value) is str:  # the common case
            self._read(1 + len(value))
            return
        pending = [value]
        for count, part in enumerate(_parts(pending)):
            self._read(_own_size(part))
            if count % 4096 == 4095:
                self._check_time()

    def step(self) -> None:
        """Count one step; Raises: BudgetExceeded."""
        self._steps -= 1
        if self._steps < 0:
            raise BudgetExceeded(f"it takes more than {MAX_STEPS:,} steps")
        if self._steps % 16 == 0:
            self._check_time()

    def _read(self, size: int) -> None:
        self._characters -= size
        if self._characters < 0:
            raise BudgetExceeded(f"it reads more than {MAX_READ:,} characters")

    def _check_time(self) -> None:
        if time.thread_time() > self._deadline:
            raise BudgetExceeded(f"it takes more than {MAX_SECONDS:g} s")


def _parts(pending: list[Any]) -> Iterator[Any]:
    """Yield the values and everything inside them, once per occurrence."""
    while pending:
        part = pending.pop()
        yield part
        if isinstance(part, Mapping):
            pending += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            pending += part


def _own_size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return 1 + len(value)
    if isinstance(value, int):
        require_bits(value.bit_length())
        return 1 + value.bit_length() // 8
    return 1 + ITEM_SIZE * len(value) if isinstance(value, Mapping | list | tuple | set | frozenset) else 1


def require_size(size: float) -> None:
    """Check the size of a product before it is computed; Raises: BudgetExceeded."""
    if size > MAX_PRODUCT:
        raise BudgetExceeded(f"an operation creates more than {MAX_PRODUCT:,} characters or items")


def require_bits(bits: float) -> None:
    """Check the length of an integer; Raises: BudgetExceeded."""
    if bits > MAX_BITS:
        raise BudgetExceeded(f"it computes an integer of more than {MAX_BITS:,} bits")


def require_width(width: Any) -> None:
    """Check the width of a field; Raises: BudgetExceeded."""
    if not isinstance(width, int) or width > MAX_WIDTH:
        raise BudgetExceeded(f"it uses a width above {MAX_WIDTH}")


def check_product(left: Any, right: Any) -> None:
    """Check the size of `left * right`; Raises: BudgetExceeded."""
    if isinstance(left, int) and isinstance(right, int):
        require_bits(left.bit_length() + right.bit_length())
    factor, value = (left, right) if isinstance(left, int) else (right, left)
    if isinstance(factor, int) and hasattr(value, "__len__"):
        require_size(factor * len(value))


def check_power(left: Any, right: Any) -> None:
    """Check the size of `left ** right`; Raises: BudgetExceeded."""
    bits = left.bit_length() if isinstance(left, int) else 1
    require_bits(bits * abs(right) if isinstance(left, int) and isinstance(right, int) else 0)


DIRECTIVE = re.compile(
    r"%(?:\((?P<name>[^()]*)\))?[#0\- +]*(?P<width>\*|\d+)?(?:\.(?P<digits>\*|\d+))?[hlL]?.", re.S
)
"""One conversion specifier of a %-format."""


def format_values(text: str, values: Any) -> list[Any]:
    """Check the sizes of `text % values` and return the values that it writes; Raises: BudgetExceeded."""
    found = list(DIRECTIVE.finditer(text))
    widths = [part for directive in found for part in (directive["width"], directive["digits"]) if part]
    if any(width == "*" or len(width) > len(str(MAX_WIDTH)) for width in widths):
        raise BudgetExceeded(f"a format uses a width above {MAX_WIDTH} or a variable width")
    require_size(sum(map(int, widths)))
    if isinstance(values, Mapping):
        written = [values[p["name"]] for p in found if p["name"] is not None and p["name"] in values]
    else:
        written = list(values) if isinstance(values, tuple) else [values]
    _require_total(sum(len(value) for value in written if isinstance(value, str | bytes)))
    return written


def _require_total(size: int) -> None:
    if size > MAX_READ:
        raise BudgetExceeded(f"it writes more than {MAX_READ:,} characters")


def check_str_format(text: str, args: Sequence[Any], values: Mapping[str, Any]) -> None:
    """Check the widths and the output size of `text.format(…)`; Raises: BudgetExceeded."""
    if re.search(r"\d{4}|:[^{}]*\{", text):
        raise BudgetExceeded(f"a format uses a width above {MAX_WIDTH} or a variable width")
    longest = max((len(str(value)) for value in (*args, *values.values())), default=0)
    _require_total(text.count("{") * max(longest, MAX_WIDTH if re.search(r"\d{2}", text) else 0))


def check_replace(text: str, old: str, new: str) -> None:
    """Check the size of a replacement; Raises: BudgetExceeded."""
    require_size(text.count(old) * max(0, len(new) - len(old)))


def _check_strip(text: str, characters: Any = None, *_: Any) -> None:
    if isinstance(characters, str) and len(characters) > MAX_WIDTH:
        raise BudgetExceeded(f"it strips more than {MAX_WIDTH} different characters")


def _check_search(text: str, pattern: Any = "", *_: Any) -> None:
    if isinstance(pattern, str) and len(text) * len(pattern) > MAX_SEARCH:
        raise BudgetExceeded("a search from the end of a text is too expensive: both texts are long")


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
"""Name of a text method → the check before a call."""
