"""Which number of a text is its answer."""

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


class _Read(NamedTuple):
    """A text, or the content of its box, and the numbers in it that may be its answer."""

    region: Region
    text: str
    runs: Sequence[Sequence[Token]]


def last_number(text: str) -> Value | None:
    """The value of the last number in a text, exactly; None where there is none, or it cannot be read."""
    plain = plain_text(text)
    found = runs(plain, scan(plain))
    last = [token for token in found[-1] if not token.variable] if found else []
    return last[-1].quantity.value if last and last[-1].quantity and all(t.quantity for t in last) else None


def answer_quantity(text: str) -> Quantity | None:
    """The quantity that a text gives as its answer; None where it gives none, or an expression."""
    read = _read(text)
    if not read.runs:
        return None
    match read.region:
        case "text":
            return _quantity(read.runs[-1])
        case "marker":
            return _quantity(_last_side(read))
        case "box":
            sides = _after_equals(read)
            return _quantity(sides[0]) if len(sides) == 1 else None


def target_problem(text: str) -> tuple[str, bool] | None:
    """Why a wanted answer is not exactly one number, and whether it is prose, of which the last one counts.

    None where it is exactly one.
    """
    if answer_quantity(text) is None:
        return "is not exactly one number that numeric_match can read", False
    read = _read(text)
    sides = _after_equals(read)
    if len(sides) < 2:
        return None
    return f"holds {len(sides)} numbers", len(_WORDS.findall(read.text)) > 1


def _read(text: str) -> _Read:
    if (box := _last_box(text[-LONGEST_TEXT:])) is not None:
        return _with_runs("box", box)
    read = _with_runs("text", plain_text(text))
    last = read.runs[-1][0].start if read.runs else -1
    ends = [marker.end() for marker in _MARKER.finditer(read.text) if marker.end() <= last]
    if not ends:
        return read
    return read._replace(region="marker", runs=[run for run in read.runs if run[0].start >= ends[-1]])


def _with_runs(region: Region, text: str) -> _Read:
    plain = plain_text(text) if region == "box" else text
    return _Read(region, plain, runs(plain, scan(plain)))


def _last_box(text: str) -> str | None:
    r"""The content of the last \boxed{…} that is closed."""
    opened: list[re.Match[str]] = []
    content = None
    for brace in _BOXED.finditer(text):
        if brace[0] != "}":
            opened.append(brace)
        elif opened and (begins := opened.pop())[0] != "{":
            content = text[begins.end() : brace.start()]
    return content


def _last_side(read: _Read) -> Sequence[Token]:
    """The first run, or the last side of the equation that it begins."""
    chosen = read.runs[0]
    for run in read.runs[1:]:
        if not _EQUALS.fullmatch(read.text[chosen[-1].end : run[0].start]):
            break
        chosen = run
    return chosen


def _after_equals(read: _Read) -> Sequence[Sequence[Token]]:
    """The runs after the last equals sign that a run follows."""
    last = read.text.rfind("=", 0, read.runs[-1][0].start) if read.runs else -1
    return [run for run in read.runs if run[0].start > last]


def _quantity(run: Sequence[Token]) -> Quantity | None:
    return run[0].quantity if len(run) == 1 else None
