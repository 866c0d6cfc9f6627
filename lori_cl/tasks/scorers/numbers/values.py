"""Exact values: fractions, and fractions times the square root of an integer."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Literal

LARGEST_RADICAND = 10**9
"""Larger radicands are not parsed: simplification takes as many steps as the square root of the radicand."""


@dataclass(frozen=True)
class Root:
    """coefficient · √radicand, simplified: the radicand is above 1 and square-free."""

    coefficient: Fraction
    radicand: int

    def __str__(self) -> str:
        return f"{self.coefficient}√{self.radicand}"


Value = Fraction | Root


@dataclass(frozen=True)
class Quantity:
    """A value with its unit and form, as parsed from a text."""

    value: Value
    unit: str | None = None
    """Short form: km, cm^2, %, $; None if the text has no unit."""
    form: Literal["number", "time", "ratio"] = "number"


def same_quantity(one: Quantity, other: Quantity) -> bool:
    """Return whether the values and forms are equal and the units do not differ."""
    units_differ = None not in (one.unit, other.unit) and one.unit != other.unit
    return one.form == other.form and one.value == other.value and not units_differ


def product(one: Value, other: Value) -> Value | None:
    """Return one · other; None if the radicand is too large to simplify."""
    (a, r), (b, s) = _parts(one), _parts(other)
    return _simplified(a * b, r * s)


def quotient(one: Value, other: Value) -> Value | None:
    """Return one / other; None if other is 0 or the radicand is too large to simplify."""
    b, s = _parts(other)
    return product(one, Root(1 / (b * s), s) if s > 1 else 1 / b) if b else None


def negative(value: Value) -> Value:
    """Return −value."""
    return -value if isinstance(value, Fraction) else Root(-value.coefficient, value.radicand)


def square_root(value: Value) -> Value | None:
    """Return √value, computed as √(p/q) = √(pq) / q.

    None if the value is negative or not a fraction, or if the radicand is too large to simplify.
    """
    if not isinstance(value, Fraction) or value < 0:
        return None
    p, q = value.numerator, value.denominator
    root = isqrt(p * q)
    return Fraction(root, q) if root**2 == p * q else _simplified(Fraction(1, q), p * q)


def _parts(value: Value) -> tuple[Fraction, int]:
    return (value, 1) if isinstance(value, Fraction) else (value.coefficient, value.radicand)


def _simplified(coefficient: Fraction, radicand: int) -> Value | None:
    if radicand > LARGEST_RADICAND:
        return None
    divisor = 2
    while divisor * divisor <= radicand:
        while radicand % (divisor * divisor) == 0:
            radicand //= divisor * divisor
            coefficient *= divisor
        divisor += 1
    return Root(coefficient, radicand) if radicand > 1 and coefficient else coefficient
