"""The name of a scorer function in a task file: `metric: scorers.py:brevity`."""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = re.compile(r"(?P<file>[^:\\\x00]+\.py):(?P<function>[^\W\d]\w{0,99})")


class ScorerFunction(NamedTuple):
    """A Python function that grades answers."""

    file: str
    """Its file, relative to the task file."""
    function: str


def scorer_function(metric: object) -> ScorerFunction | None:
    """Return the function that a metric names as FILE.py:FUNCTION; None for another metric."""
    found = _NAME.fullmatch(metric) if isinstance(metric, str) else None
    return None if found is None else ScorerFunction(found["file"], found["function"])
