"""The families of the demo's tasks: each draws rows of one kind, for the training or the test split."""

from collections.abc import Callable, Mapping
from random import Random

from lori_cl.demo.families import code, math, nlu, safety

FAMILIES: Mapping[str, Callable[[Random, str], dict[str, str]]] = {
    "tiny-safety": safety.row,
    "tiny-nlu": nlu.row,
    "tiny-math": math.row,
    "tiny-code": code.row,
}
"""By task's name: (generator, split) → one row."""

__all__ = ["FAMILIES"]
