"""Exact values: fractions, and fractions times the root of a whole number."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Literal

LARGEST_RADICAND = 10**9
"""A larger root is not read: simplifying it takes as many steps as its square root."""


@dataclass(frozen=True)
class Root:
    """coefficient · √radicand, simplified: the radicand is above 1 and no square divides it."""

    coefficient: Fraction
    radicand: int

    def __str__(self) -> str:
        return f"{self.coefficient}√{self.radicand}"


Value = Fraction | Root


@dataclass(frozen=True)
class Quantity:
    """A value as a text gives it."""

    value: Value
    unit: str | None = None
    """In its short form: km, cm^2, %, $; None where no unit is named."""
    form: Literal["number", "time", "ratio"] = "number"


def same_quantity(one: Quantity, other: Quantity) -> bool:
    """Whether the values are equal, and neither the units nor the forms differ."""
    units_differ = None not in (one.unit, other.unit) and one.unit != other.unit
    return one.form == other.form and one.value == other.value and not units_differ


def product(one: Value, other: Value) -> Value | None:
    """one · other; None where the root is too large to be simplified."""
    (a, r), (b, s) = _parts(one), _parts(other)
    return _simplified(a * b, r * s)


def quotient(one: Value, other: Value) -> Value | None:
    """one / other; None where other is 0, or the root is too large to be simplified."""
    b, s = _parts(other)
    return product(one, Root(1 / (b * s), s) if s > 1 else 1 / b) if b else None


def negative(value: Value) -> Value:
    """−value."""
    return -value if isinstance(value, Fraction) else Root(-value.coefficient, value.radicand)


def square_root(value: Value) -> Value | None:
    """√value of a fraction that is not negative: √(p/q) = √(pq) / q."""
    if not isinstance(value, Fraction) or value < 0:
        return None
    p, q = value.numerator, value.denominator
    whole = isqrt(p * q)
    return Fraction(whole, q) if whole**2 == p * q else _simplified(Fraction(1, q), p * q)


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
