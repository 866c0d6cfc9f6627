"""`tiny-code`: complete a one-line Python function from its description; tests check the result."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Mapping
from typing import Any

Row = dict[str, str]

OPERATIONS = {
    "+": (operator.add, "add {number} to {subject}"),
    "-": (operator.sub, "subtract {number} from {subject}"),
    "*": (operator.mul, "multiply {subject} by {number}"),
}
THEN = {"+": "then add {number}", "-": "then subtract {number}", "*": "then multiply by {number}"}
OF_LISTS: Mapping[str, tuple[Callable[[Any], int], str]] = {
    "sum(x)": (sum, "the sum of x"),
    "max(x)": (max, "the largest item of x"),
    "min(x)": (min, "the smallest item of x"),
    "len(x)": (len, "the length of x"),
    "x[0]": (operator.itemgetter(0), "the first item of x"),
    "x[-1]": (operator.itemgetter(-1), "the last item of x"),
}
TESTS = 3


def row(rng: random.Random, split: str) -> Row:
    """Generate a description with its function and tests."""
    inputs: list[Any] = rng.sample(range(-9, 20), TESTS)
    code, subject, outputs = "x", "x", inputs
    if rng.random() < 0.5:
        inputs = [rng.sample(range(-9, 20), rng.randint(2, 5)) for _ in range(TESTS)]
        code = rng.choice(list(OF_LISTS))
        of_list, subject = OF_LISTS[code]
        outputs = [of_list(x) for x in inputs]
    sign, number = rng.choice(list(OPERATIONS)), rng.randint(1, 9)
    compute, words = OPERATIONS[sign]
    code, description = f"{code} {sign} {number}", words.format(number=number, subject=subject)
    outputs = [compute(y, number) for y in outputs]
    if rng.random() < 0.5:
        sign, number = rng.choice(list(OPERATIONS)), rng.randint(1, 9)
        code = f"({code}) {sign} {number}" if sign == "*" else f"{code} {sign} {number}"
        description = f"{description}, {THEN[sign].format(number=number)}"
        outputs = [OPERATIONS[sign][0](y, number) for y in outputs]
    return {
        "description": description[0].upper() + description[1:],
        "code": code,
        "tests": "\n".join(f"assert f({x}) == {y}" for x, y in zip(inputs, outputs, strict=True)),
    }
