"""Merging: several adapters of one base model become one.

To add a method: write `lori_cl/adapters/merging/NAME.py` with a function of one site, `CombineFactors` (it
merges A's and B's) or `CombineTensors` (it merges B's under one A, or ΔW's), and name it in `methods.py`.
"""

from lori_cl.adapters.merging.base import Factors, MergeSettings, Space
from lori_cl.adapters.merging.checks import merge_named, settled_settings, settled_weights
from lori_cl.adapters.merging.merge import Merged, merge
from lori_cl.adapters.merging.methods import MERGES

__all__ = [
    "MERGES",
    "Factors",
    "MergeSettings",
    "Merged",
    "Space",
    "merge",
    "merge_named",
    "settled_settings",
    "settled_weights",
]
