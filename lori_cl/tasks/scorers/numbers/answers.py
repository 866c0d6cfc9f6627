"""Find the number in a text that is its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from lori_cl.tasks.scorers.numbers.scanner import Token, runs, scan
from lori_cl.tasks.scorers.numbers.text import LONGEST_TEXT, plain_text
from lori_cl.tasks.scorers.numbers.values import Quantity, Value

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{|[{}]")
_MARKER = re.compile(
    r"####|\b(?:answer (?:is|was)\b|final answer ?(?=[:=])|the answer ?(?=[:=]))", re.IGNORECASE
)
_EQUALS = re.compile(r"[\s)\]}]*[=≈][\s(\[{]*(?:[^\W\d_]\s*=\s*)?")
_WORDS = re.compile(r"[^\W\d_]{2,}")

Region = Literal["box", "marker", "text"]


class _ParsedText(NamedTuple):
    """A text, or the content of its box, and the numbers in it that may be the answer."""

    region: Region
    text: str
    runs: Sequence[Sequence[Token]]


def last_number(text: str) -> Value | None:
    """Return the exact value of the last number in a text; None if there is none or it cannot be parsed."""
    plain = plain_text(text)
    found = runs(plain, scan(plain))
    last = [token for token in found[-1] if not token.variable] if found else []
    return last[-1].quantity.value if last and last[-1].quantity and all(t.quantity for t in last) else None


def answer_quantity(text: str) -> Quantity | None:
    """Return the quantity that a text gives as its answer; None if it gives none, or an expression."""
    parsed = _parse(text)
    if not parsed.runs:
        return None
    match parsed.region:
        case "text":
            return _quantity(parsed.runs[-1])
        case "marker":
            return _quantity(_last_side(parsed))
        case "box":
            sides = _after_equals(parsed)
            return _quantity(sides[0]) if len(sides) == 1 else None


def target_problem(text: str) -> tuple[str, bool] | None:
    """Check that a target is exactly one number.

    Returns None if it is, otherwise (the problem, whether the target is prose, whose last number counts).
    """
    if answer_quantity(text) is None:
        return "is not exactly one number that numeric_match can parse", False
    parsed = _parse(text)
    sides = _after_equals(parsed)
    if len(sides) < 2:
        return None
    return f"contains {len(sides)} numbers", len(_WORDS.findall(parsed.text)) > 1


def _parse(text: str) -> _ParsedText:
    if (box := _last_box(text[-LONGEST_TEXT:])) is not None:
        return _with_runs("box", box)
    parsed = _with_runs("text", plain_text(text))
    last = parsed.runs[-1][0].start if parsed.runs else -1
    ends = [marker.end() for marker in _MARKER.finditer(parsed.text) if marker.end() <= last]
    if not ends:
        return parsed
    return parsed._replace(region="marker", runs=[run for run in parsed.runs if run[0].start >= ends[-1]])


def _with_runs(region: Region, text: str) -> _ParsedText:
    plain = plain_text(text) if region == "box" else text
    return _ParsedText(region, plain, runs(plain, scan(plain)))


def _last_box(text: str) -> str | None:
    r"""Return the content of the last closed \boxed{…}."""
    opened: list[re.Match[str]] = []
    content = None
    for brace in _BOXED.finditer(text):
        if brace[0] != "}":
            opened.append(brace)
        elif opened and (opening := opened.pop())[0] != "{":
            content = text[opening.end() : brace.start()]
    return content


def _last_side(parsed: _ParsedText) -> Sequence[Token]:
    """Return the first run, or the last side of the equation that begins with it."""
    chosen = parsed.runs[0]
    for run in parsed.runs[1:]:
        if not _EQUALS.fullmatch(parsed.text[chosen[-1].end : run[0].start]):
            break
        chosen = run
    return chosen


def _after_equals(parsed: _ParsedText) -> Sequence[Sequence[Token]]:
    """Return the runs after the last equals sign that is followed by a run."""
    last = parsed.text.rfind("=", 0, parsed.runs[-1][0].start) if parsed.runs else -1
    return [run for run in parsed.runs if run[0].start > last]


def _quantity(run: Sequence[Token]) -> Quantity | None:
    return run[0].quantity if len(run) == 1 else None
