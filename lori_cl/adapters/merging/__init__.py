"""Merge several adapters of one base model into one.

To add a method, write `lori_cl/adapters/merging/NAME.py` with a function for one site, and add it to
`methods.py`. The function is a `CombineFactors` (merges the A and B matrices) or a `CombineTensors` (merges
the B matrices that share one A, or the ΔW).
"""

from lori_cl.adapters.merging.base import FactorMerge, Factors, MergeSettings, PruningMerge, Space
from lori_cl.adapters.merging.checks import merge_named, resolve_settings, resolve_weights
from lori_cl.adapters.merging.merge import Merged, merge
from lori_cl.adapters.merging.methods import MERGES

__all__ = [
    "MERGES",
    "FactorMerge",
    "Factors",
    "MergeSettings",
    "Merged",
    "PruningMerge",
    "Space",
    "merge",
    "merge_named",
    "resolve_settings",
    "resolve_weights",
]
