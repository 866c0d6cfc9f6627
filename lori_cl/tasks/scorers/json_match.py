"""JSON match: whether the answer is the same JSON value as the target."""

from __future__ import annotations

import re
from typing import Any

from lori_cl.strict_json import InvalidJSON, parse_json
from lori_cl.tasks.scorers.base import MeanOutcome

_FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n(?P<content>.*?)\n?[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


def _same_json(answer: str, target: str) -> float:
    """Compare as JSON values: spaces and the order of keys do not matter, the order of a list does.

    Numbers are equal by value; `true` is not 1. The answer may be in one Markdown code fence. Text around the
    value, a duplicate key, NaN or invalid JSON scores 0.
    """
    fenced = _FENCE.fullmatch(answer)
    try:
        found, expected = parse_json(fenced["content"] if fenced else answer), parse_json(target)
    except InvalidJSON:
        return 0.0
    return float(_equal(found, expected))


def _equal(found: Any, expected: Any) -> bool:
    waiting = [(found, expected)]
    while waiting:
        one, other = waiting.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            waiting += [(one[key], other[key]) for key in one]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            waiting += zip(one, other, strict=True)
        elif isinstance(one, bool) != isinstance(other, bool) or one != other:
            return False
    return True


JSON_MATCH = MeanOutcome(_same_json)
