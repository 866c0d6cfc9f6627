"""JSON as the standard has it: a name stands once in an object, and numbers are finite."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

NO_JSON = (ValueError, RecursionError)
"""What `decoded` raises."""


class _Odd(ValueError):
    """What Python's json takes, and the standard does not."""

    def __init__(self, msg: str) -> None:
        super().__init__(msg)
        self.msg = msg


def decoded(text: str) -> Any:
    """The value.

    Raises: one of NO_JSON.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)


def complaint(problem: BaseException) -> str:
    """What is wrong with it, in a few words."""
    return str(getattr(problem, "msg", "too large or too deep"))


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise _Odd(f"'{name}' stands twice in one object")
    return found


def _constant(name: str) -> float:
    raise _Odd(f"{name} is no number; write null where there is none")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Odd(f"{text[:20]} is too large a number")
    return value
