"""The merge methods by name."""

from __future__ import annotations

from lori_cl.adapters.merging.base import FactorMerge, MergeMethod, PruningMerge
from lori_cl.adapters.merging.cat import cat
from lori_cl.adapters.merging.dare import dare, dare_ties
from lori_cl.adapters.merging.linear_of_factors import linear_of_factors
from lori_cl.adapters.merging.magnitude import magnitude
from lori_cl.adapters.merging.ties import ties
from lori_cl.plugins import Implementations

MERGES = Implementations[MergeMethod](
    "lori_cl.merge_methods",
    {
        "cat": FactorMerge(cat),
        "sum": FactorMerge(cat),  # the same ΔW as cat, under another name
        "average": FactorMerge(cat, normalises=True),
        "magnitude": PruningMerge(magnitude),
        "dare": PruningMerge(dare, random=True),
        "ties": PruningMerge(ties, elects_signs=True),
        "dare-ties": PruningMerge(dare_ties, elects_signs=True, random=True),
        "linear-of-factors": FactorMerge(linear_of_factors),
    },
    (FactorMerge, PruningMerge),
)
