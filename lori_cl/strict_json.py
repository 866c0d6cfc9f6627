"""JSON as the standard has it: a name stands once in an object, numbers are finite, and it can be printed."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any


class NoJSON(ValueError):
    """A text that is no JSON; its message says why in a few words."""

    def __init__(self, what: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(what)
        self.line = line
        self.column = column


def decoded(text: str) -> Any:
    """The value; Raises: NoJSON."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
    except NoJSON:
        raise
    except json.JSONDecodeError as error:
        raise NoJSON(error.msg, error.lineno, error.colno) from None
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in lists
        raise NoJSON("too large or too deep") from None


def encoded(value: Any, *, indent: int | None = None, shows: Callable[[str], bool] = str.isprintable) -> str:
    """The value as JSON in which no character can control a terminal: those, and others that `shows` rejects,
    are escapes such as \\u202e. A float that is not finite is null."""
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite_only(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return escaped(text, shows)


def _finite_only(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite_only(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_only(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escaped(text: str, shows: Callable[[str], bool] = str.isprintable) -> str:
    """JSON text with characters that are not printable, or that `shows` rejects, as escapes."""
    return _UNUSUAL.sub(lambda found: found[0] if _is_shown(found[0], shows) else _escape(found[0]), text)


_UNUSUAL = re.compile(r"[^\n -~]")


def _is_shown(character: str, shows: Callable[[str], bool]) -> bool:
    return character.isprintable() and shows(character)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise NoJSON(f"'{name}' stands twice in one object")
    return found


def _constant(name: str) -> float:
    raise NoJSON(f"{name} is no number; write null where there is none")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NoJSON(f"{text[:20]} is too large a number")
    return value
