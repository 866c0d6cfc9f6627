"""Mask strategies: each scores every cell, and the k highest free cells become the task's mask.

To add one, write `lori_cl/masks/strategies/NAME.py` with a function `Evidence -> scores`, and add it here.
"""

from lori_cl.masks.strategies.base import Evidence, Strategy
from lori_cl.masks.strategies.gradient import gradient
from lori_cl.masks.strategies.magnitude import magnitude
from lori_cl.masks.strategies.random import random
from lori_cl.plugins import Implementations

STRATEGIES = Implementations[Strategy](
    "lori_cl.mask_strategies",
    {
        "magnitude": Strategy(magnitude, needs="calibrated_b"),
        "gradient": Strategy(gradient, needs="gradients"),
        "random": Strategy(random, needs="nothing"),
    },
    Strategy,
)

__all__ = ["STRATEGIES", "Evidence", "Strategy"]
