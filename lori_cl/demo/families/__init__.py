"""Row generators of the demo's tasks, for the training and the test split."""

from collections.abc import Callable, Mapping
from random import Random

from lori_cl.demo.families import code, math, nlu, safety

FAMILIES: Mapping[str, Callable[[Random, str], dict[str, str]]] = {
    "tiny-safety": safety.row,
    "tiny-nlu": nlu.row,
    "tiny-math": math.row,
    "tiny-code": code.row,
}
"""Task name → function (random generator, split) → one row."""

__all__ = ["FAMILIES"]
