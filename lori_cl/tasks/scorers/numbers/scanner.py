"""Find every number in a plain text, and every expression that looks like a number but is not one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from lori_cl.tasks.scorers.numbers.grammar import magnitude, time_or_ratio
from lori_cl.tasks.scorers.numbers.units import (
    CURRENCY,
    LETTER,
    MULTIPLIER,
    MULTIPLIERS,
    ORDINAL,
    UNIT,
    short_currency,
    short_unit,
)
from lori_cl.tasks.scorers.numbers.values import Quantity, negative, product


@dataclass(frozen=True)
class Token:
    """A number, an expression that is not a number, or a variable."""

    start: int
    end: int
    quantity: Quantity | None = None
    """None for an expression that is not a number: x^2, 5y, 1.2.3."""
    variable: bool = False
    """Whether it is a single letter, which counts only if an operator joins it to a number."""


_WORD = re.compile(rf"[{LETTER}_][{LETTER}_\d]*")
_SIGNS = re.compile(r"(?<![\w).\]}%])[-+](?=[\d.√({\\$€£¥₹])|(?<==)-(?= \d)|(?<== )-(?= \d)")
_SIGN_WORD = re.compile(r"(?:negative|minus) (?=[\d.√\\$€£¥₹])", re.IGNORECASE)
_BEGINS = re.compile(rf"[{LETTER}_]|\d|\.\d|√|\\frac|[({{](?=[ ({{]{{0,6}}[-+]?[\d.√\\])|[-+]|[$€£¥₹]")
_UNREADABLE = re.compile(r"\d(?:[\d.,']*\d)?|\.\d+|√|\\frac")
_OPERAND_FOLLOWS = re.compile(rf" ?\^| ?[π√]|[{LETTER}_]| ?/ ?[{LETTER}](?![{LETTER}])|\[")
_NOT_EQUAL_BEFORE = re.compile(r"(?:(?<![<>=-])[<>]=?|[≤≥≠±]) ?$")
_JOINS = re.compile(r"[)\]}]*(?: ?[+*/÷^-] ?)?[(\[{]*")
_ARGUMENT = re.compile(r"[_^]?[({]?[-+\d.]* ?[({]?[-+]?[\d.,]+[)}]*")
_FUNCTIONS = frozenset({"log", "ln", "lg", "sin", "cos", "tan", "exp"})
_LONE_DASH = re.compile(r" - ")


def scan(text: str) -> list[Token]:
    """Return the tokens of a plain text, in order."""
    found, at = [], 0
    while begins := _BEGINS.search(text, at):
        token, at = _token(text, begins.start())
        if token is not None:
            found.append(token)
    return found


def runs(text: str, tokens: Sequence[Token]) -> list[list[Token]]:
    """Group tokens that operators join, such as 2x + 3. Runs with only variables are left out."""
    grouped: list[list[Token]] = []
    for token in tokens:
        if grouped and _joined(text, grouped[-1][-1], token):
            grouped[-1].append(token)
        else:
            grouped.append([token])
    return [run for run in grouped if not all(token.variable for token in run)]


def _joined(text: str, one: Token, other: Token) -> bool:
    between = text[one.end : other.start]
    if (one.variable or other.variable) and (not between or _LONE_DASH.fullmatch(between)):
        return False
    return _JOINS.fullmatch(between) is not None


def _token(text: str, at: int) -> tuple[Token | None, int]:
    """Return the token at this position, if any, and the position to continue from."""
    word = _WORD.match(text, at)
    if word and not _SIGN_WORD.match(text, at) and not CURRENCY.match(text, at):
        return _word(text, word)
    token = _number(text, at)
    if token is not None:
        return token, token.end
    unreadable = _UNREADABLE.match(text, at)
    if unreadable is None:
        return None, word.end() if word else at + 1
    return Token(at, unreadable.end()), unreadable.end()


def _word(text: str, word: re.Match[str]) -> tuple[Token | None, int]:
    """Return the token of a word, or None, and its end.

    A word is not a number, even if it contains digits. With an exponent or an argument it is an expression.
    """
    function = text.startswith("\\", word.start() - 1) or re.split(r"[\d_]", word[0])[0] in _FUNCTIONS
    argument = _ARGUMENT.match(text, word.end())
    if function and argument is not None:
        return Token(word.start(), argument.end()), argument.end()
    power = re.compile(r" ?\^ ?[({]?[-+]?\w*[)}]?").match(text, word.end())
    if power is not None:
        return Token(word.start(), power.end()), power.end()
    return (Token(word.start(), word.end(), variable=True) if len(word[0]) == 1 else None), word.end()


def _number(text: str, at: int) -> Token | None:
    """Parse a quantity with its sign, currency and unit; return None if there is none at this position."""
    begins, sign = at, _SIGNS.match(text, at) or _SIGN_WORD.match(text, at)
    at = sign.end() + (text[sign.end()] == " ") if sign else at
    currency = CURRENCY.match(text, at)
    at = currency.end() if currency else at
    minus = sign is not None and sign[0] != "+"
    if currency and not sign and text[at : at + 1] == "-":
        minus, at = True, at + 1
    read = time_or_ratio(text, at)
    if read is None and (parsed := magnitude(text, at)) is not None:
        read = Quantity(parsed.value), parsed.end
    if read is None:
        return None
    quantity, end = read
    if minus:
        quantity = replace(quantity, value=negative(quantity.value))
    if currency:
        quantity = replace(quantity, unit=short_currency(currency[0]))
    return _with_unit(text, Token(begins, end, quantity))


def _with_unit(text: str, token: Token) -> Token:
    """Extend the token with what follows: a multiplier, a unit, or an operand that makes it an expression."""
    assert token.quantity is not None
    quantity, end = token.quantity, token.end
    if times := MULTIPLIER.match(text, end):
        value = product(quantity.value, Fraction(MULTIPLIERS[times["word"]]))
        quantity, end = replace(quantity, value=value or quantity.value), times.end()
    if unit := UNIT.match(text, end):
        quantity = replace(quantity, unit=quantity.unit or short_unit(unit["unit"]))
        end = unit.end()
    elif ordinal := ORDINAL.match(text, end):
        end = ordinal.end()
    joined = _OPERAND_FOLLOWS.match(text, end)
    if joined and not _WORD.match(text, end):
        return Token(token.start, joined.end())
    if joined:
        return Token(token.start, _word(text, _WORD.match(text, end))[1])  # type: ignore[arg-type]
    bracketed = text[end : end + 1] == ">"
    if _NOT_EQUAL_BEFORE.search(text[max(0, token.start - 4) : token.start]) and not bracketed:
        return Token(token.start, end)
    return Token(token.start, end, quantity)
