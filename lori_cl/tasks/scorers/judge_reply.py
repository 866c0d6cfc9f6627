"""Read the grade in a judge's reply."""

from __future__ import annotations

import re

import regex

from lori_cl.spec.error_messages import shown
from lori_cl.spec.judge import JudgeSpec
from lori_cl.strict_json import InvalidJSON, parse_json

PATTERN_TIMEOUT_S = 1.0
_FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n(?P<content>.*?)\n?[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


def grade_in(judge: JudgeSpec, reply: str) -> float:
    """Return the grade in a reply, from 0 to 1.

    Raises: ValueError: the reply contains no grade of the scale.
    """
    number = _json_score(reply) if judge.score_pattern is None else _found(judge.score_pattern, reply)
    low, high = judge.scale
    if number is None or not low <= number <= high:
        wanted = f"a grade from {low:g} to {high:g}"
        raise ValueError(f"replied {shown(reply.strip())}, without {wanted}")
    return (number - low) / (high - low)


def instruction(judge: JudgeSpec) -> str:
    """Return the sentence that asks for a reply in JSON; empty with `score_pattern`."""
    if judge.score_pattern is not None:
        return ""
    low, high = judge.scale
    return f'\n\nReply with JSON only: {{"score": NUMBER}}, where NUMBER is from {low:g} to {high:g}.'


def _json_score(reply: str) -> float | None:
    """Return `score` of a JSON object, which may be in one Markdown code fence."""
    fenced = _FENCE.fullmatch(reply)
    try:
        found = parse_json(fenced["content"] if fenced else reply)
    except InvalidJSON:
        return None
    score = found.get("score") if isinstance(found, dict) else None
    return float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None


def _found(pattern: str, reply: str) -> float | None:
    """Return the number in the pattern's group, if the pattern matches exactly one number."""
    try:
        numbers = {match[1] for match in regex.finditer(pattern, reply, timeout=PATTERN_TIMEOUT_S)}
        return float(numbers.pop()) if len(numbers) == 1 else None
    except (TimeoutError, TypeError, ValueError, regex.error):
        return None
