"""Parse numbers in plain text by recursive descent. The package docstring gives the grammar."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from lori_cl.tasks.scorers.numbers.units import LETTER
from lori_cl.tasks.scorers.numbers.values import (
    Quantity,
    Root,
    Value,
    negative,
    product,
    quotient,
    square_root,
)

LONGEST = 1_000
"""Maximum characters of a number and digits of a power; Python converts at most 4,300 digits."""
MAX_DEPTH = 4
"""Maximum nesting depth of brackets."""

_ENDS = r"(?!\d|[.,']\d)"
_DECIMAL = re.compile(
    rf"(?:(?P<english>(?!0)\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d{{1,2}}(?:,\d{{2}})+,\d{{3}}(?:\.\d+)?)"
    rf"|(?P<dots>(?!0)\d{{1,3}}(?:(?:\.\d{{3}}){{2,}}(?:,\d+)?|\.\d{{3}},\d+))"
    rf"|(?P<spaces>(?!0)\d{{1,3}}(?:(?: \d{{3}})+|(?:'\d{{3}})+)(?:[.,]\d+)?)"
    rf"|(?P<comma>\d+,\d+)|(?P<point>\d*\.\d+|\d+)){_ENDS}"
)
"""A decimal with or without thousands separators; the English convention is tried first."""
_EXPONENT = re.compile(rf"[eE]([+-]?\d{{1,4}})(?![\d{LETTER}])")
_TIMES_TEN = re.compile(r" ?[*x] ?10 ?(?=\^)")
_MIXED = re.compile(r"(\d+)(?: and)? (\d+) ?/ ?(\d+)(?!\d|[.,/]\d)")
_TIME = re.compile(r"(\d{1,3}):([0-5]\d)(?::([0-5]\d))?(?!\d|[.,:]\d)")
_RATIO = re.compile(r"(\d+):(\d+)(?!\d|[.,:]\d)")
_OPENING = {"(": ")", "{": "}"}


class Parsed(NamedTuple):
    """A value and the position after it."""

    value: Value
    end: int


def time_or_ratio(text: str, at: int) -> tuple[Quantity, int] | None:
    """Parse a time, in minutes, or a ratio at this position."""
    if found := _TIME.match(text, at):
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return Quantity(60 * hours + minutes + Fraction(seconds, 60), form="time"), found.end()
    found = _RATIO.match(text, at)
    if found is None or len(found[0]) > LONGEST or not int(found[2]):
        return None
    return Quantity(Fraction(int(found[1]), int(found[2])), form="ratio"), found.end()


def magnitude(text: str, at: int, depth: int = 0) -> Parsed | None:
    """Parse a mixed number, a term, or one term divided by another."""
    if (mixed := _mixed(text, at)) is not None:
        return mixed
    top = _term(text, at, depth)
    if top is None:
        return None
    slash = re.compile(r" ?/ ?").match(text, top.end)
    bottom = _term(text, slash.end(), depth) if slash else None
    if bottom is None:
        return top
    value = quotient(top.value, bottom.value)
    return top if value is None else Parsed(value, bottom.end)


def signed(text: str, at: int, depth: int) -> Parsed | None:
    """Parse a magnitude with an optional sign."""
    sign = text[at : at + 1]
    found = magnitude(text, at + (sign in ("-", "+")), depth)
    return found._replace(value=negative(found.value)) if found and sign == "-" else found


def _mixed(text: str, at: int) -> Parsed | None:
    found = _MIXED.match(text, at)
    if found is not None and len(found[0]) <= LONGEST:
        integer, top, bottom = map(int, found.groups())
        if top < bottom:
            return Parsed(integer + Fraction(top, bottom), found.end())
    integer_part = re.compile(r"(\d{1,20}) ?(?=\\frac)").match(text, at)
    fraction = _fraction(text, integer_part.end(), 0) if integer_part else None
    if integer_part is None or fraction is None or not isinstance(fraction.value, Fraction):
        return None
    return fraction._replace(value=int(integer_part[1]) + fraction.value)


def _term(text: str, at: int, depth: int) -> Parsed | None:
    if text[at : at + 1] == "√":
        return _root(text, at, depth)
    factor = _power(text, at, depth)
    if factor is None:
        return None
    times = re.compile(r" ?\*? ?(?=√)").match(text, factor.end)
    root = _root(text, times.end(), depth) if times else None
    value = product(factor.value, root.value) if root else None
    return factor if root is None or value is None else Parsed(value, root.end)


def _root(text: str, at: int, depth: int) -> Parsed | None:
    inside = _group(text, at + 1, depth) or _decimal(text, at + 1)
    value = square_root(inside.value) if inside else None
    return None if inside is None or value is None else Parsed(value, inside.end)


def _power(text: str, at: int, depth: int) -> Parsed | None:
    base = _fraction(text, at, depth) or _group(text, at, depth) or _decimal(text, at)
    if base is None:
        return None
    times_ten = _TIMES_TEN.match(text, base.end)
    if times_ten and (ten := _raised(text, Parsed(Fraction(10), times_ten.end()), depth)):
        value = product(base.value, ten.value)
        return base if value is None else Parsed(value, ten.end)
    return _raised(text, base, depth) or base


def _raised(text: str, base: Parsed, depth: int) -> Parsed | None:
    """Parse `^ exponent` after the base; return None if there is none, or the power cannot be computed."""
    caret = re.compile(r" ?\^ ?").match(text, base.end)
    if caret is None:
        return None
    integer = re.compile(r"[+-]?\d{1,6}(?![\d.])").match(text, caret.end())
    exponent = Parsed(Fraction(integer[0]), integer.end()) if integer else _group(text, caret.end(), depth)
    value = _to_power(base.value, exponent.value) if exponent else None
    return None if exponent is None or value is None else Parsed(value, exponent.end)


def _to_power(base: Value, exponent: Value) -> Value | None:
    if not isinstance(base, Fraction) or not isinstance(exponent, Fraction):
        return None
    if exponent.denominator != 1:
        root = square_root(base) if exponent.denominator == 2 and exponent.numerator in (1, -1) else None
        return root if root is None or exponent > 0 else quotient(Fraction(1), root)
    digits = max(len(str(base.numerator)), len(str(base.denominator)))
    if abs(exponent.numerator) * digits > LONGEST or (base == 0 and exponent < 0):
        return None
    return Fraction(base**exponent.numerator)


def _fraction(text: str, at: int, depth: int) -> Parsed | None:
    r"""Parse \frac{…}{…}."""
    if not text.startswith("\\frac", at):
        return None
    top = _group(text, at + len("\\frac"), depth)
    bottom = _group(text, top.end, depth) if top else None
    value = quotient(top.value, bottom.value) if top and bottom else None
    return None if bottom is None or value is None else Parsed(value, bottom.end)


def _group(text: str, at: int, depth: int) -> Parsed | None:
    """Parse a number in brackets."""
    opening = re.compile(r" ?([({]) ?").match(text, at)
    if opening is None or depth == MAX_DEPTH:
        return None
    inside = signed(text, opening.end(), depth + 1)
    closing = re.compile(rf" ?\{_OPENING[opening[1]]}").match(text, inside.end) if inside else None
    return Parsed(inside.value, closing.end()) if inside and closing else None


def _decimal(text: str, at: int) -> Parsed | None:
    found = _DECIMAL.match(text, at)
    if found is None or len(found[0]) > LONGEST:
        return None
    digits = re.sub(r"[ ']", "", found[0])
    if found["english"]:
        digits = digits.replace(",", "")
    elif found["dots"]:
        digits = digits.replace(".", "").replace(",", ".")
    value, end = Fraction(digits.replace(",", ".")), found.end()
    exponent = _EXPONENT.match(text, end)
    if exponent is None or abs(int(exponent[1])) > LONGEST:
        return Parsed(value, end)
    return Parsed(value * Fraction(10) ** int(exponent[1]), exponent.end())


__all__ = ["Parsed", "Root", "magnitude", "signed", "time_or_ratio"]
