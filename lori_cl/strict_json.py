"""JSON as the standard has it: a name stands once in an object, and numbers are finite."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
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
